"""The demo's files and postings: repeatable, whole, dirty within bounds, and there as soon as a day is over."""

from __future__ import annotations

import csv
import io
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etl_assets.demo.clock import Clock
from etl_assets.demo.deliveries import Deliveries, delivering
from etl_assets.demo.erp import MOST_POSTINGS, WAREHOUSES, post_stock_levels, postings
from etl_assets.demo.finance import HEADER, LEVELS, deliver_rates, rate_rows, rates_path
from etl_assets.demo.server import spawn_source
from etl_assets.observability.logging import configure_logging

FIRST = date(2025, 2, 24)
YEAR = [FIRST + timedelta(days=number) for number in range(365)]
PATIENCE = 30.0


def days(start: int, end: int) -> list[date]:
    """Some days, counted from the first."""
    return [FIRST + timedelta(days=number) for number in range(start, end)]


def content(folder: Path) -> tuple[dict[str, bytes], list[tuple[Any, ...]]]:
    """All files, and all rows of the database."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "erp.db"
    }
    with closing(sqlite3.connect(folder / "erp.db")) as database:
        return files, database.execute("SELECT * FROM stock_levels ORDER BY 1").fetchall()


def deliveries(folder: Path, seed: int = 0) -> Deliveries:
    """Deliver into a folder."""
    return Deliveries(folder / "finance", folder / "erp.db", seed)


def eventually(done: Callable[[], bool]) -> None:
    """Wait for something that another thread or process does."""
    give_up = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.02)


def test_days_are_the_same_in_whichever_parts_they_are_delivered(tmp_path: Path) -> None:
    deliveries(tmp_path / "once").deliver(days(0, 9))
    for part in (days(6, 9), days(0, 2), days(1, 7), days(0, 9)):
        deliveries(tmp_path / "parts").deliver(part)
    assert content(tmp_path / "once") == content(tmp_path / "parts")
    files, rows = content(tmp_path / "once")
    assert sorted(files) == [f"finance/fx_rates/2025/fx_rates_{day}.csv" for day in days(0, 9)]
    assert len({row[0] for row in rows}) == len(rows) > 9 * 50
    deliveries(tmp_path / "other", seed=1).deliver(days(0, 9))
    other_files, other_rows = content(tmp_path / "other")
    assert other_files.keys() == files.keys()
    assert not other_files.items() & files.items()
    assert other_rows != rows


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    assert deliver_rates(tmp_path, FIRST)
    path = rates_path(tmp_path, FIRST)
    path.write_text("corrected by hand")
    assert not deliver_rates(tmp_path, FIRST)
    assert path.read_text() == "corrected by hand"
    assert post_stock_levels(tmp_path / "erp.db", [FIRST]) == 1
    with closing(sqlite3.connect(tmp_path / "erp.db")) as database, database:
        database.execute("UPDATE stock_levels SET quantity_on_hand = 1")
    assert post_stock_levels(tmp_path / "erp.db", days(0, 2)) == 1
    _, rows = content(tmp_path)
    assert {row[3] for row in rows if row[4].startswith(FIRST.isoformat())} == {1}


@pytest.mark.parametrize("day", [FIRST, datetime.now(UTC).date()])
def test_a_file_was_last_written_to_in_the_past(tmp_path: Path, day: date) -> None:
    deliver_rates(tmp_path, day)
    assert time.time() - rates_path(tmp_path, day).stat().st_mtime > 30


def test_days_that_several_deliver_at_once_are_there_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as others:
        list(others.map(lambda _: deliveries(tmp_path / "many").deliver(days(0, 30)), range(4)))
    deliveries(tmp_path / "one").deliver(days(0, 30))
    assert content(tmp_path / "many") == content(tmp_path / "one")


def test_a_file_appears_whole(tmp_path: Path) -> None:
    """Whoever looks while it is written sees no file by its name, or all of it."""
    path, seen = rates_path(tmp_path, FIRST), []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            try:
                seen.append(path.read_bytes())
            except FileNotFoundError:
                continue

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(100):
        deliver_rates(tmp_path, FIRST)
        path.unlink()
    deliver_rates(tmp_path, FIRST)
    eventually(lambda: bool(seen))
    ended.set()
    watcher.join()
    assert set(seen) == {path.read_bytes()}
    assert os.listdir(path.parent) == [path.name]


def test_rates_are_near_their_levels_and_move_little() -> None:
    before: dict[str, float] = {}
    for day in YEAR:
        rates: dict[str, float] = {}
        for rate_date, base, quote, rate in rate_rows(day):
            assert (rate_date, base) == (day.isoformat(), "EUR")
            if rate.strip() not in ("n/a", "0") and not quote.endswith("$"):
                rates[quote.upper()] = float(rate)
        assert rates.keys() <= LEVELS.keys()
        for currency, value in rates.items():
            assert abs(value / LEVELS[currency] - 1) < 0.1
            assert abs(value / before.get(currency, value) - 1) < 0.02
        before = rates


def test_a_file_is_csv_with_a_header(tmp_path: Path) -> None:
    deliver_rates(tmp_path, FIRST)
    with rates_path(tmp_path, FIRST).open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == HEADER
    assert rows == rate_rows(FIRST)


def test_dirt_stays_within_the_budgets() -> None:
    """Above 5 % of bad rows a day is published with warnings, above 10 % it would be withheld."""
    shares: dict[str, list[float]] = {"rates": [], "stock": []}
    for day in YEAR:
        rates, rows = rate_rows(day), postings(day)
        pairs = [row[2].strip().upper() for row in rates]
        bad = sum(row[3] in ("n/a", "0") or row[2].endswith("$") for row in rates)
        shares["rates"].append((bad + len(pairs) - len(set(pairs))) / len(rates))
        wrong = [
            row for row in rows if not isinstance(row.quantity_on_hand, int) or row.warehouse_code == "?"
        ]
        shares["stock"].append(len(wrong) / len(rows))
    for found in shares.values():
        assert max(found) < 0.1
        assert 0.1 < sum(share > 0 for share in found) / len(found) < 0.6
    assert max(shares["rates"]) > 0.05
    assert max(shares["stock"]) < 0.05


def test_postings_are_numbered_in_the_order_of_time() -> None:
    everything = [row for day in days(0, 30) for row in postings(day)]
    assert len({row.updated_at for row in everything}) == len(everything)
    assert everything == sorted(everything, key=lambda row: row.updated_at)
    assert [row.stock_level_id for row in everything] == sorted(row.stock_level_id for row in everything)
    assert {row.warehouse_code.strip().upper() for row in everything} == {*WAREHOUSES, "?"}
    assert max(len(postings(day)) for day in YEAR) < MOST_POSTINGS


def test_each_new_day_is_delivered_once_it_is_over(tmp_path: Path) -> None:
    clock = Clock(fixed=datetime(2025, 2, 26, 23, 59, tzinfo=UTC))
    with delivering(deliveries(tmp_path), clock, FIRST):
        files, rows = content(tmp_path)
        assert len(files) == 2, "today is not over"
        assert {row[4][:10] for row in rows} == {"2025-02-24", "2025-02-25"}
        clock.advance(timedelta(minutes=1))
        eventually(lambda: len(content(tmp_path)[0]) == 3)
        eventually(lambda: content(tmp_path)[1][-1][4].startswith("2025-02-26"))
        clock.set_fixed(datetime(2025, 2, 25, tzinfo=UTC))
        clock.set_fixed(datetime(2025, 3, 2, tzinfo=UTC))
        eventually(lambda: len(content(tmp_path)[0]) == 6)
    assert "demo-deliveries" not in {thread.name for thread in threading.enumerate()}


def test_a_failed_delivery_is_told_and_made_up_for(tmp_path: Path) -> None:
    said = io.StringIO()
    configure_logging("json", "ERROR", stream=said)
    clock = Clock(fixed=datetime(2025, 2, 25, tzinfo=UTC))
    with delivering(deliveries(tmp_path), clock, FIRST):
        year = tmp_path / "finance" / "fx_rates" / "2025"
        hidden = year.rename(tmp_path / "hidden")
        year.write_text("in the way")
        clock.advance(timedelta(days=2))
        eventually(lambda: "delivery_failed" in said.getvalue())
        year.unlink()
        hidden.rename(year)
        eventually(lambda: len(list(year.iterdir())) == 3)


def test_the_source_delivers_only_where_no_address_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ETL_START_DATE", FIRST.isoformat())
    monkeypatch.setenv("ETL_ERP_URL", "sqlite:////srv/erp.db")
    folder = tmp_path / "data" / "demo"
    with spawn_source(now="2025-02-26T00:00:00Z", deliver=True) as source:
        names = {path.name for path in folder.rglob("*") if path.is_file()}
        assert names == {"fx_rates_2025-02-24.csv", "fx_rates_2025-02-25.csv"}
        source.control.set_clock(advance_seconds=86_400)
        eventually(rates_path(folder / "finance", date(2025, 2, 26)).exists)


def test_retail_days_get_their_rates_too(
    small_days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path / "data"))
    with spawn_source(data=small_days, now="2010-12-05T00:00:00Z", deliver=True):
        files, rows = content(tmp_path / "data" / "demo")
    assert len(files) == len({row[4][:10] for row in rows}) == 4
