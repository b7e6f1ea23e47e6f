"""Progress on the command line: bars on a terminal, plain lines elsewhere, nothing for machines.

What belongs here: drawing. What does not: deciding what is told (`etl_assets.observability.progress`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import PartitionOutcome, Status

PLAIN_SECONDS = 2.0
"""How often plain output says where it is."""


class CollectingReporter(SilentReporter):
    """Keeps the last outcome of each partition, for the result table."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str], PartitionOutcome] = {}
        self._told: set[str] = set()

    def partition_done(self, outcome: PartitionOutcome) -> None:
        """See `ProgressReporter`."""
        self.outcomes[outcome.stream, outcome.partition.isoformat()] = outcome

    def close(self) -> None:
        """Stop drawing."""

    def _news(self, outcome: PartitionOutcome) -> str | None:
        """Say what went wrong with a partition, once per cause: the result table counts the days."""
        if outcome.status.is_published or outcome.status is Status.DONE or outcome.message in self._told:
            return None
        self._told.add(outcome.message)
        return f"{outcome.stream} {outcome.partition} {outcome.status}: {outcome.message}"


class BarReporter(CollectingReporter):
    """One bar per stream and stage.

    Args:
        console: Where to draw.
        totals: Partitions per stream, over all runs of the command.
    """

    def __init__(self, console: Console, totals: dict[str, int]) -> None:
        super().__init__()
        self._totals = totals
        self._bars: dict[tuple[str, str], Any] = {}
        self._done: dict[tuple[str, str], set[str]] = {}
        self._lock = threading.Lock()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._progress.start()

    def start(self, stream: str, stages: Sequence[str], total: int) -> None:
        """See `ProgressReporter`."""
        for stage in stages:
            if (stream, stage) not in self._bars:
                bar = self._progress.add_task(
                    f"{stream} [dim]{stage}[/dim]", total=self._totals.get(stream, total)
                )
                self._bars[stream, stage] = bar

    def stage_done(self, stream: str, partition: str, stage: str) -> None:
        """See `ProgressReporter`."""
        self._advance(stream, stage, partition)

    def partition_done(self, outcome: PartitionOutcome) -> None:
        """See `ProgressReporter`."""
        super().partition_done(outcome)
        self._advance(outcome.stream, "commit", outcome.partition.isoformat())
        if news := self._news(outcome):
            self._progress.console.print(news, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """See `CollectingReporter`."""
        self._progress.stop()

    def _advance(self, stream: str, stage: str, partition: str) -> None:
        """Count a partition, once: a step that is repeated tells of some again."""
        bar = self._bars.get((stream, stage))
        if bar is not None:
            with self._lock:
                done = self._done.setdefault((stream, stage), set())
                done.add(partition)
                self._progress.update(bar, completed=len(done))


class LineReporter(CollectingReporter):
    """A line every few seconds and for everything that went wrong.

    Args:
        console: Where to write.
        totals: Partitions per stream, over all runs of the command.
    """

    def __init__(self, console: Console, totals: dict[str, int]) -> None:
        super().__init__()
        self._console = console
        self._totals = totals
        self._done: dict[str, set[date]] = {}
        self._said_at = time.monotonic()
        self._lock = threading.Lock()

    def partition_done(self, outcome: PartitionOutcome) -> None:
        """See `ProgressReporter`."""
        super().partition_done(outcome)
        with self._lock:
            days = self._done.setdefault(outcome.stream, set())
            days.add(outcome.partition)
            done = len(days)
            due = time.monotonic() - self._said_at > PLAIN_SECONDS or done == self._totals.get(outcome.stream)
            if due:
                self._said_at = time.monotonic()
        if news := self._news(outcome):
            self._print(news)
        if due:
            self._print(
                f"{outcome.stream} {done}/{self._totals.get(outcome.stream, done)} days, now {outcome.partition}"
            )

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def make_reporter(console: Console, totals: dict[str, int], *, quiet: bool) -> CollectingReporter:
    """Choose the reporter that fits where the output goes.

    Args:
        console: Standard error.
        totals: Partitions per stream.
        quiet: For machines: say nothing.
    """
    if quiet:
        return CollectingReporter()
    return BarReporter(console, totals) if console.is_terminal else LineReporter(console, totals)
