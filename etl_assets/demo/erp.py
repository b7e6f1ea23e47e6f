"""The ERP's database: a SQLite file with a table of stock levels, to which each posting adds a row.

What belongs here: making up a day's postings, and posting them. What does not: when a day is due (see `deliveries`).

A day's postings are a function of seed and date alone. Their articles are products of the generated shop.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from etl_assets.demo.catalogue import FIRST_PRODUCTS, is_kept_for_good, stock_code_of

WAREHOUSES = ("BHM", "LON", "RTM")
OPENS, CLOSES = 5 * 3_600, 23 * 3_600 + 59 * 60
WEEKDAY_POSTINGS, WEEKEND_POSTINGS = 110, 70
MOST_POSTINGS = 1_000
"""Of a day: its numbers follow on from those of the day before."""

BUSY_SECONDS = 60.0
TABLE = """CREATE TABLE IF NOT EXISTS stock_levels (
    stock_level_id INTEGER PRIMARY KEY, stock_code TEXT, warehouse_code TEXT, quantity_on_hand INTEGER,
    updated_at TIMESTAMP)"""
INDEX = "CREATE INDEX IF NOT EXISTS stock_levels_updated_at ON stock_levels (updated_at)"


class Posting(NamedTuple):
    """A row of the table: what is on hand of an article in a warehouse after a posting."""

    stock_level_id: int
    stock_code: str
    warehouse_code: str
    quantity_on_hand: int | str | None
    updated_at: str


def post_stock_levels(path: Path, days: Iterable[date], *, seed: int = 0) -> int:
    """Post days in one transaction; days that are there already are left as they are.

    Args:
        path: The SQLite file; made if it is not there.
        days: The days.
        seed: Another seed makes other postings.

    Returns:
        How many days were posted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    posted = 0
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as database, database:
        database.execute(TABLE)
        database.execute(INDEX)
        # From here on nobody else posts, who might find the same days missing.
        database.execute("BEGIN IMMEDIATE")
        for day in days:
            if not _is_posted(database, day):
                rows = postings(day, seed=seed)
                database.executemany("INSERT INTO stock_levels VALUES (?, ?, ?, ?, ?)", rows)
                posted += 1
    return posted


def postings(day: date, *, seed: int = 0) -> list[Posting]:
    """A day's postings in the order of time, with the faults that real ones have.

    Args:
        day: The day.
        seed: Another seed makes other postings.
    """
    rng = random.Random(f"{seed} {day} stock")
    usual = WEEKDAY_POSTINGS if day.weekday() < 5 else WEEKEND_POSTINGS
    count = rng.randint(usual * 9 // 10, usual * 11 // 10)
    midnight = datetime(day.year, day.month, day.day)
    places, weights = _places()
    rows = []
    for number, second in enumerate(sorted(rng.sample(range(OPENS, CLOSES), count))):
        code, warehouse = rng.choices(places, cum_weights=weights)[0]
        on_hand = -rng.randint(1, 12) if rng.random() < 0.01 else int(rng.expovariate(1 / 140))
        updated_at = (midnight + timedelta(seconds=second)).isoformat(sep=" ")
        rows.append(Posting(_first_id(day) + number, code, warehouse, on_hand, updated_at))
    _soil(rng, rows)
    _break_rules(rng, rows)
    return rows


@lru_cache(maxsize=1)
def _places() -> tuple[list[tuple[str, str]], list[float]]:
    """Every article in every warehouse, and cumulated weights: some move daily, most seldom."""
    codes = [stock_code_of(number) for number in range(FIRST_PRODUCTS) if is_kept_for_good(number)]
    places = [(code, warehouse) for code in codes for warehouse in WAREHOUSES]
    return places, list(accumulate(1.0 / (50 + rank) for rank in range(len(places))))


def _first_id(day: date) -> int:
    return day.toordinal() * MOST_POSTINGS


def _is_posted(database: sqlite3.Connection, day: date) -> bool:
    found = database.execute(
        "SELECT 1 FROM stock_levels WHERE stock_level_id >= ? AND stock_level_id < ? LIMIT 1",
        (_first_id(day), _first_id(day) + MOST_POSTINGS),
    )
    return found.fetchone() is not None


def _soil(rng: random.Random, rows: list[Posting]) -> None:
    """Dirt that breaks no rule: padding and lower case."""
    for index in rng.sample(range(len(rows)), 2):
        rows[index] = rows[index]._replace(warehouse_code=f"{rows[index].warehouse_code.lower()} ")


def _break_rules(rng: random.Random, rows: list[Posting]) -> None:
    """Dirt that a contract must catch: on every third day, and never in more than two of the rows."""
    count = rng.choices((0, 1, 2), weights=(65, 25, 10))[0]
    for index in rng.sample(range(len(rows)), count):
        row = rows[index]
        match rng.randrange(3):
            case 0:
                rows[index] = row._replace(quantity_on_hand=None)
            case 1:
                rows[index] = row._replace(quantity_on_hand=f"{row.quantity_on_hand} pcs")
            case _:
                rows[index] = row._replace(warehouse_code="?")
