"""A source that begins to send a field, sends it otherwise, and stops: told wherever one looks, under each policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import dagster as dg
import pytest

from etl_assets.cli.backfill import run_backfill
from etl_assets.cli.results import BackfillResult
from etl_assets.demo.server import RunningSource
from etl_assets.orchestration.instance import opened_instance
from etl_assets.orchestration.keys import Layer, stream_key
from etl_assets.settings import Settings
from etl_assets.streams.base import SchemaPolicy
from etl_assets.streams.discovery import StreamCatalogue, discover_streams
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.shops import ORDERS, ScriptedShop
from etl_assets_tests.integration.warehouses import select

BEFORE, NEW, OTHER, GONE = DAYS = [date(2025, 2, day) for day in (3, 4, 5, 6)]
CHANGES = (
    "SELECT partition, change, field, before, after FROM etl.schema_changes ORDER BY noticed_at, partition"
)


@pytest.fixture
def changing(shop: ScriptedShop) -> ScriptedShop:
    """The shop, whose orders get a tier that is a number, then a text, and lose it and their country again."""
    shop.added = {NEW: {"tier": 3}, OTHER: {"tier": "gold"}}
    shop.dropped = {GONE: {"country"}}
    return shop


def load(settings: Settings, policy: SchemaPolicy, days: Sequence[date]) -> BackfillResult:
    """Load days of orders by the command's own way, under a policy."""
    found = discover_streams()
    stream = replace(found[ORDERS], schema_changes=policy)
    catalogue = StreamCatalogue({ORDERS: stream}, {ORDERS: found.files[ORDERS]})
    return run_backfill(settings, catalogue, [stream], days, quiet=True)


def test_freeze_through_the_command(
    changing: ScriptedShop, scripted: RunningSource, use: Use, etl: Etl
) -> None:
    settings = use(scripted)
    days = (ORDERS, "--from", BEFORE.isoformat(), "--to", GONE.isoformat())
    done = etl("backfill", *days)
    assert done.exit_code == 0, done.err
    assert f"warning: {ORDERS} {NEW}: unknown field tier was set aside, it looks like BIGINT" in done.out
    assert f"warning: {ORDERS} {GONE}: field country is not sent any more" in done.out
    changes = [
        (NEW, "set_aside", "tier", None, "BIGINT"),
        (GONE, "removed", "country", "VARCHAR", None),
        (GONE, "removed", "tier", None, None),
    ]
    assert select(settings.warehouse_path, CHANGES) == changes
    again = etl("backfill", *days, "--json")
    assert again.json()["streams"][0]["schema_changes"] == []
    assert select(settings.warehouse_path, CHANGES) == changes
    status = etl("status", *days, "--json").json()
    assert [row["change"] for row in status["schema_changes"]] == ["set_aside", "removed", "removed"]
    assert [row["field"] for row in status["standing_changes"]] == ["country"]
    assert f"warning: {ORDERS} {GONE}: field country is not sent any more" in etl("status", *days).out
    _check_warehouse(settings)
    _check_events(settings)


def _check_warehouse(settings: Settings) -> None:
    aside = select(
        settings.warehouse_path,
        "SELECT partition, raw_payload, count(*) FROM etl.quarantine WHERE state = 'set_aside' GROUP BY ALL ORDER BY 1",
    )
    assert [(day, json.loads(payload)) for day, payload, _ in aside] == [
        (NEW, {"tier": 3}),
        (OTHER, {"tier": "gold"}),
    ]
    statuses = dict(select(settings.warehouse_path, "SELECT partition, status FROM etl.partitions"))
    assert statuses[NEW] == statuses[GONE] == "published_with_warnings"
    assert statuses[BEFORE] == statuses[OTHER] == "published"
    [(rows, lacking)] = select(
        settings.warehouse_path,
        f"SELECT count(*), count(*) FILTER (country IS NULL) FROM shop.orders WHERE _partition = '{GONE}'",
    )
    assert rows == lacking > 0


def _check_events(settings: Settings) -> None:
    """The day's own page in the UI says it, and so does the check."""
    key = stream_key(Layer.WAREHOUSE, ORDERS)
    with opened_instance(settings) as instance:
        found = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[NEW.isoformat()]), limit=10
        )
        told = [
            record.asset_materialization.metadata["schema_changes"].value
            for record in found.records
            if record.asset_materialization and "schema_changes" in record.asset_materialization.metadata
        ]
        assert len(told) == 1
        assert str(told[0]).startswith("unknown field tier was set aside, it looks like BIGINT")
        evaluations = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key, "contract"), limit=20
        )
    descriptions = [
        evaluation.description
        for record in evaluations
        if record.event and (evaluation := record.event.asset_check_evaluation) and not evaluation.passed
    ]
    assert any("unknown field tier was set aside" in (text or "") for text in descriptions)


def test_evolve(changing: ScriptedShop, scripted: RunningSource, use: Use) -> None:
    settings = use(scripted)
    result = load(settings, SchemaPolicy.EVOLVE, DAYS)
    assert result.exit_code == 0, result.as_json()
    assert select(settings.warehouse_path, CHANGES) == [
        (NEW, "added", "tier", None, "BIGINT"),
        (OTHER, "widened", "tier", "BIGINT", "VARCHAR"),
        (GONE, "removed", "country", "VARCHAR", None),
        (GONE, "removed", "tier", "VARCHAR", None),
    ]
    tiers = (
        "SELECT _partition, list(DISTINCT tier), count(DISTINCT tier) FROM shop.orders GROUP BY 1 ORDER BY 1"
    )
    found: list[Any] = select(settings.warehouse_path, tiers)
    assert [(day, number) for day, _, number in found] == [(BEFORE, 0), (NEW, 1), (OTHER, 1), (GONE, 0)]
    assert [tier for _, (tier, *_), _ in found[1:3]] == ["3", "gold"]
    (rows,) = result.streams
    assert [row.change.kind.value for row in rows.schema_changes] == [
        "added",
        "widened",
        "removed",
        "removed",
    ]


def test_strict(changing: ScriptedShop, scripted: RunningSource, use: Use) -> None:
    settings = use(scripted)
    result = load(settings, SchemaPolicy.STRICT, DAYS)
    assert result.exit_code == 1
    (row,) = result.streams
    assert [(outcome.partition, outcome.status.value) for outcome in row.problems] == [
        (NEW, "withheld"),
        (OTHER, "withheld"),
    ]
    assert "the source sends fields that the contract does not know: tier" in row.problems[0].message
    assert select(settings.warehouse_path, CHANGES) == [
        (NEW, "withheld", "tier", None, "BIGINT"),
        (GONE, "removed", "country", "VARCHAR", None),
        (GONE, "removed", "tier", None, None),
    ]
    days = select(settings.warehouse_path, "SELECT DISTINCT _partition FROM shop.orders ORDER BY 1")
    assert days == [(BEFORE,), (GONE,)]
