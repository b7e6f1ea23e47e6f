"""Progress of long work, told through a small callback interface.

A piece of work has items: the days of a stream, or the documents of a day. Each passes some stages and then is done or
has failed. What belongs here: the interface, a reporter that does nothing, one that writes log lines, and one that
tells several others. What does not: drawing bars (`etl_assets.cli`) or writing log lines about single happenings.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import structlog

from etl_assets.outcomes import PartitionOutcome, Status

log = structlog.get_logger(__name__)

LOG_EVERY = 100
"""Items between two log lines: work that has fewer is told of by its own log lines alone."""


class ProgressReporter(Protocol):
    """Told of every step. Calls may come from several threads at once."""

    def start(self, work: str, stages: Sequence[str], total: int) -> None:
        """A piece of work begins: its name, the stages that every item goes through, and the number of items."""
        ...

    def item_stage(self, work: str, item: str, stage: str) -> None:
        """One item finished one stage."""
        ...

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        """One item ended well; a day comes with its outcome."""
        ...

    def item_failed(
        self, work: str, item: str, message: str, outcome: PartitionOutcome | None = None
    ) -> None:
        """One item ended badly, for the reason given; a day comes with its outcome."""
        ...

    def end(self, work: str) -> None:
        """The work ended."""
        ...


def tell_outcome(reporter: ProgressReporter, outcome: PartitionOutcome) -> None:
    """Tell of a day that ended, well or not."""
    day = outcome.partition.isoformat()
    if outcome.status.is_published or outcome.status is Status.DONE:
        reporter.item_done(outcome.stream, day, outcome)
    else:
        reporter.item_failed(outcome.stream, day, outcome.message, outcome)


class SilentReporter:
    """Tells nobody."""

    def start(self, work: str, stages: Sequence[str], total: int) -> None:
        """See `ProgressReporter`."""

    def item_stage(self, work: str, item: str, stage: str) -> None:
        """See `ProgressReporter`."""

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        """See `ProgressReporter`."""

    def item_failed(
        self, work: str, item: str, message: str, outcome: PartitionOutcome | None = None
    ) -> None:
        """See `ProgressReporter`."""

    def end(self, work: str) -> None:
        """See `ProgressReporter`."""


class LogReporter(SilentReporter):
    """Writes a structured log line now and then, and one at the end, of work that has many items.

    Args:
        every: Items between two lines.
    """

    def __init__(self, every: int = LOG_EVERY) -> None:
        self._every = every
        self._lock = threading.Lock()
        self._totals: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._done: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def start(self, work: str, stages: Sequence[str], total: int) -> None:
        """See `ProgressReporter`."""
        with self._lock:
            self._totals[work], self._began[work] = total, time.monotonic()
            self._done[work] = self._failed[work] = 0

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        """See `ProgressReporter`."""
        self._count(work, failed=False)

    def item_failed(
        self, work: str, item: str, message: str, outcome: PartitionOutcome | None = None
    ) -> None:
        """See `ProgressReporter`."""
        self._count(work, failed=True)

    def end(self, work: str) -> None:
        """See `ProgressReporter`."""
        if self._done[work] >= self._every:
            seconds = round(time.monotonic() - self._began.get(work, time.monotonic()), 1)
            log.info(
                "work_ended", work=work, done=self._done[work], failed=self._failed[work], seconds=seconds
            )

    def _count(self, work: str, *, failed: bool) -> None:
        with self._lock:
            self._done[work] += 1
            self._failed[work] += failed
            done, bad = self._done[work], self._failed[work]
        if done % self._every == 0:
            log.info("work_progress", work=work, done=done, failed=bad, total=self._totals.get(work))


class CompositeReporter:
    """Tells several others.

    Args:
        reporters: The others, in the order in which they are told.
    """

    def __init__(self, *reporters: ProgressReporter) -> None:
        self._reporters = reporters

    def start(self, work: str, stages: Sequence[str], total: int) -> None:
        """See `ProgressReporter`."""
        for reporter in self._reporters:
            reporter.start(work, stages, total)

    def item_stage(self, work: str, item: str, stage: str) -> None:
        """See `ProgressReporter`."""
        for reporter in self._reporters:
            reporter.item_stage(work, item, stage)

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        """See `ProgressReporter`."""
        for reporter in self._reporters:
            reporter.item_done(work, item, outcome)

    def item_failed(
        self, work: str, item: str, message: str, outcome: PartitionOutcome | None = None
    ) -> None:
        """See `ProgressReporter`."""
        for reporter in self._reporters:
            reporter.item_failed(work, item, message, outcome)

    def end(self, work: str) -> None:
        """See `ProgressReporter`."""
        for reporter in self._reporters:
            reporter.end(work)
