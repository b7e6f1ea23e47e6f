"""When and how often a request is repeated.

What belongs here: the plan of one request's repeats within its source's `RetryBudget`. What does not: sending
it, and what a failure means.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import stamina
import stamina.instrumentation
import structlog
from stamina.instrumentation import RetryDetails

from etl_assets.failures import FailureClass, SourceError
from etl_assets.sources.circuit import Circuit, CircuitOpenError
from etl_assets.sources.http_failures import repeated
from etl_assets.sources.pace import Pace
from etl_assets.sources.statistics import RequestStatistics
from etl_assets.streams.base import RetryBudget

log = structlog.get_logger(__name__)

SECONDS_FOR_UNREACHABLE = 3.0
"""How long a source is tried that cannot be reached at all: a server that restarts is back soon, and a wrong
address should be known soon."""

Result = TypeVar("Result")


def with_repeats(
    send: Callable[[float], Result],
    budget: RetryBudget,
    statistics: RequestStatistics,
    *,
    slots: AbstractContextManager[object],
    pace: Pace,
    circuit: Circuit,
    source: str,
    path: str,
) -> tuple[Result, int]:
    """Send a request, and again after transient failures.

    Args:
        send: Sends it once, given the seconds that are left for it; raises `SourceError` when it fails.
        budget: How patiently to repeat it.
        statistics: Where to count.
        slots: Held while a request is under way, but not while waiting for the next attempt.
        pace: Waited for before each attempt; a source that wants fewer requests pauses it for all.
        circuit: Asked before each attempt, and told what became of it.
        source: Name of the source, for the log.
        path: Path that is asked for, for the log.

    Returns:
        What `send` gave, and the number of attempts.

    Raises:
        CircuitOpenError: If the source is known not to answer.
        SourceError: The last failure, with the number of attempts in its message.
    """
    _silence_doubled_log()
    plan = _Plan(budget, statistics, pace, source, path)
    try:
        for attempt in stamina.retry_context(on=plan, attempts=None, timeout=None):
            with attempt, slots:
                pace.wait()
                circuit.check()
                with plan.timed(), _reported(circuit, plan):
                    statistics.request(repeat=plan.attempts > 1)
                    return send(budget.total - plan.seconds), plan.attempts
    except CircuitOpenError:
        raise
    except SourceError as error:
        circuit.given_up(error, plan)
        raise repeated(error, attempts=plan.attempts) from error.__cause__
    raise AssertionError("unreachable: the loop returns or raises")


@contextmanager
def _reported(circuit: Circuit, request: object) -> Iterator[None]:
    """Tell a circuit what becomes of an attempt."""
    try:
        yield
    except SourceError as error:
        circuit.attempt_failed(error, request)
        raise
    except BaseException:
        circuit.abandoned()
        raise
    circuit.succeeded()


class _Plan:
    """Stamina's back-off hook for one request: gives the seconds to wait, or False to give up."""

    def __init__(
        self, budget: RetryBudget, statistics: RequestStatistics, pace: Pace, source: str, path: str
    ) -> None:
        self.attempts = 0
        self.seconds = 0.0
        self._budget = budget
        self._statistics = statistics
        self._pace = pace
        self._source = source
        self._path = path

    def __call__(self, error: Exception) -> float | bool:
        if not isinstance(error, SourceError) or isinstance(error, CircuitOpenError):
            return False
        if error.failure_class is FailureClass.RATE_LIMITED and error.retry_after is not None:
            self._pace.pause(min(error.retry_after, self._budget.maximum_delay))
        wait = self._wait(error)
        self._statistics.failure(error.failure_class, wait)
        log.warning(
            "request_failed",
            source=self._source,
            path=self._path,
            status=error.status,
            attempt=self.attempts,
            failure_class=error.failure_class.value,
            reason=error.message,
            wait=None if wait is None else round(wait, 3),
        )
        return False if wait is None else wait

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count an attempt and its seconds; queueing for its turn is not held against the request."""
        self.attempts += 1
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started

    def _wait(self, error: SourceError) -> float | None:
        if not error.failure_class.retryable or self.attempts >= self._budget.attempts:
            return None
        # affects_all together with transient: the source cannot be reached.
        total = min(self._budget.total, SECONDS_FOR_UNREACHABLE) if error.affects_all else self._budget.total
        wait = self._delay(error.retry_after)
        if self.seconds + wait > total:
            return None
        self.seconds += wait
        return wait

    def _delay(self, asked: float | None) -> float:
        budget = self._budget
        jitter = random.random()
        if asked is not None:
            # Those who were told the same time should not all come back at the same instant.
            return min(budget.maximum_delay, asked + jitter * budget.first_delay)
        ceiling = min(budget.maximum_delay, budget.first_delay * budget.factor ** (self.attempts - 1))
        return ceiling * (0.5 + 0.5 * jitter)


@functools.cache
def _silence_doubled_log() -> None:
    """Keep stamina from logging our repeats once more; its other users in this process keep their hooks."""
    hooks = stamina.instrumentation.get_on_retry_hooks()

    def hook(details: RetryDetails) -> None:
        if not isinstance(details.caused_by, SourceError):
            for other in hooks:
                other(details)

    stamina.instrumentation.set_on_retry_hooks([hook])
