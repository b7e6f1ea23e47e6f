"""Progress on the command line: bars on a terminal, plain lines elsewhere, nothing for machines.

What belongs here: drawing. What does not: deciding what is told (`etl_assets.observability.progress`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
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
from etl_assets.outcomes import PartitionOutcome

PLAIN_SECONDS = 2.0
"""How often plain output says where it is."""


class CollectingReporter(SilentReporter):
    """Keeps the last outcome of each partition, for the result table."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str], PartitionOutcome] = {}
        self._told: set[str] = set()

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        """See `ProgressReporter`."""
        if outcome is not None:
            self.outcomes[work, item] = outcome

    def item_failed(
        self, work: str, item: str, message: str, outcome: PartitionOutcome | None = None
    ) -> None:
        """See `ProgressReporter`."""
        if outcome is not None:
            self.outcomes[work, item] = outcome

    def close(self) -> None:
        """Stop drawing."""

    def _news(self, work: str, item: str, message: str, outcome: PartitionOutcome | None) -> str | None:
        """Say what went wrong with an item, once per cause: the result counts them all."""
        if message in self._told:
            return None
        self._told.add(message)
        return f"{work} {item} {outcome.status if outcome else 'failed'}: {message}"


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

    def start(self, work: str, stages: Sequence[str], total: int) -> None:
        """See `ProgressReporter`."""
        for stage in stages:
            if (work, stage) not in self._bars:
                bar = self._progress.add_task(
                    f"{work} [dim]{stage}[/dim]", total=self._totals.get(work, total)
                )
                self._bars[work, stage] = bar

    def item_stage(self, work: str, item: str, stage: str) -> None:
        """See `ProgressReporter`."""
        self._advance(work, stage, item)

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        """See `ProgressReporter`."""
        super().item_done(work, item, outcome)
        self._advance(work, "commit", item)

    def item_failed(
        self, work: str, item: str, message: str, outcome: PartitionOutcome | None = None
    ) -> None:
        """See `ProgressReporter`."""
        super().item_failed(work, item, message, outcome)
        # A day that failed has come to its end as well; documents and texts have one stage, which is over for them.
        for stage in ["commit"] if outcome is not None else self._stages_of(work):
            self._advance(work, stage, item)
        if news := self._news(work, item, message, outcome):
            self._progress.console.print(news, markup=False, highlight=False, soft_wrap=True)

    def end(self, work: str) -> None:
        """See `ProgressReporter`: only the bars of streams stay, which several runs of a command fill."""
        with self._lock:
            for key in [key for key in self._bars if key[0] == work and work not in self._totals]:
                self._progress.remove_task(self._bars.pop(key))

    def close(self) -> None:
        """See `CollectingReporter`."""
        self._progress.stop()

    def _stages_of(self, work: str) -> list[str]:
        with self._lock:
            return [stage for of, stage in self._bars if of == work]

    def _advance(self, work: str, stage: str, item: str) -> None:
        """Count an item, once: a step that is repeated tells of some again."""
        with self._lock:
            bar = self._bars.get((work, stage))
            if bar is not None:
                done = self._done.setdefault((work, stage), set())
                done.add(item)
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
        self._done: dict[str, set[str]] = {}
        self._counts: dict[str, int] = {}
        self._said_at = time.monotonic()
        self._lock = threading.Lock()

    def start(self, work: str, stages: Sequence[str], total: int) -> None:
        """See `ProgressReporter`."""
        self._counts[work] = self._totals.get(work, total)

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        """See `ProgressReporter`."""
        super().item_done(work, item, outcome)
        self._tell(work, item, "days" if outcome else "done")

    def item_failed(
        self, work: str, item: str, message: str, outcome: PartitionOutcome | None = None
    ) -> None:
        """See `ProgressReporter`."""
        super().item_failed(work, item, message, outcome)
        if news := self._news(work, item, message, outcome):
            self._print(news)
        self._tell(work, item, "days" if outcome else "done")

    def _tell(self, work: str, item: str, unit: str) -> None:
        with self._lock:
            items = self._done.setdefault(work, set())
            items.add(item)
            done, total = len(items), self._counts.get(work, self._totals.get(work))
            due = time.monotonic() - self._said_at > PLAIN_SECONDS or (done == total and work in self._totals)
            if due:
                self._said_at = time.monotonic()
        if due:
            self._print(f"{work} {done}/{total or done} {unit}, now {item}")

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
