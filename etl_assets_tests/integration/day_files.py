"""Writing small retail day files: a shop that trades for some days and then only completes its orders.

What belongs here: days whose every order has settled by a known time. What does not: serving them.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from etl_assets.demo.retail import COLUMNS

COUNTRIES = ("United Kingdom", "France", "EIRE")
TIMES = ("00:00:00", "00:02:00", "08:26:00", "12:00:00", "17:45:00", "23:57:00", "23:59:59")
"""Some lie next to midnight, where windows overlap and an hour more makes another day."""

BAD_PRICES = 1 / 60
"""Share of lines that no contract lets pass; few enough for every whole day to be published."""

LONGEST_WAIT_DAYS = 3
"""Every order has completed this many days after it was made."""


def write_day_files(folder: Path, days: Iterable[date], *, seed: int = 0, invoices: int = 14) -> Path:
    """Write a file for each day.

    Args:
        folder: Where; made if it is not there.
        days: The days.
        seed: Another seed makes another shop.
        invoices: Invoices a day, each of one to four lines; about every seventh is a cancellation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    number = 500_000
    for day in days:
        with (folder / f"{day}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for _ in range(invoices):
                number += 1
                writer.writerows(_invoice(chance, number, day))
    return folder


def _invoice(chance: random.Random, number: int, day: date) -> Iterable[tuple[object, ...]]:
    cancelled = chance.random() < 1 / 7
    name = f"C{number}" if cancelled else str(number)
    customer = chance.choice(("", f"{chance.randrange(12_000, 12_030)}.0"))
    country, time = chance.choice(COUNTRIES), chance.choice(TIMES)
    for _ in range(chance.randrange(1, 5)):
        quantity = chance.randrange(1, 40) * (-1 if cancelled else 1)
        price = "-1.000" if chance.random() < BAD_PRICES else f"{chance.randrange(0, 30_000) / 1_000:.3f}"
        article = chance.choice(("LAMP", "  RED HEART ", ""))
        yield (
            name,
            f"{chance.randrange(100):05}",
            article,
            quantity,
            f"{day} {time}",
            price,
            customer,
            country,
        )
