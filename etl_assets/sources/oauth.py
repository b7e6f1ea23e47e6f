"""Tokens that are fetched with a client's own credentials (RFC 6749, 4.4), and kept while they last.

What belongs here: when a new token is needed, and reading the answer that holds it. What does not: sending the request
(`etl_assets.sources.client`).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from etl_assets.failures import SourceError
from etl_assets.sources.http_failures import permanent

log = structlog.get_logger(__name__)

REFRESH_SHARE = 0.1
"""Share of a token's life before whose end a new one is fetched."""

REFRESH_SECONDS = 60.0
"""The same in seconds, at most: requests that are under way must not meet its end."""

_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    good_until: float | None


class TokenKeeper:
    """Keeps one token for all threads of a client.

    Args:
        source: Name of the source.
        fetch: Asks for a token; gives the decoded answer.
        variables: The environment variables that hold the client's credentials, for messages.
    """

    def __init__(self, source: str, fetch: Callable[[], Any], variables: tuple[str, ...]) -> None:
        self._source = source
        self._variables = variables
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._handed_out: list[str] = []

    @property
    def secrets(self) -> tuple[str, ...]:
        """The tokens that must not show anywhere: the present one and the one before."""
        return tuple(self._handed_out)

    def token(self) -> str:
        """Give a token that is good for a while.

        Raises:
            SourceError: If none can be had.
        """
        with self._lock:
            if self._token is None or not _is_good(self._token):
                self._token = self._new()
            return self._token.value

    def refused(self, value: str) -> None:
        """Forget a token that the source did not accept, unless another thread has replaced it already."""
        with self._lock:
            if self._token is not None and self._token.value == value:
                self._token = None

    def _new(self) -> _Token:
        asked_at = time.monotonic()
        try:
            value, lifetime = self._understood(self._fetch())
        except SourceError as error:
            raise _final(error, self._variables) from error
        self._handed_out = [*self._handed_out[-1:], value]
        log.info("token_fetched", source=self._source, expires_in=lifetime)
        if lifetime is None:
            return _Token(value, None)
        return _Token(value, asked_at + lifetime - min(REFRESH_SECONDS, lifetime * REFRESH_SHARE))

    def _understood(self, body: Any) -> tuple[str, float | None]:
        value = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise permanent(f"{self._source} gave no usable access_token", self._source)
        kind = body.get("token_type", "Bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise permanent(f"{self._source} gave a token that is not a bearer token", self._source)
        return value, _seconds(body.get("expires_in"))


def _final(error: SourceError, variables: tuple[str, ...]) -> SourceError:
    """Say what it means that no token could be had: if that is permanent, nothing at all can be asked."""
    if error.failure_class.retryable:
        return error
    return SourceError(
        error.message,
        source=error.source,
        status=error.status,
        affects_all=True,
        hint=f"check {' and '.join(variables)}, and where the source's declaration says that tokens are to be had",
        failure_class=error.failure_class,
    )


def _is_good(token: _Token) -> bool:
    return token.good_until is None or time.monotonic() < token.good_until


def _seconds(value: Any) -> float | None:
    # Some sources send the number as text.
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        return None
    return float(value)
