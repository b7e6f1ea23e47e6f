"""One bad day: it alone is not published and shows red, every other day is there; and the ways out of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from dagster import DagsterEventType

from etl_assets.cli.backfill import run_backfill
from etl_assets.cli.days import days_between
from etl_assets.demo.faults import Faults
from etl_assets.demo.server import RunningSource
from etl_assets.orchestration.keys import CONSERVATION_CHECK, CONTRACT_CHECK, Layer
from etl_assets.outcomes import Status
from etl_assets.streams.base import RestSource, RetryBudget
from etl_assets.streams.discovery import StreamCatalogue, discover_streams
from etl_assets_tests.integration.conftest import LINES_PER_DAY, Etl, Use
from etl_assets_tests.integration.instances import (
    FAILED,
    MATERIALIZED,
    check_results,
    events_of_runs,
    materializations,
    partition_statuses,
)
from etl_assets_tests.integration.shops import LINES, ORDERS, ScriptedShop
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, select, visible_rows

FIRST, LAST = date(2025, 1, 6), date(2025, 1, 10)
DAYS = [day.isoformat() for day in days_between(FIRST, LAST)]
BAD = date(2025, 1, 8)
RANGE = ("--from", FIRST.isoformat(), "--to", LAST.isoformat(), "--json")
ONE_DAY = ("--from", BAD.isoformat(), "--to", BAD.isoformat(), "--json")


def statuses_with(bad: str) -> dict[str, str]:
    """Every day of the range as it must show: the bad one so, the others materialized."""
    return {day: bad if day == BAD.isoformat() else MATERIALIZED for day in DAYS}


def test_a_day_that_fails_for_good_costs_no_other_day(scripted: RunningSource, use: Use, etl: Etl) -> None:
    settings = use(scripted)
    scripted.faults.set_to(Faults(fail_days=[BAD.isoformat()]))
    done = etl("backfill", LINES, ORDERS, *RANGE)
    assert done.exit_code == 1
    for stream in (LINES, ORDERS):
        assert done.problems(stream) == {BAD.isoformat(): "failed"}
        assert "422" in done.messages(stream)[BAD.isoformat()]
        assert done.published(stream) == len(DAYS) - 1
        for layer, statuses in partition_statuses(settings, stream).items():
            assert statuses == statuses_with(FAILED), (stream, layer)
    # A failure that will not pass is asked for once, by the request and by the step.
    assert scripted.stats.requests["/v1/order-lines", "422"] == 1
    assert scripted.stats.requests["/v1/orders", "422"] == 1
    assert events_of_runs(settings, done.json()["run_ids"], DagsterEventType.STEP_RESTARTED) == 0
    days = select(settings.warehouse_path, "SELECT DISTINCT _partition FROM shop.order_lines ORDER BY 1")
    assert [day.isoformat() for (day,) in days] == [day for day in DAYS if day != BAD.isoformat()]
    assert set(materializations(settings, LINES).values()) == {1}

    status = etl("status", LINES, ORDERS, *RANGE)
    assert status.exit_code == 0
    assert [(row["published"], row["failed"]) for row in status.json()["streams"]] == [(4, 1), (4, 1)]

    scripted.faults.set_to(Faults())
    assert etl("backfill", LINES, ORDERS, *ONE_DAY).exit_code == 0
    for stream in (LINES, ORDERS):
        for statuses in partition_statuses(settings, stream).values():
            assert statuses == statuses_with(MATERIALIZED)


def test_a_single_day_can_fail_too(scripted: RunningSource, use: Use, etl: Etl) -> None:
    settings = use(scripted)
    scripted.faults.set_to(Faults(fail_days=[BAD.isoformat()], fail_path="/v1/orders"))
    done = etl("backfill", LINES, ORDERS, *ONE_DAY)
    assert done.exit_code == 1
    assert done.problems(ORDERS) == {BAD.isoformat(): "failed"}
    assert done.problems(LINES) == {}
    for statuses in partition_statuses(settings, ORDERS).values():
        assert statuses == {BAD.isoformat(): FAILED}
    for statuses in partition_statuses(settings, LINES).values():
        assert statuses == {BAD.isoformat(): MATERIALIZED}


def test_people_read_which_day_failed_and_why(scripted: RunningSource, use: Use, etl: Etl) -> None:
    use(scripted)
    scripted.faults.set_to(Faults(fail_days=[BAD.isoformat()]))
    done = etl("backfill", LINES, *RANGE[:-1])
    assert done.exit_code == 1
    [line] = [line for line in done.out.splitlines() if BAD.isoformat() in line]
    assert line.startswith(f"{LINES} {BAD} failed: ")
    assert "422" in line
    assert "Traceback" not in done.out + done.err


def test_a_withheld_day_changes_nothing_that_is_visible(
    scripted: RunningSource, shop: ScriptedShop, use: Use, etl: Etl
) -> None:
    settings = use(scripted)
    assert etl("backfill", LINES, *RANGE).exit_code == 0
    before = visible_rows(settings.warehouse_path, LINES)
    dirt = _quarantined(settings.warehouse_path)
    sales = select(settings.warehouse_path, "SELECT * FROM marts.daily_sales ORDER BY day")

    shop.spoiled.add(BAD)
    done = etl("backfill", LINES, *RANGE)
    assert done.exit_code == 1
    assert done.problems(LINES) == {BAD.isoformat(): "withheld"}
    assert "unit_price" in done.messages(LINES)[BAD.isoformat()]
    assert visible_rows(settings.warehouse_path, LINES) == before
    assert select(settings.warehouse_path, "SELECT * FROM marts.daily_sales ORDER BY day") == sales
    spoiled = _quarantined(settings.warehouse_path)
    assert len(spoiled - dirt) == LINES_PER_DAY / 5
    statuses = partition_statuses(settings, LINES)
    assert statuses["raw"] == statuses["staged"] == statuses_with(MATERIALIZED)
    assert statuses["warehouse"] == statuses_with(FAILED)
    for layer in (Layer.STAGED, Layer.WAREHOUSE):
        contract = check_results(settings, LINES, layer, CONTRACT_CHECK)
        assert contract == {day: [True, day != BAD.isoformat()] for day in DAYS}
        assert all(all(row) for row in check_results(settings, LINES, layer, CONSERVATION_CHECK).values())

    shop.spoiled.clear()
    assert etl("backfill", LINES, *ONE_DAY).exit_code == 0
    assert partition_statuses(settings, LINES)["warehouse"] == statuses_with(MATERIALIZED)
    assert visible_rows(settings.warehouse_path, LINES) == before
    states = select(settings.warehouse_path, "SELECT state, count(*) FROM etl.quarantine GROUP BY ALL")
    assert dict(states).get("superseded") == len(spoiled - dirt)
    assert select(settings.warehouse_path, NOT_CONSERVED) == []


def test_a_day_withheld_at_first_sight_is_published_once_repaired(
    scripted: RunningSource, shop: ScriptedShop, use: Use, etl: Etl
) -> None:
    settings = use(scripted)
    shop.spoiled.add(BAD)
    assert etl("backfill", LINES, *RANGE).problems(LINES) == {BAD.isoformat(): "withheld"}
    on_day = f"SELECT count(*) FROM shop.order_lines WHERE _partition = '{BAD}'"
    assert select(settings.warehouse_path, on_day) == [(0,)]
    shop.spoiled.clear()
    assert etl("backfill", LINES, *ONE_DAY).exit_code == 0
    [(rows,)] = select(settings.warehouse_path, on_day)
    assert rows > LINES_PER_DAY * 0.9


def test_a_retried_step_asks_only_for_the_days_that_may_pass(
    scripted: RunningSource, shop: ScriptedShop, use: Use
) -> None:
    settings = use(scripted)
    passing, lasting = BAD, LAST
    # Two requests a step, so that the first step fails and the second one's first request is answered.
    shop.failures[ORDERS, passing] = 2
    scripted.faults.set_to(Faults(fail_days=[lasting.isoformat()]))
    catalogue = _impatient(discover_streams())
    result = run_backfill(settings, catalogue, [catalogue[ORDERS]], days_between(FIRST, LAST), quiet=True)
    assert result.exit_code == 1
    [orders] = result.streams
    assert [(outcome.partition, outcome.status) for outcome in orders.problems] == [(lasting, Status.FAILED)]
    assert orders.published == len(DAYS) - 1
    expected = {(ORDERS, day): 1 for day in days_between(FIRST, LAST - timedelta(days=1))}
    assert shop.asked == expected | {(ORDERS, passing): 3}
    assert scripted.stats.requests["/v1/orders", "422"] == 1
    assert events_of_runs(settings, result.run_ids, DagsterEventType.STEP_RESTARTED) == 1
    for statuses in partition_statuses(settings, ORDERS).values():
        assert statuses == {day: FAILED if day == lasting.isoformat() else MATERIALIZED for day in DAYS}


def test_a_failure_that_passes_leaves_nothing_red(
    scripted: RunningSource, shop: ScriptedShop, use: Use
) -> None:
    settings = use(scripted)
    shop.failures[LINES, BAD] = 2
    catalogue = _impatient(discover_streams())
    streams = catalogue.select((LINES, ORDERS))
    result = run_backfill(settings, catalogue, streams, days_between(FIRST, LAST), quiet=True)
    assert result.exit_code == 0
    assert shop.asked[LINES, BAD] == 3
    assert {count for (_, day), count in shop.asked.items() if day != BAD} == {1}
    assert events_of_runs(settings, result.run_ids, DagsterEventType.STEP_RESTARTED) == 1
    for statuses in partition_statuses(settings, LINES).values():
        assert statuses == statuses_with(MATERIALIZED)


def test_an_empty_answer_never_wipes_a_day_until_confirmed(
    scripted: RunningSource, use: Use, etl: Etl
) -> None:
    settings = use(scripted)
    assert etl("backfill", LINES, ORDERS, *RANGE).exit_code == 0
    before = visible_rows(settings.warehouse_path, LINES)
    on_day = f"SELECT count(*) FROM shop.order_lines WHERE _partition = '{BAD}'"

    scripted.faults.set_to(Faults(empty_days=[BAD.isoformat()]))
    done = etl("backfill", LINES, *RANGE)
    assert done.exit_code == 1
    assert done.problems(LINES) == {BAD.isoformat(): "withheld"}
    assert "--confirm-empty" in done.messages(LINES)[BAD.isoformat()]
    assert visible_rows(settings.warehouse_path, LINES) == before
    assert partition_statuses(settings, LINES)["warehouse"] == statuses_with(FAILED)

    done = etl("backfill", LINES, *ONE_DAY, "--confirm-empty")
    assert done.exit_code == 0, done.out
    assert select(settings.warehouse_path, on_day) == [(0,)]
    assert select(settings.warehouse_path, f"SELECT * FROM marts.daily_sales WHERE day = '{BAD}'") == []
    assert len(visible_rows(settings.warehouse_path, LINES)) < len(before)
    assert partition_statuses(settings, LINES)["warehouse"] == statuses_with(MATERIALIZED)


def test_a_day_that_was_always_empty_is_published_as_empty(
    scripted: RunningSource, shop: ScriptedShop, use: Use, etl: Etl
) -> None:
    settings = use(scripted)
    shop.hollow |= {(LINES, BAD), (ORDERS, BAD)}
    for _ in range(2):
        assert etl("backfill", LINES, ORDERS, *RANGE).exit_code == 0
    for stream in (LINES, ORDERS):
        assert partition_statuses(settings, stream)["warehouse"] == statuses_with(MATERIALIZED)


def _impatient(catalogue: StreamCatalogue) -> StreamCatalogue:
    """The streams of APIs, from sources whose requests are given up after the second try."""
    retry = RetryBudget(attempts=2, first_delay=0.01, maximum_delay=0.02)
    streams = {}
    for name, stream in catalogue.streams.items():
        if isinstance(stream.source, RestSource):
            streams[name] = replace(stream, source=replace(stream.source, retry=retry))
    return StreamCatalogue(streams, catalogue.files)


def _quarantined(warehouse: Path) -> set[tuple[object, ...]]:
    return set(select(warehouse, "SELECT partition, payload_hash, occurrence FROM etl.quarantine"))
