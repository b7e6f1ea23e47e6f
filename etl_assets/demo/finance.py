"""The finance department's folder: a CSV file of exchange rates for each day.

What belongs here: making up a day's rates, and dropping its file. What does not: when a day's file is due (see
`deliveries`).

A day's file is a function of seed and date alone. Rates lie around the levels of the last years and move a little from
day to day; files come for weekends as well.
"""

from __future__ import annotations

import csv
import io
import math
import os
import random
import threading
import zlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

HEADER = ("rate_date", "base_currency", "quote_currency", "rate")
BASE = "EUR"
LEVELS = {
    **{"AUD": 1.655, "BRL": 5.86, "CAD": 1.472, "CHF": 0.951, "CNY": 7.82, "CZK": 25.14, "DKK": 7.459},
    **{"GBP": 0.851, "HKD": 8.49, "HUF": 396.0, "IDR": 17_150.0, "ILS": 4.02, "INR": 90.9, "ISK": 149.5},
    **{"JPY": 161.5, "KRW": 1_471.0, "MXN": 19.6, "MYR": 4.97, "NOK": 11.62, "NZD": 1.79, "PHP": 62.1},
    **{"PLN": 4.30, "RON": 4.976, "SEK": 11.41, "SGD": 1.447, "THB": 38.4, "TRY": 35.8, "USD": 1.087},
    **{"ZAR": 19.9},
}
"""Units of each currency for one euro, about."""

PEGGED = frozenset({"DKK"})
WAVES = ((0.03, 411), (0.015, 97), (0.006, 23))
"""How rates swing: share of the level, and days from crest to crest."""

DAILY_SHARE = 0.002
DELIVERED_AFTER = timedelta(minutes=20)
LEFT_ALONE = timedelta(minutes=1)
"""Readers leave a file alone that was written to just now; the demo's are never so new."""


def rates_path(folder: Path, day: date) -> Path:
    """Where a day's file lies."""
    return folder / "fx_rates" / f"{day:%Y}" / f"fx_rates_{day}.csv"


def deliver_rates(folder: Path, day: date, *, seed: int = 0) -> bool:
    """Drop a day's file, whole or not at all; one that is there already is left as it is.

    Args:
        folder: The department's folder; made if it is not there.
        day: The day.
        seed: Another seed makes other rates.

    Returns:
        Whether a file was dropped.
    """
    path = rates_path(folder, day)
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rate_rows(day, seed=seed))
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    unfinished.write_text(text.getvalue(), encoding="utf-8")
    written_at = _written_at(day)
    os.utime(unfinished, (written_at, written_at))
    unfinished.replace(path)
    return True


def rate_rows(day: date, *, seed: int = 0) -> list[list[str]]:
    """The rows of a day's file, with the faults that real ones have.

    Args:
        day: The day.
        seed: Another seed makes other rates.
    """
    rows = [[day.isoformat(), BASE, currency, _rate(day, currency, seed)] for currency in LEVELS]
    rng = random.Random(f"{seed} {day} rates")
    _soil(rng, rows)
    _break_rules(rng, rows)
    return rows


def _rate(day: date, currency: str, seed: int) -> str:
    level, number = LEVELS[currency], day.toordinal()
    swing = sum(
        share * math.sin(2 * math.pi * (number / period + _share(f"{seed} {currency} {period}")))
        for share, period in WAVES
    )
    swing += DAILY_SHARE * (2 * _share(f"{seed} {currency} {day}") - 1)
    rate = level * math.exp(swing / 100 if currency in PEGGED else swing)
    places = 5 if level < 1 else 4 if level < 20 else 3 if level < 100 else 2
    return f"{rate:.{places}f}"


def _share(text: str) -> float:
    """A fixed number from 0 to 1 for each text."""
    return zlib.crc32(text.encode()) / 2**32


def _soil(rng: random.Random, rows: list[list[str]]) -> None:
    """Dirt that breaks no rule: padding and lower case."""
    if rng.random() < 0.3:
        row = rng.choice(rows)
        row[2] = row[2].lower()
    if rng.random() < 0.3:
        row = rng.choice(rows)
        row[3] = f" {row[3]} "


def _break_rules(rng: random.Random, rows: list[list[str]]) -> None:
    """Dirt that a contract must catch: none on most days, never in more than two of the rows."""
    count = rng.choices((0, 1, 2), weights=(75, 20, 5))[0]
    for row in rng.sample(rows, count):
        match rng.randrange(4):
            case 0:
                row[3] = "n/a"
            case 1:
                row[3] = "0"
            case 2:
                row[2] = f"{row[2].strip()[:2]}$"
            case _:
                rows.append(list(row))


def _written_at(day: date) -> float:
    """When a day's file was last written to, as the file system will say: soon after the day, and not just now."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return min(midnight + DELIVERED_AFTER, datetime.now(UTC) - LEFT_ALONE).timestamp()
