"""Progress: told to several, and now and then in a log line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from etl_assets.observability.progress import (
    CompositeReporter,
    LogReporter,
    ProgressReporter,
    SilentReporter,
    tell_outcome,
)
from etl_assets.outcomes import Status
from etl_assets_tests.cli.outcomes import outcome

WORK = "eidc/datasets 2025-03-10 documents"


class Noting(SilentReporter):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def start(self, work: str, stages: Any, total: int) -> None:
        """See `ProgressReporter`."""
        self.told.append(("start", work, tuple(stages), total))

    def item_stage(self, work: str, item: str, stage: str) -> None:
        """See `ProgressReporter`."""
        self.told.append(("item_stage", item, stage))

    def item_done(self, work: str, item: str, outcome: Any = None) -> None:
        """See `ProgressReporter`."""
        self.told.append(("item_done", item, outcome))

    def item_failed(self, work: str, item: str, message: str, outcome: Any = None) -> None:
        """See `ProgressReporter`."""
        self.told.append(("item_failed", item, message, outcome))

    def end(self, work: str) -> None:
        """See `ProgressReporter`."""
        self.told.append(("end", work))


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def work(reporter: ProgressReporter, items: int) -> None:
    """Tell of some items, every tenth of which fails."""
    reporter.start(WORK, ["extract"], items)
    for number in range(items):
        if number % 10 == 9:
            reporter.item_failed(WORK, str(number), "gone")
        else:
            reporter.item_stage(WORK, str(number), "extract")
            reporter.item_done(WORK, str(number))
    reporter.end(WORK)


def test_several_are_told_the_same() -> None:
    one, other = Noting(), Noting()
    work(CompositeReporter(one, other, SilentReporter()), 10)
    assert one.told == other.told
    assert one.told[0] == ("start", WORK, ("extract",), 10)
    assert one.told[-2:] == [("item_failed", "9", "gone", None), ("end", WORK)]


def test_days_are_told_of_by_their_outcome() -> None:
    noting = Noting()
    good, bad = outcome(), outcome(1, Status.WITHHELD)
    for each in (good, bad):
        tell_outcome(noting, each)
    assert noting.told == [
        ("item_done", "2025-03-10", good),
        ("item_failed", "2025-03-11", bad.message, bad),
    ]


def test_log_lines_come_now_and_then_and_at_the_end(logged: list[Any]) -> None:
    work(LogReporter(every=20), 50)
    assert [(line["event"], line["done"], line["failed"]) for line in logged] == [
        ("work_progress", 20, 2),
        ("work_progress", 40, 4),
        ("work_ended", 50, 5),
    ]
    assert logged[0]["total"] == 50
    assert {line["work"] for line in logged} == {WORK}


def test_little_work_is_not_worth_a_line(logged: list[Any]) -> None:
    work(LogReporter(every=20), 19)
    assert logged == []
