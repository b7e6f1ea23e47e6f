"""Audits on the whole way: a day that fails one, what Dagster and the warehouse say of it, and checks run alone."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import dagster as dg
from dagster import DagsterEventType

from etl_assets.build import build_definitions
from etl_assets.cli.days import days_between
from etl_assets.demo.server import RunningSource
from etl_assets.orchestration.backfill import RANGE_END_TAG, RANGE_START_TAG
from etl_assets.orchestration.instance import opened_instance
from etl_assets.orchestration.keys import CONSERVATION_CHECK, CONTRACT_CHECK, Layer, stream_key
from etl_assets_tests.integration.conftest import LINES_PER_DAY, Etl, Use
from etl_assets_tests.integration.instances import (
    FAILED,
    MATERIALIZED,
    check_results,
    materializations,
    partition_statuses,
)
from etl_assets_tests.integration.shops import LINES, ORDERS, ScriptedShop
from etl_assets_tests.integration.warehouses import select, visible_rows

FIRST, LAST, BAD = date(2025, 1, 6), date(2025, 1, 8), date(2025, 1, 7)
DAYS = [day.isoformat() for day in days_between(FIRST, LAST)]
RANGE = ("--from", FIRST.isoformat(), "--to", LAST.isoformat(), "--json")
ONE_DAY = ("--from", BAD.isoformat(), "--to", BAD.isoformat(), "--json")
CHECK = "null_share__description"
RESULTS = (
    "SELECT partition, passed FROM etl.check_results WHERE stream = 'order_lines' AND check_name = "
    f"'{CHECK}' ORDER BY evaluated_at, partition"
)


def test_a_day_that_fails_an_audit_stays_out_until_it_is_confirmed(
    scripted: RunningSource, shop: ScriptedShop, use: Use, etl: Etl
) -> None:
    settings = use(scripted)
    shop.nameless.add(BAD)
    done = etl("backfill", LINES, *RANGE)
    assert done.exit_code == 1
    assert done.problems(LINES) == {BAD.isoformat(): "withheld"}
    assert done.messages(LINES)[BAD.isoformat()] == (
        f"{CHECK}: 100.0% of description missing, more than 50%; "
        "run again with --confirm-audits to publish it all the same"
    )
    on_day = f"SELECT count(*) FROM shop.order_lines WHERE _partition = '{BAD}'"
    assert select(settings.warehouse_path, on_day) == [(0,)]
    statuses = partition_statuses(settings, LINES)
    assert statuses["staged"] == dict.fromkeys(DAYS, MATERIALIZED)
    assert statuses["warehouse"] == dict.fromkeys(DAYS, MATERIALIZED) | {BAD.isoformat(): FAILED}
    passed = {day: [day != BAD.isoformat()] for day in DAYS}
    assert check_results(settings, LINES, Layer.WAREHOUSE, CHECK) == passed
    assert select(settings.warehouse_path, RESULTS) == [
        (day, day != BAD) for day in days_between(FIRST, LAST)
    ]

    done = etl("backfill", LINES, *ONE_DAY, "--confirm-audits")
    assert done.exit_code == 0, done.out
    [(rows,)] = select(settings.warehouse_path, on_day)
    assert rows > LINES_PER_DAY * 0.9
    assert partition_statuses(settings, LINES)["warehouse"] == dict.fromkeys(DAYS, MATERIALIZED)
    status = (
        f"SELECT status, message FROM etl.partitions WHERE stream = 'order_lines' AND partition = '{BAD}'"
    )
    [(found, message)] = select(settings.warehouse_path, status)
    assert found == "published_with_warnings"
    assert message == f"{CHECK}: 100.0% of description missing, more than 50%"


def test_a_failed_check_shows_its_numbers_and_masked_rows(
    scripted: RunningSource, shop: ScriptedShop, use: Use, etl: Etl
) -> None:
    settings = use(scripted)
    shop.nameless.add(BAD)
    etl("backfill", LINES, *ONE_DAY)
    key = dg.AssetCheckKey(stream_key(Layer.WAREHOUSE, LINES), CHECK)
    with opened_instance(settings) as instance:
        [record, *_] = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    assert record.event.dagster_event is not None
    evaluation = record.event.dagster_event.asset_check_evaluation_data
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert evaluation.metadata["null_share"].value == 1.0
    table = str(evaluation.metadata["worst_rows"].value).splitlines()
    assert len(table) == 2 + 5
    assert table[0].startswith("| line_id | invoice_no |")


def test_checks_run_alone_judge_what_is_loaded_and_load_nothing(
    scripted: RunningSource, use: Use, etl: Etl
) -> None:
    settings = use(scripted)
    assert etl("backfill", LINES, ORDERS, *RANGE).exit_code == 0
    before = visible_rows(settings.warehouse_path, LINES), materializations(settings, LINES)
    pending = (
        "SELECT (numbers->>'compared')::INT > 0, passed FROM etl.check_results "
        "WHERE check_name = 'agreement__orders' ORDER BY evaluated_at, partition"
    )
    assert select(settings.warehouse_path, pending) == [(False, True)] * 3, "the orders were not there yet"

    names = ("agreement__orders", CONTRACT_CHECK, CONSERVATION_CHECK)
    checks = {dg.AssetCheckKey(stream_key(Layer.WAREHOUSE, LINES), name) for name in names}
    definitions = build_definitions(settings)
    graph = definitions.resolve_asset_graph()
    # What the UI asks before it offers to execute a check by itself.
    assert all(graph.get_execution_set_asset_and_check_keys(check) == {check} for check in checks)
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection=checks
    )
    with opened_instance(settings) as instance:
        result = job.execute_in_process(
            instance=instance,
            tags={RANGE_START_TAG: FIRST.isoformat(), RANGE_END_TAG: LAST.isoformat()},
        )
        assert result.success
        kinds = {event.event_type for event in result.all_events}
    assert DagsterEventType.ASSET_MATERIALIZATION not in kinds
    for name in names:
        assert check_results(settings, LINES, Layer.WAREHOUSE, name) == {day: [True, True] for day in DAYS}
    assert select(settings.warehouse_path, pending)[3:] == [(True, True)] * 3
    assert (visible_rows(settings.warehouse_path, LINES), materializations(settings, LINES)) == before


def test_checks_of_a_day_that_was_never_loaded_say_so(scripted: RunningSource, use: Use) -> None:
    settings = use(scripted)
    check = dg.AssetCheckKey(stream_key(Layer.WAREHOUSE, LINES), CHECK)
    job = build_definitions(settings).resolve_implicit_global_asset_job_def()
    with opened_instance(settings) as instance:
        result = job.get_subset(asset_selection=set(), asset_check_selection={check}).execute_in_process(
            instance=instance, partition_key=BAD.isoformat(), raise_on_error=False
        )
    assert not result.success
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    assert "1 of 1 days of shop/order_lines were not checked" in str(data.description)
    assert json.dumps(data.description).isascii()


def test_the_daily_look_reports_the_day_and_what_is_late(
    scripted: RunningSource, shop: ScriptedShop, use: Use, etl: Etl
) -> None:
    settings = use(scripted)
    shop.nameless.add(BAD)
    etl("backfill", LINES, *RANGE)
    job = build_definitions(settings).resolve_job_def("data_quality")
    with opened_instance(settings) as instance:
        result = job.execute_in_process(instance=instance, partition_key=BAD.isoformat())
    assert result.success
    [materialization] = result.get_asset_materialization_events()
    assert materialization.asset_key == dg.AssetKey(["reports", "data_quality"])
    metadata = materialization.materialization.metadata
    assert metadata["withheld"].value == 1
    page = Path(str(metadata["report"].value)).read_text(encoding="utf-8")
    assert f'id="d-shop-order_lines-{BAD}"' in page
    summary = str(metadata["summary"].value)
    assert "- shop/order_lines: withheld, 60 rows" in summary
    assert f"  {CHECK}: 100.0% of description missing" in summary
    late = {
        str(evaluation.asset_key.path[-1]): evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
    }
    assert late == {"order_lines": False, "orders": False}
    recorded = "SELECT DISTINCT stream FROM etl.check_results WHERE check_name = 'freshness' AND NOT passed"
    assert len(select(settings.warehouse_path, recorded)) == 2
