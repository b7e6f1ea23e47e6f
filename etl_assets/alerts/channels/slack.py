"""Slack, by an incoming webhook through slack_sdk.

What belongs here: sending and what answers mean. What does not: how a message looks (`slack_blocks`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient, WebhookResponse

from etl_assets.alerts.channels.base import USER_AGENT, DeliveryError, resolve
from etl_assets.alerts.notice import Notice
from etl_assets.alerts.slack_blocks import slack_body
from etl_assets.failures import ConfigurationError
from etl_assets.setting_values import LOOPBACK_HOSTS

_REASON = re.compile(r"^[a-z0-9_ ]{1,60}$")
_REJECTED = frozenset({400, 413})
_REFUSED = frozenset({401, 403, 404, 410})
_EMPTY_BODY_REFUSED = ("no_text", "missing_text", "invalid_payload", "no_blocks")


class SlackChannel:
    """One webhook.

    Args:
        url: Its address; a secret.
        variable: The environment variable that it comes from.
        mentions: What stands for an owner in Slack, such as `<@U123>`, by owner.
        timeout: Seconds to wait for an answer.

    Raises:
        ConfigurationError: If the address cannot be one of a webhook.
    """

    def __init__(self, url: str, variable: str, mentions: Mapping[str, str], timeout: float) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        is_local = host in LOOPBACK_HOSTS
        if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_local)):
            raise ConfigurationError(
                f"{variable} is no address of a webhook: it must begin with https://",
                hint="copy it from the Slack app's page, Incoming Webhooks",
            )
        self._host, self._port, self._variable, self._mentions = host, port or 443, variable, dict(mentions)
        # Its own log lines would hold the address; its own repeats would hide ours, which are on record.
        quiet = logging.Logger("slack_webhook", logging.CRITICAL)
        self._client = WebhookClient(
            url,
            timeout=timeout,  # type: ignore[arg-type]  # declared as whole seconds, handed on as it is
            logger=quiet,
            retry_handlers=[],
            user_agent_prefix=USER_AGENT,
        )
        if is_local:
            self._client.proxy = None

    def send(self, notice: Notice, message_id: int) -> str:
        """See `Channel`."""
        owners = (self._mentions.get(owner, "") for owner in notice.owners)
        answer = self._post(slack_body(notice, " ".join(filter(None, owners))))
        if answer.status_code == 200 and answer.body.strip() == "ok":
            return ""
        if answer.status_code == 200:
            raise DeliveryError(f"{self._host} answered, but not as Slack does: it did not acknowledge")
        raise self._refusal(answer)

    def check(self) -> None:
        """See `Channel`. A webhook that exists refuses an empty message in a way of its own."""
        resolve(self._host, self._port, self._variable)
        answer = self._post({"text": ""})
        if answer.status_code == 400 and any(mark in answer.body for mark in _EMPTY_BODY_REFUSED):
            return
        if answer.status_code != 200:
            raise self._refusal(answer)

    def _post(self, body: dict[str, Any]) -> WebhookResponse:
        try:
            return self._client.send_dict(body)
        except TimeoutError:
            raise DeliveryError(f"{self._host} did not answer in time") from None
        except (OSError, HTTPException, SlackClientError, ValueError) as error:
            # The error may hold the address, which is a secret.
            reason = getattr(error, "reason", None)
            kind = type(reason).__name__ if isinstance(reason, Exception) else type(error).__name__
            if kind == "gaierror":
                raise DeliveryError(
                    f"the host {self._host} of {self._variable} cannot be found", hint="check its spelling"
                ) from None
            raise DeliveryError(f"{self._host} cannot be reached: {kind}") from None

    def _refusal(self, answer: WebhookResponse) -> DeliveryError:
        status, said = answer.status_code, answer.body.strip()
        reason = f" ({said})" if _REASON.match(said) else ""
        if status in _REFUSED:
            return DeliveryError(
                f"{self._host} refused the webhook of {self._variable}: {status}{reason}",
                hint="make a new one in the Slack app, and set it",
            )
        return DeliveryError(
            f"{self._host} answered {status}{reason}",
            retry_after=_retry_after(answer.headers) if status in (429, 503) else None,
            is_rejected=status in _REJECTED,
        )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = next((text for name, text in headers.items() if name.lower() == "retry-after"), "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
