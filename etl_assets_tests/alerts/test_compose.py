"""Who is told what, when, and in how many messages; by a clock that the tests turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from etl_assets.alerts.conditions import Kind, Severity
from etl_assets.alerts.plain_text import footer, headline
from etl_assets.alerts.problems import acknowledge, problems_in
from etl_assets_tests.alerts.desk import NOON, Desk, Recorder, failed_day, january, open_desk

RULES = """
[channels.chat]
kind = "slack"
"""


class Told(Recorder):
    """A desk and what was told at it."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    def tick(self, seconds: float = 0) -> None:
        """Turn the clock, and tick."""
        self.desk.tick(seconds, open_with=self.opener())


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """A desk with one channel and no routes."""
    with open_desk(tmp_path, rules=RULES) as desk:
        yield Told(desk)


def test_a_problem_is_told_once_after_it_had_time_to_come_together(told: Told) -> None:
    told.desk.wrong = [failed_day("2025-01-01")]
    told.tick()
    assert told.titles == [], "what belongs together may still come"
    told.desk.wrong += [failed_day("2025-01-02"), failed_day("2025-01-03", "shop/order_lines")]
    told.tick(30)
    [notice] = told.notices
    assert notice.title == "shop (2 streams): 3 days failed to load"
    assert notice.severity is Severity.ERROR
    for _ in range(20):
        told.tick(300)
    assert len(told.notices) == 1


def test_another_cause_is_another_problem(told: Told) -> None:
    told.desk.wrong = [failed_day("2025-01-01"), failed_day("2025-01-02", error="no such column: price")]
    told.tick()
    told.tick(30)
    assert told.titles == ["shop/orders 2025-01-01 failed to load", "shop/orders 2025-01-02 failed to load"]


def test_repeats_are_folded_within_the_cool_down_and_counted(told: Told) -> None:
    told.desk.wrong = [failed_day("2025-01-01")]
    told.tick()
    told.tick(30)
    for number in range(10):
        told.desk.wrong = [failed_day("2025-01-01", ref=f"run {number + 2}")]
        told.tick(60)
    assert len(told.notices) == 1
    told.tick(3_600)
    assert [notice.status for notice in told.notices] == ["new", "again"]
    amount = next(fact.text for fact in told.notices[1].facts if fact.label == "How much")
    assert amount == "1 day, 10 rows, happened 11 times, 10 more than when it was told last"
    told.tick(7_200)
    assert len(told.notices) == 2, "nothing has happened since"


def test_its_end_is_told_once(told: Told) -> None:
    told.desk.wrong = [failed_day(day) for day in january(3)]
    told.tick()
    told.tick(30)
    told.desk.wrong = told.desk.wrong[:1]
    told.tick(60)
    assert len(told.notices) == 1, "one day is still open"
    told.desk.wrong = []
    told.tick(60)
    told.tick(60)
    assert told.titles[1:] == ["shop/orders: 3 days failed to load"]
    assert told.notices[1].status == "recovered"
    told.desk.wrong = [failed_day("2025-01-01", ref="run 9")]
    told.tick(60)
    told.tick(60)
    assert [notice.status for notice in told.notices] == ["new", "recovered", "new"]


def test_what_is_over_before_it_was_told_is_not_told(told: Told) -> None:
    told.desk.wrong = [failed_day("2025-01-01")]
    told.tick()
    told.desk.wrong = []
    told.tick(20)
    told.tick(60)
    assert told.notices == []
    assert problems_in(told.desk.outbox, "open", "closed") == []


def test_ten_thousand_failures_are_a_handful_of_messages(told: Told) -> None:
    causes = [f"{letter}{other}" for letter in "abcdefghij" for other in "abcdefghij"]
    told.desk.wrong = [
        failed_day(day, error=f"cause {cause}") for cause in causes for day in january(100) if day
    ]
    told.desk.wrong = [
        failed_day(f"{condition.key}", f"shop/s{number // 100}", error=condition.error)
        for number, condition in enumerate(told.desk.wrong)
    ]
    assert len({condition.fingerprint for condition in told.desk.wrong}) == 10_000
    told.tick()
    told.tick(30)
    told.tick(30)
    [notice] = told.notices
    assert notice.status == "digest"
    assert notice.title == "100 problems (10,000 failures)"
    assert len(notice.problems) == 100
    assert len(notice.entries) == 16
    assert "and 85 more" in notice.entries[-1].text


