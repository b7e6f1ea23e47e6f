"""What Dagster does by itself: the daily schedule, the marts' automation, and a backfill through the real daemon."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from etl_assets.build import build_definitions
from etl_assets.cli.days import days_between, last_full_day
from etl_assets.cli.deliveries import demo_deliveries
from etl_assets.demo.faults import Faults
from etl_assets.demo.generator import GeneratedShop
from etl_assets.demo.server import RunningSource
from etl_assets.marts.catalogue import discover_marts
from etl_assets.orchestration.backfill import load_days, rebuild_marts
from etl_assets.orchestration.instance import opened_instance, prepare_dagster_home
from etl_assets.orchestration.keys import DAILY_JOB, Layer, embeddings_key, mart_key, stream_key
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.integration.conftest import Use
from etl_assets_tests.integration.daemons import running_daemon, wait_until
from etl_assets_tests.integration.instances import FAILED, MATERIALIZED, partition_statuses
from etl_assets_tests.integration.launching import launch_backfill
from etl_assets_tests.integration.shops import LINES, ORDERS, ScriptedShop
from etl_assets_tests.integration.warehouses import select

FIRST, LAST, BAD = date(2025, 1, 6), date(2025, 1, 11), date(2025, 1, 9)
DAYS = days_between(FIRST, LAST)
ALL_STREAMS = list(discover_streams())
BACKFILL = "backfill"


def test_the_schedule_asks_for_yesterday_and_the_job_does_it_all(
    shop: ScriptedShop, scripted: RunningSource, use: Use
) -> None:
    # So many orders that those few that are always spoiled stay within the budget, whichever day it is.
    shop.inner = GeneratedShop(seed=3, lines_per_day=2_000)
    settings = use(scripted)
    # The day that is over last: some sources show no other.
    scripted.clock.set_real()
    day = last_full_day()
    demo_deliveries(settings).deliver([day])
    definitions = build_definitions(settings)
    with opened_instance(settings) as instance:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime.combine(day + timedelta(days=1), time(2), tzinfo=UTC),
            repository_def=definitions.get_repository_def(),
        )
        schedule = definitions.get_repository_def().get_schedule_def("daily_at_0200_utc")
        [request] = schedule.evaluate_tick(context).run_requests or []
        assert request.partition_key == day.isoformat()
        result = definitions.resolve_job_def(DAILY_JOB).execute_in_process(
            partition_key=request.partition_key, instance=instance, tags=request.tags, raise_on_error=False
        )
    assert result.success
    made = {event.asset_key for event in result.get_asset_materialization_events()}
    every_key = {stream_key(layer, stream) for stream in ALL_STREAMS for layer in Layer}
    embedded = {embeddings_key(stream) for stream in discover_streams().values() if stream.embed}
    assert made == {*every_key, *embedded, mart_key("daily_sales")}
    [(sold,)] = select(settings.warehouse_path, "SELECT sum(amount) FROM shop.order_lines")
    mart = "SELECT day, net_revenue FROM marts.daily_sales"
    assert select(settings.warehouse_path, mart) == [(day, sold)]
    for stream in ALL_STREAMS:
        for statuses in partition_statuses(settings, stream).values():
            assert statuses == {str(day): MATERIALIZED}


def test_loads_ask_for_the_mart_once(scripted: RunningSource, use: Use) -> None:
    settings = use(scripted)
    definitions = build_definitions(settings)
    mart = mart_key("daily_sales")
    with opened_instance(settings) as instance:
        evaluated = dg.evaluate_automation_conditions(definitions, instance)
        assert evaluated.total_requested == 0
        loaded = load_days(definitions, instance, [discover_streams()[LINES]], DAYS[:2])
        assert loaded.success, loaded.failures
        evaluated = dg.evaluate_automation_conditions(definitions, instance, cursor=evaluated.cursor)
        assert evaluated.get_num_requested(mart) == evaluated.total_requested == 1
        evaluated = dg.evaluate_automation_conditions(definitions, instance, cursor=evaluated.cursor)
        assert evaluated.total_requested == 0
        rebuilt = rebuild_marts(definitions, instance, discover_marts())
        assert rebuilt.metadata[mart]["dates_rebuilt"] == 2
        evaluated = dg.evaluate_automation_conditions(definitions, instance, cursor=evaluated.cursor)
        assert evaluated.total_requested == 0


@pytest.mark.slow
def test_a_backfill_through_the_daemon(scripted: RunningSource, use: Use, tmp_path: Path) -> None:
    settings = use(scripted, ETL_PARTITIONS_PER_RUN="3")
    scripted.faults.set_to(Faults(fail_days=[str(BAD)]))
    prepare_dagster_home(settings)
    with running_daemon(settings, tmp_path / "daemon.log") as problem, opened_instance(settings) as instance:
        launch_backfill(settings, instance, BACKFILL, (LINES, ORDERS), DAYS)

        def ended() -> bool:
            backfill = instance.get_backfill(BACKFILL)
            assert backfill is not None
            return backfill.status in (
                BulkActionStatus.COMPLETED,
                BulkActionStatus.COMPLETED_FAILED,
                BulkActionStatus.COMPLETED_SUCCESS,
                BulkActionStatus.FAILED,
            )

        wait_until(ended, problem)
        backfill = instance.get_backfill(BACKFILL)
        assert backfill is not None
        assert backfill.status is BulkActionStatus.COMPLETED_FAILED, backfill.error
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": BACKFILL}))
        assert len(runs) == 2
        expected = {str(day): FAILED if day == BAD else MATERIALIZED for day in DAYS}
        for stream in (LINES, ORDERS):
            for layer, statuses in partition_statuses(settings, stream).items():
                assert statuses == expected, (stream, layer)
        # The automation rebuilds the mart without being told to.
        wait_until(
            lambda: instance.get_latest_materialization_event(mart_key("daily_sales")) is not None, problem
        )
    days = [
        day for (day,) in select(settings.warehouse_path, "SELECT day FROM marts.daily_sales ORDER BY day")
    ]
    assert days == [day for day in DAYS if day != BAD]
