"""The whole real year by the command: every known number, every row, and again without any change."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from etl_assets.demo.server import SpawnedSource
from etl_assets_tests.integration.commands import Finished, run_process
from etl_assets_tests.integration.shops import LINES, ORDERS
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, NOT_IN_FILES, differences, select, tables

pytestmark = pytest.mark.real_data

COMMAND = ("backfill", LINES, ORDERS, "--from", "2010-12-01", "--to", "2011-12-13")
DAYS = 378


@dataclass(frozen=True)
class LoadedYear:
    """The year after its first load."""

    variables: dict[str, str]
    warehouse: Path
    first: Finished


@pytest.fixture(scope="module")
def year(real_source: SpawnedSource, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedYear]:
    """The real year, loaded once by the literal command."""
    real_source.control.set_faults()
    folder = tmp_path_factory.mktemp("real_year")
    variables = {
        "ETL_DATA_DIR": str(folder),
        "ETL_SHOP_URL": real_source.url,
        "ETL_SHOP_TOKEN": real_source.token,
    }
    yield LoadedYear(variables, folder / "warehouse.duckdb", run_process(variables, *COMMAND))
    shutil.rmtree(folder)


def test_command_ends_well_and_prints_the_totals(year: LoadedYear) -> None:
    assert year.first.exit_code == 0, year.first.err
    by_stream = {line.split()[0]: line.split()[1:] for line in year.first.out.splitlines() if line.strip()}
    assert by_stream[LINES] == ["378", "0", "0", "541,909", "541,907", "0", "0", "2"]
    assert by_stream[ORDERS][:3] == ["378", "0", "0"]
    assert by_stream[ORDERS][4] == "25,900"
    assert "marts/daily_sales: 305 dates rebuilt, 305 rows in the table" in year.first.out
    assert "Traceback" not in year.first.err


def test_known_numbers(year: LoadedYear) -> None:
    lines = "SELECT count(*), sum(quantity), sum(amount) FROM shop.order_lines"
    assert select(year.warehouse, lines) == [(541_907, 5_176_448, Decimal("9769872.054"))]
    orders = "SELECT count(*), count(DISTINCT order_id) FROM shop.orders"
    assert select(year.warehouse, orders) == [(25_900, 25_900)]
    mart = "SELECT sum(net_revenue), sum(gross_revenue - refunds), sum(lines) FROM marts.daily_sales"
    assert select(year.warehouse, mart) == [(Decimal("9769872.054"), Decimal("9769872.054"), 541_907)]


def test_two_negative_prices_are_quarantined(year: LoadedYear) -> None:
    rows = select(
        year.warehouse,
        "SELECT partition, reason, state, raw_payload FROM etl.quarantine ORDER BY row_number",
    )
    assert [(day, state) for day, _, state, _ in rows] == [(date(2011, 8, 12), "pending")] * 2
    assert {reason for _, reason, _, _ in rows} == {"unit_price must be at least 0"}
    assert [json.loads(raw)["unit_price"] for *_, raw in rows] == ["-11062.06"] * 2


def test_warnings_are_counted(year: LoadedYear) -> None:
    found: Counter[str] = Counter()
    for (warnings,) in select(year.warehouse, "SELECT warnings FROM etl.loads WHERE stream = 'order_lines'"):
        found.update(json.loads(warnings))
    assert found == {
        "description.missing": 1_454,
        "customer_id.missing": 135_080,
        "unit_price.price_zero": 2_515,
    }


def test_every_load_is_conserved(year: LoadedYear) -> None:
    assert select(year.warehouse, "SELECT count(*) FROM etl.loads") == [(2 * DAYS,)]
    assert select(year.warehouse, NOT_CONSERVED) == []


def test_every_row_is_as_the_files_say(year: LoadedYear, reference: Path) -> None:
    assert tables(year.warehouse) == {"shop.order_lines", "shop.orders", "marts.daily_sales"}
    assert differences(year.warehouse, reference, leaving_out=NOT_IN_FILES) == {}


def test_loading_again_changes_nothing_at_all(year: LoadedYear, tmp_path: Path) -> None:
    before = shutil.copy(year.warehouse, tmp_path / "before.duckdb")
    again = run_process(year.variables, *COMMAND, "--json")
    assert again.exit_code == 0, again.err
    assert again.rows(LINES)["unchanged"] == 541_907
    assert again.rows(LINES)["loaded"] == again.rows(ORDERS)["loaded"] == 0
    assert select(year.warehouse, "SELECT count(*) FROM etl.loads") == [(4 * DAYS,)]
    assert differences(Path(before), year.warehouse, leaving_out=()) == {}