def test_many_that_are_over_are_one_message_that_asks_for_nothing(told: Told) -> None:
    told.desk.wrong = [failed_day("2025-01-01", f"shop{number}/orders") for number in range(5)]
    told.tick()
    told.tick(30)
    told.desk.wrong = told.desk.wrong[:1]
    told.tick(30)
    told.desk.wrong = [failed_day("2025-01-01", f"erp{number}/stock") for number in range(4)]
    told.tick(30)
    told.tick(30)
    titles = ["5 problems (5 failures)", "4 problems are over", "4 problems (4 failures); 1 is over"]
    assert told.titles == titles
    assert [notice.status for notice in told.notices] == ["digest", "recovered", "digest"]
    over = told.notices[1]
    assert (over.severity, over.steps, footer(over)) == (Severity.INFO, (), "")
    assert headline(over) == "[over] 4 problems are over"


def test_a_flood_of_ever_new_problems_is_bounded_and_nothing_of_it_is_lost(told: Told) -> None:
    problems: set[int] = set()
    for number in range(40):
        told.desk.wrong.append(failed_day("2025-01-01", f"shop/s{number}", error=f"cause {'x' * number}"))
        told.tick(15)
    assert len(told.notices) <= 5, "within ten minutes"
    for _ in range(40):
        told.tick(30)
    for notice in told.notices:
        problems.update(notice.problems)
    assert len(problems) == 40


def test_something_critical_gets_through_a_flood(told: Told) -> None:
    for number in range(20):
        told.desk.wrong.append(failed_day("2025-01-01", f"shop/s{number}", error=f"cause {'x' * number}"))
        told.tick(15)
    before = len(told.notices)
    told.desk.wrong.append(failed_day("2025-01-02", severity=Severity.CRITICAL, error="the end"))
    told.tick(10)
    told.tick(30)
    assert len(told.notices) == before + 1
    assert told.notices[-1].severity is Severity.CRITICAL


def test_acknowledged_problems_are_told_of_only_when_they_are_over(told: Told) -> None:
    told.desk.wrong = [failed_day("2025-01-01")]
    told.tick()
    told.tick(30)
    assert acknowledge(told.desk.outbox, told.notices[0].problems[0], "ada", told.desk.now)
    told.desk.wrong = [failed_day("2025-01-01", ref="run 2")]
    told.tick(7_200)
    assert len(told.notices) == 1
    told.desk.wrong = []
    told.tick(60)
    assert [notice.status for notice in told.notices] == ["new", "recovered"]


@pytest.mark.parametrize(
    "selection", ["shop/orders", "shop", "team:sales", "partition_failed", "#1", "shop/*"]
)
def test_muted_problems_are_told_when_the_mute_ends(told: Told, selection: str) -> None:
    told.desk.outbox.mute(selection, told.desk.now.replace(hour=14), "ada", told.desk.now)
    told.desk.wrong = [failed_day("2025-01-01")]
    told.tick()
    for _ in range(23):
        told.tick(300)
    assert told.notices == []
    told.tick(600)
    assert told.titles == ["shop/orders 2025-01-01 failed to load"]


def test_a_mute_of_one_stream_does_not_hide_another(told: Told) -> None:
    told.desk.outbox.mute("shop/orders", told.desk.now.replace(hour=14), "ada", told.desk.now)
    told.desk.wrong = [failed_day("2025-01-01"), failed_day("2025-01-01", "shop/order_lines")]
    told.tick()
    told.tick(30)
    assert told.titles == ["shop (2 streams): 2 days failed to load"]


def test_a_day_that_is_withheld_where_it_failed_before_is_no_recovery(told: Told) -> None:
    told.desk.wrong = [failed_day("2025-01-01")]
    told.tick()
    told.tick(30)
    told.desk.wrong = [
        failed_day("2025-01-01", kind=Kind.PARTITION_WITHHELD, ref="run 2", error="too many bad rows")
    ]
    told.tick(30)
    told.tick(30)
    assert [notice.status for notice in told.notices] == ["new", "new"]
    assert told.titles[-1] == "shop/orders 2025-01-01 withheld"


