"""The summary of a day: what it says of good days, bad days, days that are not there, and the days before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from etl_assets.outcomes import CheckResult, Status
from etl_assets.streams.base import Freshness
from etl_assets.warehouse.data_quality import data_quality_of, expected_day, freshness
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import FIRST_DAY, LINES, LOADED_AT, ORDERS, Stager, day, line

STREAMS = (LINES, ORDERS)
FAILED = CheckResult("volume", "volume", False, False, "2 rows, 0.01 times the usual 200")
PASSED = replace(FAILED, passed=True, message="200 rows")


def load_week(session: Session, stager: Stager) -> None:
    """Load a week of lines, each day of ten rows and one in quarantine."""
    for number in range(7):
        rows = [line(number, f"{n}") for n in range(10)]
        session.commit(stager.request(LINES, number, rows, ["bad"], checks=(PASSED,)))


def test_a_day_without_issues_takes_a_line(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")], checks=(PASSED,)))
    summary = data_quality_of(session.connection, [LINES], day(0))
    assert summary.text == (
        "data quality of 2025-01-01: 0 of 1 tables with issues, 2 checks, 0 failed (usually 0.0), "
        "0 of 1 rows quarantined, 0 withheld"
    )


def test_a_bad_day_tells_what_is_wrong_against_the_days_before(session: Session, stager: Stager) -> None:
    load_week(session, stager)
    request = stager.request(
        LINES,
        7,
        [line(7, "a"), line(7, "b")],
        ["x", "y", "z"],
        checks=(FAILED,),
        verdict=Status.PUBLISHED_WITH_WARNINGS,
        message="volume: ...",
    )
    session.commit(request)
    summary = data_quality_of(session.connection, STREAMS, day(7))
    assert summary.text.splitlines() == [
        "data quality of 2025-01-08: 2 of 2 tables with issues, 2 checks, 1 failed (usually 0.0), "
        "3 of 5 rows quarantined, 0 withheld",
        "- shop/order_lines: published with warnings, 5 rows (usually 11), 3 quarantined (usually 1): rule_a 3",
        "  volume: 2 rows, 0.01 times the usual 200",
        "- shop/orders: not loaded, 0 rows",
    ]
    assert summary.numbers["rows_quarantined"] == 3


def test_a_withheld_day_is_told_with_its_reason(session: Session, stager: Stager) -> None:
    request = stager.request(LINES, 0, [line(0, "a")], verdict=Status.WITHHELD, message="too many bad rows")
    session.commit(request)
    summary = data_quality_of(session.connection, [LINES], day(0))
    assert summary.numbers["withheld"] == 1
    assert summary.text.splitlines()[1:] == ["- shop/order_lines: withheld, 1 rows", "  too many bad rows"]


def test_the_latest_result_of_a_check_counts(session: Session, stager: Stager) -> None:
    for hours, checks in enumerate([(FAILED,), (PASSED,)]):
        at = LOADED_AT + timedelta(hours=hours)
        session.commit(stager.request(LINES, 0, [line(0, "a")], checks=checks, loaded_at=at))
    assert data_quality_of(session.connection, [LINES], day(0)).numbers["checks_failed"] == 0
    assert session.connection.execute("SELECT count(*) FROM etl.check_results").fetchall() == [(4,)]


def test_a_warehouse_without_checks_is_no_error(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "old.duckdb")) as connection:
        assert data_quality_of(connection, STREAMS, day(0)).numbers["tables_with_issues"] == 2


@pytest.mark.parametrize(
    ("hour", "expected"), [(3, -2), (4, -1), (23, -1)], ids=["before it is due", "when it is due", "late"]
)
def test_the_expected_day_is_due_some_hours_after_its_end(hour: int, expected: int) -> None:
    now = datetime.combine(day(10), datetime.min.time(), UTC) + timedelta(hours=hour)
    assert expected_day(Freshness(timedelta(hours=4)), now) == day(10 + expected)


def test_freshness_asks_for_the_expected_day_and_not_for_the_latest(
    warehouse: Warehouse, stager: Stager
) -> None:
    audit = Freshness(within=timedelta(hours=4))
    now = datetime.combine(day(3), datetime.min.time(), UTC) + timedelta(hours=6)

    def judged(session: Session) -> tuple[bool, float]:
        result = freshness(session.connection, LINES, audit, now, FIRST_DAY)
        return result.passed, result.numbers["days_behind"]

    with warehouse.session("test") as session:
        assert judged(session) == (False, 3)
        session.commit(stager.request(LINES, 0, [line(0, "a")]))
        session.commit(stager.request(LINES, 5, [line(5, "a")]))
        assert judged(session) == (False, 2)
        session.commit(stager.request(LINES, 2, [line(2, "a")], verdict=Status.WITHHELD))
        assert judged(session) == (False, 2), "withheld is not published"
        session.commit(stager.request(LINES, 2, []))
        assert judged(session) == (True, 0), "an empty day is there"
        early = freshness(session.connection, ORDERS, audit, now, day(3))
        assert (early.passed, early.message) == (True, "no day is expected yet")
