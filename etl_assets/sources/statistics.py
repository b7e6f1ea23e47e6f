"""Counters of what a client asked and got.

What belongs here: counting, from any thread. What does not: showing the numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from etl_assets.failures import FailureClass


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """A reading of the counters.

    Attributes:
        requests: Requests sent, repeats included.
        retries: Those of them that were repeats.
        failures: Attempts that failed.
        failures_by_class: Those, by class of failure.
        bytes: Bytes of the bodies of good answers, decompressed.
        not_modified: Answers without a body, because the landed one is still right.
        seconds_waited: Seconds spent waiting before repeats.
    """

    requests: int = 0
    retries: int = 0
    failures: int = 0
    failures_by_class: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    not_modified: int = 0
    seconds_waited: float = 0.0


class RequestStatistics:
    """Counts the requests of one client; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = RequestCounts()

    def request(self, *, repeat: bool) -> None:
        """Count a request that is being sent."""
        with self._lock:
            now = self._counts
            self._counts = replace(now, requests=now.requests + 1, retries=now.retries + repeat)

    def answer(self, size: int) -> None:
        """Count the bytes of a good answer."""
        with self._lock:
            self._counts = replace(self._counts, bytes=self._counts.bytes + size)

    def unchanged(self) -> None:
        """Count an answer that says that the landed one is still right."""
        with self._lock:
            self._counts = replace(self._counts, not_modified=self._counts.not_modified + 1)

    def failure(self, failure_class: FailureClass, wait: float | None) -> None:
        """Count a failed attempt, and the seconds that are waited before the next."""
        with self._lock:
            now = self._counts
            name = failure_class.value
            self._counts = replace(
                now,
                failures=now.failures + 1,
                failures_by_class={**now.failures_by_class, name: now.failures_by_class.get(name, 0) + 1},
                seconds_waited=now.seconds_waited + (wait or 0.0),
            )

    def read(self) -> RequestCounts:
        """Give the counters as of now."""
        with self._lock:
            return self._counts