def test_a_failed_run_is_told_by_its_days_alone(told: Told) -> None:
    run = failed_day(
        "2025-01-01", kind=Kind.RUN_FAILED, ref="event 7", error="1 of 3 days were not published"
    )
    told.desk.wrong = [failed_day("2025-01-01")]
    told.desk.news = [run]
    told.tick()
    told.tick(30)
    assert told.titles == ["shop/orders 2025-01-01 failed to load"]
    # In another order: first the run, then, when the warehouse can be read again, its day.
    told.desk.wrong.append(failed_day("2025-01-05", at=NOON))
    told.desk.news = [failed_day("2025-01-05", kind=Kind.RUN_FAILED, ref="event 8", error="as above")]
    told.tick(60)
    told.tick(60)
    assert [problem.kind for problem in problems_in(told.desk.outbox, "open")] == [Kind.PARTITION_FAILED]


def test_news_is_told_once_and_needs_no_end(told: Told) -> None:
    told.desk.news = [
        failed_day("b1", "Backfill b1", kind=Kind.BACKFILL_FINISHED, severity=Severity.INFO, error="")
    ]
    told.tick()
    told.tick(30)
    told.tick(3_600)
    assert told.titles == ["Backfill b1 finished"]
    assert problems_in(told.desk.outbox, "open", "closed") == []


def test_the_same_happening_read_twice_counts_once(told: Told) -> None:
    event = failed_day("run-1", "job nightly", kind=Kind.RUN_FAILED, ref="event 7")
    for _ in range(3):
        told.desk.news = [event]
        told.tick(10)
    [problem] = problems_in(told.desk.outbox, "open")
    assert problem.times == 1


QUIET = """
[channels.chat]
kind = "slack"

[[routes]]
channels = "chat"
quiet = { from = "22:00", to = "07:00", zone = "Europe/Berlin" }
"""


def test_quiet_hours_wait_and_then_tell_everything(tmp_path: Path) -> None:
    with open_desk(tmp_path, rules=QUIET) as desk:
        told = Told(desk)
        told.tick(10 * 3_600)  # 22:00 UTC, 23:00 in Berlin
        desk.wrong = [failed_day("2025-01-01")]
        for _ in range(15):
            told.tick(1_800)  # until 05:30 UTC, 06:30 in Berlin
        assert told.notices == []
        desk.wrong.append(failed_day("2025-01-02", severity=Severity.CRITICAL, error="the end"))
        told.tick(60)
        told.tick(60)
        assert told.titles == ["shop/orders 2025-01-02 failed to load"], "critical alerts wait for nobody"
        told.tick(1_800)
        assert told.titles[1:] == ["shop/orders 2025-01-01 failed to load"]


def test_quiet_hours_that_outlast_a_problem_tell_nothing_of_it(tmp_path: Path) -> None:
    with open_desk(tmp_path, rules=QUIET) as desk:
        told = Told(desk)
        told.tick(10 * 3_600)
        desk.wrong = [failed_day("2025-01-01")]
        told.tick(60)
        desk.wrong = []
        told.tick(60)
        for _ in range(24):
            told.tick(1_800)
        assert told.notices == []


ROUTES = """
[channels.chat]
kind = "slack"

[channels.pager]
kind = "slack"
webhook = "ETL_PAGER_URL"

[channels.sales]
kind = "slack"
webhook = "ETL_SALES_URL"

[[routes]]
severity = "critical"
channels = ["pager", "chat"]

[[routes]]
owner = "team:sales"
channels = "sales"

[[routes]]
kinds = ["backfill_finished"]
subjects = "Backfill *"
channels = "chat"
"""


def test_routes_by_owner_severity_kind_and_subject(tmp_path: Path) -> None:
    with open_desk(tmp_path, rules=ROUTES) as desk:
        recorders: dict[str, Recorder] = {name: Recorder() for name in desk.rules.channels}
        desk.wrong = [
            failed_day("2025-01-01", error="a"),
            failed_day("2025-01-02", error="b", severity=Severity.CRITICAL),
            failed_day("2025-01-03", "erp/stock_levels", owner="team:logistics"),
        ]
        desk.news = [failed_day("b1", "Backfill b1", kind=Kind.BACKFILL_FINISHED, owner="")]
        desk.tick(open_with=recorders.__getitem__)
        desk.tick(30, open_with=recorders.__getitem__)
        assert {name: recorder.titles for name, recorder in recorders.items()} == {
            "pager": ["shop/orders 2025-01-02 failed to load"],
            "chat": ["shop/orders 2025-01-02 failed to load", "Backfill b1 finished"],
            "sales": ["shop/orders 2025-01-01 failed to load"],
        }
        assert len(problems_in(desk.outbox, "open")) == 3, "nobody asked for the last one; it is on record"
