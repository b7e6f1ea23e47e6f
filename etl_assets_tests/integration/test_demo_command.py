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
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import httpx
import pytest

from etl_assets.cli.days import days_between
from etl_assets.demo.clock import Clock
from etl_assets.demo.server import running_source
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.integration.commands import Finished, run_process
from etl_assets_tests.integration.conftest import Etl
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, select
from etl_assets_tests.report.planted import Page

DAYS = 6
COMMAND = ("demo", "--days", str(DAYS), "--json")
OVERLAP = timedelta(minutes=15)
"""How much of the evening before is read again from the ERP."""

ISO_4217 = re.compile(r"[A-Z]{3}")
FX_RATES, STOCK_LEVELS, PRODUCTS = "finance/fx_rates", "erp/stock_levels", "shop/products"
CUSTOMERS, DATASETS = "shop/customers", "eidc/datasets"


@dataclass(frozen=True)
class Demo:
    """What the command said, and what it left in its data folder.

    Attributes:
        done: What it said.
        folder: The data folder.
        days: The days that it loaded.
    """

    done: Finished
    folder: Path
    days: list[date]

    @property
    def warehouse(self) -> Path:
        """The warehouse."""
        return self.folder / "warehouse.duckdb"


def last_days() -> list[date]:
    """The days that the command loads now."""
    today = datetime.now(UTC).date()
    return days_between(today - timedelta(days=DAYS), today - timedelta(days=1))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run in a process of its own; once more if midnight came in between."""
    while True:
        days, folder = last_days(), tmp_path_factory.mktemp("demo") / "data"
        done = run_process({"ETL_DATA_DIR": str(folder)}, *COMMAND)
        if last_days() == days:
            return Demo(done, folder, days)


def test_every_stream_is_published(demo: Demo) -> None:
    assert demo.done.exit_code == 0, demo.done.out + demo.done.err
    for stream in discover_streams():
        # What shows only the present has no days before the last.
        assert demo.done.published(stream) == (1 if stream in (CUSTOMERS, DATASETS) else DAYS)
        assert demo.done.rows(stream)["loaded"] > 0
    found = demo.done.json()
    assert (found["gaps"], found["problem"]) == ([], None)
    assert [mart["dates_rebuilt"] for mart in found["marts"]] == [DAYS]
    assert select(demo.warehouse, NOT_CONSERVED) == []


def test_the_report_tells_of_the_days(demo: Demo) -> None:
    page = Page.of((demo.folder / "report.html").read_text(encoding="utf-8"))
    published = sum(demo.done.published(stream) for stream in discover_streams())
    assert page.cells["p"] + page.cells["w"] == published
    assert page.cells["l"] == 2 * (DAYS - 1), (
        "of customers and datasets, which are shown as they are now alone"
    )
    assert set(page.cells) <= {"p", "w", "l"}


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
    assert demo.done.rows(FX_RATES)["quarantined"] == bad


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
    assert demo.done.rows(STOCK_LEVELS)["extracted"] == read >= len(rows)
    assert demo.done.rows(STOCK_LEVELS)["quarantined"] == bad


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
    assert demo.done.rows(PRODUCTS)["extracted"] == len(changes) > 0
    assert demo.done.rows(PRODUCTS)["removed"] == removed
    numbers = select(demo.warehouse, "SELECT first_sequence, last_sequence FROM etl.sequence_ranges")
    assert numbers == [(changes[0]["lsn"], changes[-1]["lsn"])]


def test_customers_are_the_present_ones_and_nobody_can_be_told(demo: Demo) -> None:
    present = asked("/v1/customers", limit=1_000)
    everyone = present["items"]
    while len(everyone) < present["total"]:
        everyone += asked("/v1/customers", limit=1_000, offset=len(everyone))["items"]
    columns = "customer_id, name, phone, country, first_seen_on, _removed_on, _partition"
    found = select(demo.warehouse, f"SELECT {columns} FROM shop.customers ORDER BY 1")
    assert found == [
        (
            one["customer_id"],
            f"{one['name'][0]}***",
            None,
            one["country"],
            date.fromisoformat(one["first_seen_on"]),
            None,
            demo.days[-1],
        )
        for one in everyone
    ]
    hashed = select(demo.warehouse, "SELECT count(DISTINCT email), min(length(email)) FROM shop.customers")
    assert hashed == [(len({one["email"].lower() for one in everyone}), 64)]
    versions = "SELECT count(*), bool_and(is_current) FROM shop.customers_history"
    assert select(demo.warehouse, versions) == [(len(everyone), True)]
    assert b"@example.com" not in demo.warehouse.read_bytes()


def test_running_it_again_changes_no_row(demo: Demo, etl: Etl, monkeypatch: pytest.MonkeyPatch) -> None:
    # The command sets the last two for its own process, which is this one here.
    for name, value in (("ETL_DATA_DIR", str(demo.folder)), ("ETL_SHOP_URL", ""), ("ETL_SHOP_TOKEN", "")):
        monkeypatch.setenv(name, value)
    again = etl(*COMMAND)
    if last_days() != demo.days:
        pytest.skip("midnight came in between, so that another day was loaded")
    assert again.exit_code == 0, again.out + again.err
    for stream in discover_streams():
        rows = again.rows(stream)
        assert (rows["loaded"], rows["removed"]) == (0, 0)
        assert rows["extracted"] == demo.done.rows(stream)["extracted"]
        runs = select(demo.warehouse, f"SELECT DISTINCT _run_id FROM {stream.replace('/', '.')}")
        assert {run_id for (run_id,) in runs} <= set(demo.done.json()["run_ids"])
    assert [mart["dates_rebuilt"] for mart in again.json()["marts"]] == [0]


def feed(days: list[date]) -> list[dict[str, Any]]:
    """The changes of some days, in their order."""
    window = {"from": f"{days[0]}T00:00:00Z", "to": f"{days[-1]}T23:59:59Z"}
    found = asked("/v1/products/changes", limit=5_000, **window)
    assert found["has_more"] is False
    changes: list[dict[str, Any]] = found["changes"]
    return changes


def asked(path: str, **parameters: str | int) -> dict[str, Any]:
    """An answer of the demo's shop, which is made up and so the same in every process."""
    midnight = datetime.combine(datetime.now(UTC).date(), time.min, UTC)
    with running_source(clock=Clock(fixed=midnight)) as source:
        answer = httpx.get(
            f"{source.url}{path}",
            params=parameters,
            headers={"Authorization": f"Bearer {source.token}"},
            timeout=30,
            trust_env=False,
        )
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        return None
