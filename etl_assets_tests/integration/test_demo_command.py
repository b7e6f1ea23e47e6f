"""The command `demo`, for real: every kind of source has its rows, as an independent reading of the sources has them.

The files and the database are read with Python's own modules, the change feed over HTTP and replayed by hand; none of
the project's readers, transforms or write dispositions takes part in what is expected.
"""

from __future__ import annotations

import csv
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import httpx
import pytest

from etl_assets.cli.days import days_between
from etl_assets.demo.server import running_source
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.integration.commands import Finished, run_process
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, select

DAYS = 6
OVERLAP = timedelta(minutes=15)
"""How much of the evening before is read again from the ERP."""

ISO_4217 = re.compile(r"[A-Z]{3}")
FX_RATES, STOCK_LEVELS, PRODUCTS = "finance/fx_rates", "erp/stock_levels", "shop/products"


@dataclass(frozen=True)
class Demo:
    """The command's result, twice, and what it left in its data folder.

    Attributes:
        first: What it said the first time.
        again: What it said the second time.
        folder: The data folder.
        days: The days that it loaded.
        stamps: When each row of the tables was written, after the first time.
    """

    first: Finished
    again: Finished
    folder: Path
    days: list[date]
    stamps: dict[str, Any]

    @property
    def warehouse(self) -> Path:
        """The warehouse."""
        return self.folder / "warehouse.duckdb"


def run_demo(folder: Path) -> Finished:
    """Run the command in a process of its own."""
    return run_process({"ETL_DATA_DIR": str(folder)}, "demo", "--days", str(DAYS), "--json")


def stamps_of(warehouse: Path) -> dict[str, Any]:
    """Tell for each stream how many rows it has, and which runs wrote them when."""
    return {
        stream: select(
            warehouse,
            f"SELECT _run_id, _loaded_at, count(*) FROM {stream.replace('/', '.')} GROUP BY ALL ORDER BY ALL",
        )
        for stream in discover_streams()
    }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run twice over one data folder."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    while True:
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        first = run_demo(folder)
        stamps = stamps_of(folder / "warehouse.duckdb")
        again = run_demo(folder)
        if datetime.now(UTC).date() - timedelta(days=1) == yesterday:
            break
    return Demo(first, again, folder, days_between(yesterday - timedelta(days=DAYS - 1), yesterday), stamps)


def test_every_stream_is_published(demo: Demo) -> None:
    assert demo.first.exit_code == 0, demo.first.out + demo.first.err
    for stream in discover_streams():
        assert demo.first.published(stream) == DAYS
        assert demo.first.rows(stream)["loaded"] > 0
    found = demo.first.json()
    assert (found["gaps"], found["problem"]) == ([], None)
    assert [mart["dates_rebuilt"] for mart in found["marts"]] == [DAYS]
    assert select(demo.warehouse, NOT_CONSERVED) == []


def test_exchange_rates_are_those_of_the_files(demo: Demo) -> None:
    expected: list[tuple[Any, ...]] = []
    bad = 0
    for day in demo.days:
        path = demo.folder / "demo" / "finance" / "fx_rates" / f"{day:%Y}" / f"fx_rates_{day}.csv"
        pairs = set()
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                base, quote = (row[name].strip().upper() for name in ("base_currency", "quote_currency"))
                rate = _decimal(row["rate"])
                if not (ISO_4217.fullmatch(quote) and rate and rate > 0) or (base, quote) in pairs:
                    bad += 1
                    continue
                pairs.add((base, quote))
                expected.append((day, base, quote, rate, f"{base}/{quote}", day))
    columns = "rate_date, base_currency, quote_currency, rate, currency_pair, _partition"
    found = select(demo.warehouse, f"SELECT {columns} FROM finance.fx_rates")
    assert sorted(found) == sorted(expected)
    assert demo.first.rows(FX_RATES)["quarantined"] == bad


def test_stock_levels_are_the_newest_good_postings(demo: Demo) -> None:
    with closing(sqlite3.connect(demo.folder / "demo" / "erp.db")) as database:
        rows = database.execute("SELECT * FROM stock_levels ORDER BY updated_at").fetchall()
    newest: dict[tuple[str, str], tuple[Any, ...]] = {}
    read = bad = 0
    for number, code, place, on_hand, text in rows:
        warehouse, updated_at = place.strip().upper(), datetime.fromisoformat(text)
        times = len({updated_at.date(), (updated_at + OVERLAP).date()} & set(demo.days))
        read += times
        if isinstance(on_hand, int) and warehouse != "?":
            newest[code, warehouse] = (code, warehouse, on_hand, number, updated_at)
        else:
            bad += times
    columns = "stock_code, warehouse_code, quantity_on_hand, stock_level_id, updated_at"
    found = select(demo.warehouse, f"SELECT {columns} FROM erp.stock_levels")
    assert sorted(found) == sorted(newest.values())
    assert demo.first.rows(STOCK_LEVELS)["extracted"] == read >= len(rows)
    assert demo.first.rows(STOCK_LEVELS)["quarantined"] == bad


def test_products_are_a_replay_of_the_feed(demo: Demo) -> None:
    changes = feed(demo.days)
    expected: dict[str, tuple[Any, ...]] = {}
    removed = 0
    for change in changes:
        product = change["product_id"]
        before = expected.get(product)
        moment = datetime.fromisoformat(change["ts"]).replace(tzinfo=None)
        if change["op"] == "D":
            removed += before is not None
            values, deleted_at = (before[3:6] if before else (None, None, None)), moment
        else:
            after = change["after"]
            price = Decimal(after["unit_price"])
            values, deleted_at = (after["stock_code"], after["description"].strip(), price), None
        expected[product] = (product, change["lsn"], change["op"], *values, moment, deleted_at)
    columns = "product_id, lsn, op, stock_code, description, unit_price, changed_at, _deleted_at"
    found = select(demo.warehouse, f"SELECT {columns} FROM shop.products ORDER BY product_id")
    assert found == [expected[product] for product in sorted(expected)]
    assert demo.first.rows(PRODUCTS)["extracted"] == len(changes) > 0
    assert demo.first.rows(PRODUCTS)["removed"] == removed
    numbers = select(demo.warehouse, "SELECT first_sequence, last_sequence FROM etl.sequence_ranges")
    assert numbers == [(changes[0]["lsn"], changes[-1]["lsn"])]


def test_running_it_again_changes_no_row(demo: Demo) -> None:
    assert demo.again.exit_code == 0, demo.again.out + demo.again.err
    for stream in discover_streams():
        rows = demo.again.rows(stream)
        assert (rows["loaded"], rows["removed"]) == (0, 0)
        assert rows["extracted"] == demo.first.rows(stream)["extracted"]
    assert stamps_of(demo.warehouse) == demo.stamps
    assert [mart["dates_rebuilt"] for mart in demo.again.json()["marts"]] == [0]


def feed(days: list[date]) -> list[dict[str, Any]]:
    """The changes of some days, in their order; the demo's shop is made up, and so the same in every process."""
    with running_source() as source:
        answer = httpx.get(
            f"{source.url}/v1/products/changes",
            params={"from": f"{days[0]}T00:00:00Z", "to": f"{days[-1]}T23:59:59Z", "limit": 5_000},
            headers={"Authorization": f"Bearer {source.token}"},
            timeout=30,
            trust_env=False,
        )
    found = answer.raise_for_status().json()
    assert found["has_more"] is False
    changes: list[dict[str, Any]] = found["changes"]
    return changes


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        return None
