"""The command `rollback`: what it shows, asks and changes, in the warehouse, the marts and Dagster."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from etl_assets.cli.days import days_between
from etl_assets.demo.server import RunningSource
from etl_assets.marts.catalogue import discover_marts
from etl_assets.orchestration.instance import opened_instance
from etl_assets.orchestration.keys import Layer, stream_key
from etl_assets.settings import Settings
from etl_assets.warehouse.opening import open_warehouse
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.instances import MATERIALIZED, partition_statuses
from etl_assets_tests.integration.shops import LINES, ORDERS, ScriptedShop
from etl_assets_tests.integration.warehouses import select

FIRST = date(2025, 2, 10)
DAYS = days_between(FIRST, FIRST + timedelta(days=2))
TABLES = {
    "lines": "SELECT * FROM shop.order_lines ORDER BY ALL",
    "orders": "SELECT * FROM shop.orders ORDER BY ALL",
    "mart": "SELECT * FROM marts.daily_sales ORDER BY ALL",
    "watermarks": "SELECT stream, watermark FROM etl.watermarks ORDER BY ALL",
}


def tables(settings: Settings) -> dict[str, list[object]]:
    """Give what can be seen in the warehouse."""
    return {name: list(select(settings.warehouse_path, query)) for name, query in TABLES.items()}


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def settings(scripted: RunningSource, use: Use) -> Settings:
    """Settings that point at the shop."""
    return use(scripted, ETL_START_DATE=str(FIRST))


def backfill(etl: Etl, first: date, last: date) -> str:
    """Load days of both streams; gives the run that loaded them."""
    done = etl("backfill", LINES, ORDERS, "--from", str(first), "--to", str(last), "--json")
    assert done.exit_code == 0, done.err
    run: str = done.json()["run_ids"][0]
    return run


def test_a_bad_load_is_undone(
    etl: Etl, shop: ScriptedShop, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = backfill(etl, DAYS[0], DAYS[1])
    then = tables(settings)
    shop.hollow.add((LINES, DAYS[1]))
    done = etl(
        "backfill", LINES, ORDERS, "--from", str(DAYS[1]), "--to", str(DAYS[2]), "--json", "--confirm-empty"
    )
    assert done.exit_code == 0, done.err
    bad, before = tables(settings), datetime.now(UTC)
    assert bad["lines"] != then["lines"] != []

    shown = etl("rollback", "shop", "--to", good, "--dry-run")
    assert shown.exit_code == 0
    rows = [line.split() for line in shown.out.splitlines() if line.startswith((LINES + " ", ORDERS + " "))]
    assert [row[:4] for row in rows[:2]] == [[LINES, "1", "1", "1"], [ORDERS, "2", "0", "1"]]
    assert f"{LINES} {DAYS[2]}: taken out" in shown.out

    unasked = etl("rollback", LINES, ORDERS, "--to", good)
    assert unasked.exit_code == 2
    assert "nobody can be asked here; nothing was changed (add --yes, or --dry-run)" in unasked.err
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    refused = etl("rollback", LINES, ORDERS, "--to", good)
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.out
    assert tables(settings) == bad

    undone = etl("rollback", "shop/*", "--to", good[:8], "--yes", "--json")
    assert undone.exit_code == 0, undone.err
    assert tables(settings) == then
    found = {each["stream"]: each for each in undone.json()["streams"]}
    assert found[LINES]["taken_out"] == [str(DAYS[2])]
    assert [day["partition"] for day in found[LINES]["restored"]] == [str(DAYS[1])]
    assert (found[ORDERS]["kept"], found[ORDERS]["rows_after"]) == (2, len(then["orders"]))
    assert [(mart["mart"], mart["dates_rebuilt"]) for mart in undone.json()["marts"]] == [("daily_sales", 2)]
    for stream in (LINES, ORDERS):
        statuses = partition_statuses(settings, stream)
        assert statuses["warehouse"] == {str(day): MATERIALIZED for day in DAYS[:2]}
        assert statuses["raw"] == {str(day): MATERIALIZED for day in DAYS}

    # As if that rollback had been killed right after its commit: the next one tells Dagster what it did not.
    with opened_instance(settings) as instance:
        key = stream_key(Layer.WAREHOUSE, LINES)
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=str(DAYS[2])))
    assert str(DAYS[2]) in partition_statuses(settings, LINES)["warehouse"]
    nothing = etl("rollback", LINES, "--to", good, "--yes")
    assert nothing.exit_code == 0
    assert "nothing to do: the same loads count now as then" in nothing.out
    assert str(DAYS[2]) not in partition_statuses(settings, LINES)["warehouse"]

    planned = etl("plan", LINES, "--to", str(DAYS[2]), "--json").json()["streams"][0]["days"]
    assert [(day["partition"], day["reason"]) for day in planned] == [
        (str(DAYS[1]), "landed again"),
        (str(DAYS[2]), "missing"),
    ]
    assert before.isoformat() < undone.json()["undo"]
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    again = etl("rollback", LINES, ORDERS, "--to", undone.json()["undo"])
    assert again.exit_code == 0, again.err
    assert tables(settings) == bad
    assert partition_statuses(settings, LINES)["warehouse"] == {str(day): MATERIALIZED for day in DAYS}
    with open_warehouse(settings).session("build the mart whole") as session:
        [mart] = discover_marts()
        session.rebuild_mart(mart, "whole", datetime.now(UTC), full=True)
    assert tables(settings)["mart"] == bad["mart"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shop/nothing", "--to", "2025-01-01"), "unknown stream 'shop/nothing'"),
        (("shop", "--to", "2025-01-01"), "nothing has been loaded yet"),
        (("shop", "--to", "2999-01-01"), "--to 2999-01-01 00:00:00 UTC is in the future"),
        (("shop", "--to", "2025-01-01", "--from-day", "tomorrow"), "--from-day 'tomorrow' is not a day"),
        (
            ("shop", "--to", "2025-01-01", "--from-day", "2025-01-02", "--to-day", "2025-01-01"),
            "is after --to-day",
        ),
        (("shop",), "Missing option '--to'"),
        (("--to", "2025-01-01"), "Missing argument 'selection'"),
    ],
)
def test_wrong_usage(etl: Etl, use: Use, arguments: tuple[str, ...], words: str) -> None:
    use()
    done = etl("rollback", *arguments)
    assert done.exit_code == 2
    assert words in done.err
    assert len(done.err.splitlines()) == 1
