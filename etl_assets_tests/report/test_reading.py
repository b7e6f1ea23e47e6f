"""What a report tells is what the bookkeeping says: days, checks, reasons, stages, within its period."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tries
from hypothesis import strategies as st

from etl_assets.cli.main import run
from etl_assets.failures import ConfigurationError, WarehouseError
from etl_assets.outcomes import CheckResult, Status
from etl_assets.report.checks import MEASURES
from etl_assets.report.facts import DayStatus, Facts, buckets
from etl_assets.report.reading import DEFAULT_DAYS, Period, read_facts
from etl_assets.settings import Settings
from etl_assets.streams import audits, audits_of_tables
from etl_assets.streams.audits import Audit
from etl_assets.streams.base import OffsetLimit, Rest, Snapshot
from etl_assets.streams.discovery import discover_streams
from etl_assets.warehouse.database import Warehouse
from etl_assets_tests.report.planted import (
    DAYS,
    EMAIL,
    FAILED,
    MISSING,
    SECRET,
    WARNED,
    WITHHELD,
    facts_of,
    settings_of,
)
from etl_assets_tests.report.years import fill, many_streams
from etl_assets_tests.warehouse.samples import LINES, LOADED_AT, ORDERS, Stager, day, line

KINDS = [
    kind.kind
    for module in (audits, audits_of_tables)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, Audit) and kind.kind != Audit.kind
]


def test_each_day_stands_as_its_last_attempt_left_it(facts: Facts) -> None:
    orders, lines = sorted(facts.streams, key=lambda stream: stream.id, reverse=True)
    assert [stream.id for stream in facts.streams] == [LINES.id, ORDERS.id] == [lines.id, orders.id]
    wrong = {
        day(WARNED): DayStatus.PUBLISHED_WITH_WARNINGS,
        day(WITHHELD): DayStatus.WITHHELD,
        day(FAILED): DayStatus.FAILED,
        day(MISSING): DayStatus.MISSING,
    }
    assert [one.day for one in lines.days] == [day(number) for number in range(DAYS)]
    assert {one.day: one.status for one in lines.days if one.status is not DayStatus.PUBLISHED} == wrong
    assert orders.counts == {DayStatus.PUBLISHED: 2, DayStatus.MISSING: DAYS - 2}
    assert (lines.extracted, lines.loaded_rows, lines.quarantined) == (6 * 10 + 3 + 5, 6 * 10 + 2, 3)
    assert (lines.newest, orders.newest) == (day(DAYS - 1), day(1))
    assert lines.pending == 3


def test_checks_are_counted_with_their_numbers(facts: Facts) -> None:
    checks = {check.name: check for check in facts.streams[0].checks}
    volume = checks["volume"]
    assert (volume.days, volume.failed, volume.last_failed) == (7, 1, day(WARNED))
    assert volume.measure == "rows"
    assert [(point.first, point.value, point.failed) for point in volume.trend] == [
        (day(number), 2.0 if number == WARNED else 10.0, int(number == WARNED))
        for number in range(DAYS)
        if number not in (WITHHELD, FAILED, MISSING)
    ]
    assert [(one.day, one.name) for one in facts.streams[0].failed_checks] == [(day(WARNED), "volume")]


def test_reasons_are_counted_by_rule_without_payloads(facts: Facts) -> None:
    assert [
        (one.rule, one.reason, one.rows, one.pending, one.days, one.last)
        for one in facts.reasons
        if one.quarantines
    ] == [("rule_a", "a", 3, 3, 2, day(WITHHELD)), ("rule_b", "b", 3, 3, 2, day(WITHHELD))]


def test_stages_are_those_of_the_loads(facts: Facts) -> None:
    assert [(one.stream, one.stage, one.days, one.total) for one in facts.stages] == [
        (LINES.id, "extract", 7, 3.5),
        (LINES.id, "stage", 7, 1.75),
        (ORDERS.id, "extract", 2, 1.0),
        (ORDERS.id, "stage", 2, 0.5),
    ]


def test_no_message_tells_a_secret_or_an_address(facts: Facts) -> None:
    told = repr(facts)
    assert "volume: <script>" in told
    [failed] = facts.streams[0].failed_checks
    assert failed.message == "volume: <script>alert(1)</script> & '...' '...' *** ***@***"
    assert SECRET not in told
    assert EMAIL not in told


def test_a_period_leaves_out_what_is_before_and_after(planted: Settings) -> None:
    found = facts_of(planted, Period(day(WARNED + 1), day(FAILED)))
    lines = found.streams[0]
    assert [one.day for one in lines.days] == [day(number) for number in range(WARNED + 1, FAILED + 1)]
    assert {check.name: check.failed for check in lines.checks}["volume"] == 0
    assert [(one.rule, one.rows) for one in found.reasons if one.quarantines] == [
        ("rule_a", 2),
        ("rule_b", 2),
    ]
    assert found.changes == ()


@pytest.mark.parametrize("long_ago", [False, True], ids=["recent", "five years"])
def test_ends_that_are_not_named_are_those_of_status_for_two_years_at_most(
    planted: Settings, long_ago: bool
) -> None:
    now = datetime(2030 if long_ago else 2025, 2, 1, 5, tzinfo=UTC)
    found = read_facts(planted, Warehouse(planted.warehouse_path), (LINES,), (), Period(), now)
    assert found.last == now.date() - timedelta(days=1)
    assert found.first == (found.last - timedelta(days=DEFAULT_DAYS - 1) if long_ago else day(0))


def test_days_are_counted_as_status_counts_them(
    planted: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in planted.environment.items():
        monkeypatch.setenv(name, value)
    ends = ("--from", day(0).isoformat(), "--to", day(DAYS - 1).isoformat())
    assert run(["status", "shop", *ends, "--json"]) == 0
    told = {row["stream"]: row for row in json.loads(capsys.readouterr().out)["streams"]}
    streams = discover_streams().select(["shop"])
    period = Period(day(0), day(DAYS - 1))
    found = read_facts(planted, Warehouse(planted.warehouse_path), streams, (), period)
    assert {stream.id for stream in found.streams} == set(told)
    for stream in found.streams:
        counts = {status.value: stream.counts[status] for status in DayStatus}
        assert counts == {name: told[stream.id][name] for name in counts}
        assert stream.status.rows == told[stream.id]["rows"]
    # Customers are shown as they are now alone: their past days cannot be had, and nobody misses them.
    assert told["shop/customers"]["lost"] == DAYS


def test_days_of_the_present_alone_cannot_be_had_later(planted: Settings) -> None:
    present = replace(
        ORDERS,
        name="present",
        extract=Rest(path="/present", paginator=OffsetLimit(total="total")),
        write=Snapshot(key="order_id"),
        window_column=None,
    )
    now = datetime(2025, 1, 11, 12, tzinfo=UTC)
    period = Period(day(7), day(9))
    found = read_facts(planted, Warehouse(planted.warehouse_path), (present,), (), period, now)
    assert [one.status for one in found.streams[0].days] == [
        DayStatus.LOST,
        DayStatus.LOST,
        DayStatus.MISSING,
    ]


def test_the_latest_result_of_a_check_and_loads_that_count_are_told(tmp_path: Path) -> None:
    settings, stager = settings_of(tmp_path / "data"), Stager(tmp_path / "files")
    bad = CheckResult("volume", "volume", False, False, "too few", {"rows": 1.0})
    with Warehouse(settings.warehouse_path).session("test") as session:
        for hours, check in enumerate([bad, replace(bad, passed=True, message="fine")]):
            at = LOADED_AT + timedelta(hours=hours)
            session.commit(stager.request(LINES, 0, [line(0, "a")], checks=(check,), loaded_at=at))
        session.commit(stager.request(LINES, 1, [line(1, "a")]))
        with session.change_quarantine("test") as connection:
            connection.execute(
                "INSERT INTO etl.loads BY NAME SELECT 99 AS load_id, * EXCLUDE (load_id, verdict), "
                "'rolled_back' AS verdict FROM etl.loads WHERE partition = ?",
                [day(1)],
            )
    found = facts_of(settings)
    checks = {check.name: check for check in found.streams[0].checks}
    assert (checks["volume"].failed, checks["volume"].message) == (0, "fine")
    assert [(one.stage, one.days) for one in found.stages] == [("extract", 1), ("stage", 1)]


def test_a_warehouse_of_an_older_version_is_no_error(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    duckdb.connect(str(settings.warehouse_path)).close()
    found = facts_of(settings)
    assert found.counts == {DayStatus.MISSING: 2 * DAYS}
    assert (found.reasons, found.stages, found.changes) == ((), (), ())


def test_without_a_warehouse_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match=r"there is no warehouse at .* yet .*backfill"):
        facts_of(settings_of(tmp_path))


def test_a_period_that_ends_before_it_begins_is_refused(planted: Settings) -> None:
    with pytest.raises(ConfigurationError, match="--from 2025-01-05 is after --to 2025-01-01"):
        facts_of(planted, Period(day(4), day(0)))


def test_every_kind_of_audit_has_a_number_to_show() -> None:
    assert set(MEASURES) == {*KINDS, "contract"}


@tries(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(1, 4),
    length=st.integers(1, 200),
    first=st.integers(0, 60),
    beyond=st.integers(0, 40),
)
def test_days_are_those_of_the_bookkeeping(
    tmp_path_factory: pytest.TempPathFactory, number: int, length: int, first: int, beyond: int
) -> None:
    settings = settings_of(tmp_path_factory.mktemp("any"))
    warehouse, streams = Warehouse(settings.warehouse_path), many_streams(number)
    with warehouse.session("fill") as session:
        begin = fill(session.connection, streams, length) - timedelta(days=length - 1 - first)
    end = begin + timedelta(days=length + beyond)
    found = read_facts(settings, warehouse, streams, (), Period(begin, end))
    with warehouse.read("test") as connection:
        counted = connection.execute(
            "SELECT status, count(*), sum(extracted), sum(quarantined) FROM etl.partitions "
            "WHERE partition BETWEEN ? AND ? GROUP BY status",
            [begin, end],
        ).fetchall()
    attempted = {DayStatus(status): days for status, days, *_ in counted}
    every = number * ((end - begin).days + 1)
    missing = every - sum(attempted.values())
    assert found.counts == Counter({**attempted, DayStatus.MISSING: missing})
    for stream in found.streams:
        assert [one.day for one in stream.days] == [
            begin + timedelta(days=offset) for offset in range((end - begin).days + 1)
        ]
    put_together = buckets([one for stream in found.streams for one in stream.days], begin, end)
    assert sum((bucket.counts for bucket in put_together), Counter()) == found.counts
    came = sum(bucket.published + bucket.withheld + bucket.quarantined for bucket in put_together)
    assert came == sum(extracted for _, _, extracted, _ in counted)
    assert sum(bucket.quarantined for bucket in put_together) == sum(bad for *_, bad in counted)
    assert (put_together[0].first, put_together[-1].end) == (begin, end + timedelta(days=1))


def test_every_status_of_a_day_can_be_told() -> None:
    assert {status.value for status in Status} - {Status.DONE.value} <= {status.value for status in DayStatus}
