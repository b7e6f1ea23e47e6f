"""A change feed through the command: what it deletes and what it leaves out is told wherever one looks."""

from __future__ import annotations

from datetime import date

import dagster as dg

from etl_assets.demo.clock import Clock, parse_time
from etl_assets.demo.server import running_source
from etl_assets.orchestration.instance import opened_instance
from etl_assets.orchestration.keys import Layer, stream_key
from etl_assets.settings import Settings
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.shops import PRODUCTS
from etl_assets_tests.integration.warehouses import select

FIRST, LEFT_OUT, THIRD, LAST = (date(2025, 4, day) for day in (12, 13, 14, 15))
"""A product that changed on the first day is deleted on the last."""


def days(first: date, last: date) -> tuple[str, ...]:
    """The options that name days."""
    return (PRODUCTS, "--from", first.isoformat(), "--to", last.isoformat())


def test_what_a_feed_deletes_and_leaves_out_is_told(use: Use, etl: Etl) -> None:
    with running_source(clock=Clock(fixed=parse_time("2025-05-01T00:00:00Z"))) as source:
        settings = use(source)
        done = etl("backfill", *days(FIRST, FIRST), "--json")
        assert (done.json()["gaps"], done.rows(PRODUCTS)["removed"]) == ([], 0)
        done = etl("backfill", *days(THIRD, LAST), "--json")
        gaps = done.json()["gaps"]
        _check_gap(settings, gaps)
        _check_removed(settings, etl, done.rows(PRODUCTS)["removed"])
        status = etl("status", *days(FIRST, LAST), "--json").json()
        assert status["gaps"] == gaps
        assert f"warning: {PRODUCTS}: {gaps[0]['missing']} changes are missing between numbers" in (
            etl("status", *days(FIRST, LAST)).out
        )
        filled = etl("backfill", *days(LEFT_OUT, LEFT_OUT))
        assert filled.exit_code == 0
        assert "missing" not in filled.out
        assert etl("status", *days(FIRST, LAST), "--json").json()["gaps"] == []


def _check_gap(settings: Settings, gaps: list[dict[str, object]]) -> None:
    [(before,)] = select(
        settings.warehouse_path, f"SELECT max(lsn) FROM shop.products WHERE _partition <= '{FIRST}'"
    )
    [(after,)] = select(
        settings.warehouse_path, f"SELECT min(lsn) FROM shop.products WHERE _partition >= '{THIRD}'"
    )
    [gap] = gaps
    assert (gap["stream"], gap["partition"]) == (PRODUCTS, THIRD.isoformat())
    assert (gap["after_sequence"], gap["before_sequence"]) == (before, after)
    assert gap["missing"] == after - before - 1 > 0


def _check_removed(settings: Settings, etl: Etl, removed: int) -> None:
    assert removed == 1
    query = "SELECT count(*) FROM shop.products WHERE _deleted_at IS NOT NULL"
    [(marked,)] = select(settings.warehouse_path, query)
    [row] = etl("status", *days(FIRST, LAST), "--json").json()["streams"]
    assert row["removed"] == marked >= 1
    assert " removed " in etl("status", *days(FIRST, LAST)).out
    with opened_instance(settings) as instance:
        key = stream_key(Layer.WAREHOUSE, PRODUCTS)
        wanted = dg.AssetRecordsFilter(key, asset_partitions=[LAST.isoformat()])
        [record] = instance.fetch_materializations(wanted, limit=1).records
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["removed"].value == removed
