"""The circuit breaker of a source: stops asking one that does not answer.

What belongs here: when to stop, and when to try again. What does not: what a failure means
(`etl_assets.sources.http_failures`), and telling people about it (`etl_assets.sources.circuit_file`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NoReturn

import pybreaker
import structlog

from etl_assets.failures import SourceError
from etl_assets.sources.http_failures import repeated

log = structlog.get_logger(__name__)

FAILURES_IN_A_ROW = 5
SECONDS_OPEN = 30.0


class CircuitStatus(StrEnum):
    """Whether a source is asked."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """It is not, for now."""
    HALF_OPEN = "half_open"
    """One request is on its way to find out whether it answers again."""


@dataclass(frozen=True, slots=True)
class CircuitState:
    """A reading of a circuit breaker.

    Attributes:
        state: Whether the source is asked.
        since: Since when that is so, in UTC.
        failures: Whole requests that failed in a row, up to now.
        last_error: The last of these failures, in one line.
    """

    state: CircuitStatus
    since: datetime
    failures: int = 0
    last_error: str = ""


class Circuit:
    """Decides, for all threads of a client, whether another request may be sent.

    It opens after some transient failures in a row of whole requests (their repeats included), or at once
    when the source cannot be reached; after a while a single request may try again. A refused token is final.

    Args:
        source: Name of the source.
        failures: Failures in a row that open it.
        seconds_open: Seconds until a request may try again.
        on_change: Told of each change, and of the first good answer.
    """

    def __init__(
        self,
        source: str,
        *,
        failures: int = FAILURES_IN_A_ROW,
        seconds_open: float = SECONDS_OPEN,
        on_change: Callable[[CircuitState], None] | None = None,
    ) -> None:
        self._source = source
        self._failures = failures
        self._seconds_open = timedelta(seconds=seconds_open)
        self._on_change = on_change
        self._lock = threading.Lock()
        self._memory = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        # pybreaker holds its lock while a guarded call runs, which would send one request at a time: only the
        # outcome of a request is reported through it, after the fact.
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures, reset_timeout=seconds_open, state_storage=self._memory
        )
        self._verdict: SourceError | None = None
        self._in_a_row = 0
        self._last_error = ""
        self._told: CircuitStatus | None = None
        self._since = datetime.now(UTC)

    @property
    def state(self) -> CircuitState:
        """How the circuit is now."""
        with self._lock:
            return self._state()

    def check(self) -> None:
        """Let a request pass.

        Raises:
            SourceError: If the source is known not to answer, or to refuse everything.
        """
        with self._lock:
            if self._verdict is None:
                return
            if self._verdict.failure_class.retryable and self._may_try_again():
                self._breaker.half_open()
                self._tell(CircuitStatus.HALF_OPEN)
                return
            raise repeated(self._verdict, attempts=1)

    def succeeded(self) -> None:
        """Take note that the source gave an answer, be it one that the request deserved."""
        with self._lock:
            if self._verdict is not None and not self._verdict.failure_class.retryable:
                return
            if self._breaker.current_state != pybreaker.STATE_CLOSED:
                self._breaker.close()
            self._breaker.call(_nothing)
            self._verdict = None
            self._in_a_row, self._last_error = 0, ""
            self._tell(CircuitStatus.CLOSED)

    def failed(self, error: SourceError) -> None:
        """Take note of a failure."""
        if error.affects_all:
            self._open(error)
        elif error.failure_class.retryable:
            self._count(error)
        else:
            self.succeeded()

    def abandoned(self) -> None:
        """Take note that a request was given up, its outcome unknown."""
        with self._lock:
            if self._breaker.current_state == pybreaker.STATE_HALF_OPEN:
                self._breaker.open()
                self._tell(CircuitStatus.OPEN)

    def _state(self) -> CircuitState:
        return CircuitState(self._told or CircuitStatus.CLOSED, self._since, self._in_a_row, self._last_error)

    def _may_try_again(self) -> bool:
        opened_at = self._memory.opened_at
        is_open = self._breaker.current_state == pybreaker.STATE_OPEN
        return is_open and (opened_at is None or datetime.now(UTC) >= opened_at + self._seconds_open)

    def _open(self, verdict: SourceError) -> None:
        with self._lock:
            self._note(verdict)
            if self._verdict is None or self._verdict.failure_class.retryable:
                self._verdict = verdict
            self._breaker.open()
            self._tell(CircuitStatus.OPEN, verdict)

    def _count(self, error: SourceError) -> None:
        with self._lock:
            self._note(error)
            try:
                self._breaker.call(_fail, error)
            except (SourceError, pybreaker.CircuitBreakerError):
                is_open = self._breaker.current_state == pybreaker.STATE_OPEN
            if not is_open:
                return
            if self._verdict is None:
                self._verdict = SourceError(
                    f"{self._source} did not answer {self._failures} times in a row; not asking any further",
                    source=self._source,
                    status=error.status,
                    affects_all=True,
                    failure_class=error.failure_class,
                    hint="it may be down or overloaded; run again later",
                )
            self._tell(CircuitStatus.OPEN, error)

    def _note(self, error: SourceError) -> None:
        self._in_a_row += 1
        self._last_error = " ".join(error.message.split())

    def _tell(self, status: CircuitStatus, error: SourceError | None = None) -> None:
        """Note where the circuit stands now; tell whoever wants to know if that is new."""
        if status is self._told:
            return
        first = self._told is None and status is CircuitStatus.CLOSED
        if not first:
            self._since = datetime.now(UTC)
            fields = {"failure_class": error.failure_class.value} if error is not None else {}
            level = log.warning if status is CircuitStatus.OPEN else log.info
            level(f"circuit_{_EVENTS[status]}", source=self._source, failures=self._in_a_row, **fields)
        self._told = status
        if self._on_change is not None:
            self._on_change(self._state())


_EVENTS = {
    CircuitStatus.CLOSED: "closed",
    CircuitStatus.OPEN: "opened",
    CircuitStatus.HALF_OPEN: "half_open",
}


def _nothing() -> Any:
    return None


def _fail(error: SourceError) -> NoReturn:
    raise error
