"""The circuit breaker of a source: stops asking one that does not answer.

What belongs here: when to stop, and when to try again. What does not: what a failure means
(`etl_assets.sources.http_failures`), and telling people about it (`etl_assets.sources.circuit_file`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pybreaker
import structlog

from etl_assets.failures import FailureClass, SourceError
from etl_assets.sources.circuit_state import CircuitState, CircuitStatus
from etl_assets.sources.http_failures import repeated
from etl_assets.streams.sources import Breaker

log = structlog.get_logger(__name__)

REQUESTS_IN_TROUBLE = 2
"""Requests that must have failed before a circuit opens: what is wrong with one alone is not wrong with the source."""


class CircuitOpenError(SourceError):
    """A request was not sent, because its source does not answer at the moment; repeating it at once is no use."""


class Circuit:
    """Decides, for all requests of a run to one source, whether another may be sent.

    It opens after some transient failures in a row, or at once when the source cannot be reached however often it is
    tried; after a while a single request may try again, and the others wait for what becomes of it. A refused token is
    final.

    Args:
        source: Name of the source.
        breaker: When it opens, and for how long.
        patience: Seconds to wait for the request that tries again.
        on_change: Told of each change, and of the first good answer.
    """

    def __init__(
        self,
        source: str,
        breaker: Breaker | None = None,
        *,
        patience: float = 0.0,
        on_change: Callable[[CircuitState], None] | None = None,
    ) -> None:
        breaker = breaker or Breaker()
        self._source = source
        self._failures = breaker.failures
        self._open_for = timedelta(seconds=breaker.open_seconds)
        self._patience = patience
        self._on_change = on_change
        self._changed = threading.Condition()
        self._memory = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        # pybreaker holds its lock while a guarded call runs, which would send one request at a time: only the
        # outcome of a request is reported through it, after the fact.
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=self._failures, reset_timeout=breaker.open_seconds, state_storage=self._memory
        )
        self._verdict: SourceError | None = None
        self._in_trouble: set[object] = set()
        self._in_a_row = 0
        self._last_error = ""
        self._told: CircuitStatus | None = None
        self._since = datetime.now(UTC)

    @property
    def state(self) -> CircuitState:
        """How the circuit is now."""
        with self._changed:
            return self._state()

    def check(self) -> None:
        """Let a request pass.

        Raises:
            CircuitOpenError: If the source is known not to answer, or to refuse everything.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_trying(), self._patience)
            if self._verdict is None:
                return
            if self._verdict.failure_class.retryable and self.seconds_open() == 0 and not self._is_trying():
                self._breaker.half_open()
                self._tell(CircuitStatus.HALF_OPEN)
                return
            raise repeated(self._verdict, kind=CircuitOpenError)

    def seconds_open(self) -> float:
        """Give the seconds until a request may try again: 0 where it may at once, or may never."""
        opened_at = self._memory.opened_at
        if self._breaker.current_state != pybreaker.STATE_OPEN or opened_at is None:
            return 0.0
        if self._verdict is None or not self._verdict.failure_class.retryable:
            return 0.0
        return max(0.0, (opened_at + self._open_for - datetime.now(UTC)).total_seconds())

    def succeeded(self) -> None:
        """Take note that the source gave an answer, be it one that the request deserved."""
        with self._changed:
            if self._verdict is not None and not self._verdict.failure_class.retryable:
                return
            if self._breaker.current_state != pybreaker.STATE_CLOSED:
                self._breaker.close()
            self._breaker.call(_nothing)
            self._verdict = None
            self._in_trouble.clear()
            self._in_a_row, self._last_error = 0, ""
            self._tell(CircuitStatus.CLOSED)

    def attempt_failed(self, error: SourceError, request: object) -> None:
        """Take note of a failed attempt.

        Args:
            error: The failure.
            request: What all attempts of one request share.
        """
        if error.failure_class is FailureClass.PERMANENT:
            if not error.affects_all:
                self.succeeded()
        elif self.state.state is CircuitStatus.HALF_OPEN or not (
            # A source that asks for patience answers; one that cannot be reached may be about to start.
            error.affects_all or error.failure_class is FailureClass.RATE_LIMITED
        ):
            self._count(error, request)

    def given_up(self, error: SourceError, request: object) -> None:
        """Take note that a request failed for good, its repeats included."""
        if isinstance(error, CircuitOpenError):
            return
        if error.affects_all:
            self._open(error)
        elif error.failure_class is FailureClass.RATE_LIMITED:
            self._count(error, request)

    def abandoned(self) -> None:
        """Take note that a request was left without an outcome."""
        with self._changed:
            if self._is_trying():
                self._breaker.open()
                self._tell(CircuitStatus.OPEN)

    def _state(self) -> CircuitState:
        return CircuitState(self._told or CircuitStatus.CLOSED, self._since, self._in_a_row, self._last_error)

    def _is_trying(self) -> bool:
        return bool(self._breaker.current_state == pybreaker.STATE_HALF_OPEN)

    def _open(self, verdict: SourceError) -> None:
        with self._changed:
            self._note(verdict)
            if self._verdict is None or self._verdict.failure_class.retryable:
                self._verdict = verdict
            self._breaker.open()
            self._tell(CircuitStatus.OPEN, verdict)

    def _count(self, error: SourceError, request: object) -> None:
        with self._changed:
            self._note(error)
            self._in_trouble.add(request)
            alone = len(self._in_trouble) < REQUESTS_IN_TROUBLE <= self._failures
            if alone and not self._is_trying() and self._breaker.fail_counter + 1 >= self._failures:
                return
            try:
                self._breaker.call(_fail, error)
            except (SourceError, pybreaker.CircuitBreakerError):
                is_open = self._breaker.current_state == pybreaker.STATE_OPEN
            if not is_open:
                return
            if self._verdict is None:
                self._verdict = SourceError(
                    f"{self._source} did not answer {self._in_a_row} times in a row; not asking any further",
                    source=self._source,
                    status=error.status,
                    affects_all=True,
                    failure_class=error.failure_class,
                    hint=f"the last time: {self._last_error}; it may be down or overloaded, run again later",
                )
            self._tell(CircuitStatus.OPEN, error)

    def _note(self, error: SourceError) -> None:
        self._in_a_row += 1
        self._last_error = " ".join(error.message.split())

    def _tell(self, status: CircuitStatus, error: SourceError | None = None) -> None:
        """Note where the circuit stands now; tell whoever wants to know if that is new."""
        self._changed.notify_all()
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
