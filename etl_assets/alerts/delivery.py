"""Sending what the outbox holds: channel by channel, in order, and only what is acknowledged is done.

What belongs here: attempts, waiting, giving up. What does not: how a channel sends (`channels`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import structlog

from etl_assets.alerts.channels.base import Channel, DeliveryError
from etl_assets.alerts.messages import (
    Message,
    begin_attempt,
    give_up,
    mark_sent,
    next_message,
    postpone,
    waiting_channels,
)
from etl_assets.alerts.outbox import Outbox
from etl_assets.alerts.rules import Rules
from etl_assets.failures import EtlError

log = structlog.get_logger(__name__)

OpenChannel = Callable[[str], Channel]


def deliver(
    outbox: Outbox, rules: Rules, open_channel: OpenChannel, now: datetime, *, seconds: float = 20.0
) -> int:
    """Send what is due; gives how many messages were acknowledged.

    One process at a time may do this, so that nothing is sent twice.

    Args:
        outbox: What is to be sent.
        rules: The channels, and which of them stands in for the others.
        open_channel: Opens a channel by name.
        now: The time.
        seconds: When to stop beginning attempts; the rest is left for the next time.
    """
    deadline = time.monotonic() + seconds
    sent = 0
    # A channel that stands in for another may get messages on the way.
    done: set[str] = set()
    while fresh := [name for name in waiting_channels(outbox) if name not in done]:
        for name in fresh:
            done.add(name)
            sent += _deliver_to(outbox, rules, name, open_channel, now, deadline)
            if rules.fallback in done and name != rules.fallback:
                done.discard(rules.fallback)
        if time.monotonic() >= deadline:
            break
    return sent


def _deliver_to(
    outbox: Outbox, rules: Rules, name: str, open_channel: OpenChannel, now: datetime, deadline: float
) -> int:
    channel: Channel | None = None
    sent = 0
    while time.monotonic() < deadline and (message := next_message(outbox, name)) is not None:
        if name not in rules.channels:
            give_up(
                outbox, message, rules.fallback, f"there is no channel {name} any more", now, rules.give_up
            )
            continue
        if now < message.not_before:
            break
        try:
            channel = channel or open_channel(name)
            begin_attempt(outbox, message)
            remark = channel.send(message.notice, message.id)
        except EtlError as error:
            if _failed(outbox, rules, message, error, now):
                break
            continue
        mark_sent(outbox, message, now, remark)
        sent += 1
    return sent


def _failed(outbox: Outbox, rules: Rules, message: Message, error: EtlError, now: datetime) -> bool:
    """Note a failed attempt; gives whether the messages behind it have to wait as well."""
    rejected = isinstance(error, DeliveryError) and error.is_rejected
    reason = " ".join(str(error).split())
    log.warning("alert_not_delivered", channel=message.channel, message=message.id, reason=reason)
    if rejected or now >= message.give_up_at:
        give_up(outbox, message, rules.fallback, reason, now, rules.give_up)
        return not rejected
    asked = error.retry_after if isinstance(error, DeliveryError) else None
    postpone(outbox, message, reason, now, asked)
    return True
