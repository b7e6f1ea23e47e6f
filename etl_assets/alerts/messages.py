"""Messages of the outbox: written first, sent in their order, and only acknowledged ones count.

What belongs here: the queue of each channel, in the outbox. What does not: sending (`delivery`).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from etl_assets.alerts.notice import Notice
from etl_assets.alerts.outbox import Outbox, moment, stamp

FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=5)
LONGEST_ASKED_WAIT = timedelta(hours=1)
"""However long a service asks us to wait."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one channel.

    Attributes:
        id: Its number; a channel's messages are sent in the order of these.
        channel: Where it goes.
        state: `pending`, `sent`, `diverted` (another channel took it over) or `undelivered` (nobody could).
        notice: What it says.
        written_at: When it was written.
        not_before: When it may be tried next.
        give_up_at: When the channel is given up.
        attempts: How often it was tried.
        sent_at: When it was acknowledged.
        error: Why it was not, the last time.
        instead_of: The message that it was written for, where that one could not be delivered.
    """

    id: int
    channel: str
    state: str
    notice: Notice
    written_at: datetime
    not_before: datetime
    give_up_at: datetime
    attempts: int
    sent_at: datetime | None
    error: str
    instead_of: int | None


def enqueue(
    outbox: Outbox,
    channel: str,
    notice: Notice,
    now: datetime,
    give_up: timedelta,
    *,
    instead_of: int | None = None,
) -> int:
    """Write a message; gives its number."""
    return outbox.add(
        "INSERT INTO messages (channel, state, status, severity, body, written_at, not_before, give_up_at, instead_of) "
        "VALUES (?, 'pending', ?, ?, ?, ?, ?, ?, ?)",
        *(channel, notice.status, notice.severity.value, notice.to_json(), stamp(now), stamp(now)),
        *(stamp(now + give_up), instead_of),
    )


def next_message(outbox: Outbox, channel: str) -> Message | None:
    """Give the oldest message that a channel has not got; those behind it wait for it."""
    row = outbox.row(
        "SELECT * FROM messages WHERE channel = ? AND state = 'pending' ORDER BY id LIMIT 1", channel
    )
    return _message(row) if row else None


def waiting_channels(outbox: Outbox) -> list[str]:
    """Give the channels that have messages to send."""
    found = outbox.rows(
        "SELECT channel, min(id) AS first FROM messages WHERE state = 'pending' GROUP BY channel"
    )
    return [row["channel"] for row in sorted(found, key=lambda row: row["first"])]


def messages_in(outbox: Outbox, *states: str, limit: int = 1_000) -> list[Message]:
    """Give messages in some states, the oldest first."""
    marks = ", ".join("?" * len(states))
    found = outbox.rows(
        f"SELECT * FROM messages WHERE state IN ({marks}) ORDER BY id LIMIT ?", *states, limit
    )
    return [_message(row) for row in found]


def written_since(outbox: Outbox, channel: str, since: datetime) -> int:
    """Give how many messages were written for a channel of late, but for those of tests."""
    found = outbox.row(
        "SELECT count(*) AS number FROM messages WHERE channel = ? AND written_at > ? AND status <> 'test'",
        *(channel, stamp(since)),
    )
    return int(found["number"]) if found else 0


def begin_attempt(outbox: Outbox, message: Message) -> None:
    """Note that a message is about to be sent: should the process die now, it is known to have been tried."""
    outbox.run("UPDATE messages SET attempts = attempts + 1 WHERE id = ?", message.id)


def mark_sent(outbox: Outbox, message: Message, now: datetime, remark: str = "") -> None:
    """Note that a message was acknowledged."""
    outbox.run(
        "UPDATE messages SET state = 'sent', sent_at = ?, error = ? WHERE id = ?",
        stamp(now),
        remark,
        message.id,
    )


def postpone(outbox: Outbox, message: Message, reason: str, now: datetime, asked: float | None) -> None:
    """Note that a message could not be sent now, and when to try again."""
    doubled = FIRST_WAIT * 2 ** min(message.attempts, 16)
    wait = (
        min(timedelta(seconds=asked), LONGEST_ASKED_WAIT) if asked is not None else min(doubled, LONGEST_WAIT)
    )
    outbox.run(
        "UPDATE messages SET not_before = ?, error = ? WHERE id = ?", stamp(now + wait), reason, message.id
    )


def give_up(
    outbox: Outbox, message: Message, fallback: str | None, reason: str, now: datetime, patience: timedelta
) -> None:
    """Hand a message to the fallback channel, or note that nobody can deliver it; it stays on record."""
    diverted = fallback is not None and fallback != message.channel and message.instead_of is None
    with outbox.transaction():
        state = "diverted" if diverted else "undelivered"
        outbox.run("UPDATE messages SET state = ?, error = ? WHERE id = ?", state, reason, message.id)
        if diverted and fallback is not None:
            enqueue(outbox, fallback, message.notice, now, patience, instead_of=message.id)


def _message(row: sqlite3.Row) -> Message:
    return Message(
        id=row["id"],
        channel=row["channel"],
        state=row["state"],
        notice=Notice.from_json(row["body"]),
        written_at=moment(row["written_at"]),
        not_before=moment(row["not_before"]),
        give_up_at=moment(row["give_up_at"]),
        attempts=row["attempts"],
        sent_at=moment(row["sent_at"]) if row["sent_at"] is not None else None,
        error=row["error"],
        instead_of=row["instead_of"],
    )
