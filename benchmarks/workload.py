"""What the benchmarks work on: the days, the source that serves them, and the command that loads them.

What belongs here: making one load repeatable. What does not: measuring it.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from benchmarks.measure import BenchmarkError, Measurement, measure
from etl_assets.demo.server import SpawnedSource, spawn_source

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "online_retail" / "by-day.tar.gz"
QUICK_DAYS = 31
OURS = ("ETL_", "DAGSTER_")
COMMAND_LINE = ("-m", "etl_assets")
"""Arguments of Python that run the command line."""


@dataclass(frozen=True, slots=True)
class Days:
    """The days that are loaded.

    Attributes:
        label: What they are, for the report.
        first: First day.
        last: Last day, included.
        now: Where the shop's clock stands: after all of its orders are completed.
        files: Folder of day files; None for generated days.
        busy_day: A day with more rows than most.
    """

    label: str
    first: date
    last: date
    now: str
    files: Path | None
    busy_day: date

    @property
    def count(self) -> int:
        """Number of days, both ends included."""
        return (self.last - self.first).days + 1


def find_days(scratch: Path, *, quick: bool) -> Days:
    """Take the real retail year where it is beside the project, else a generated one.

    Args:
        scratch: Where the real day files are unpacked.
        quick: Take only the first month.
    """
    if REAL_DATA.is_file():
        with tarfile.open(REAL_DATA) as archive:
            archive.extractall(scratch, filter="data")
        first, last = date(2010, 12, 1), date(2011, 12, 9)
        busy_day, now, label = date(2010, 12, 6), "2011-12-20T00:00:00Z", "real retail days"
        files: Path | None = scratch / "byday"
    else:
        first, last = date(2024, 1, 1), date(2024, 12, 31)
        busy_day, now, label = date(2024, 1, 3), "2025-01-10T00:00:00Z", "generated days"
        files = None
    if quick:
        last = first + timedelta(days=QUICK_DAYS - 1)
    return Days(label, first, last, now, files, busy_day)


@contextmanager
def served(days: Days) -> Iterator[SpawnedSource]:
    """Serve the days from a process of their own."""
    with spawn_source(data=days.files, now=days.now) as source:
        yield source


def clean_environment(**more: str) -> dict[str, str]:
    """Give this process's environment without the user's settings of the project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | more


def backfill(
    source: SpawnedSource,
    data_dir: Path,
    stream: str,
    first: date,
    last: date,
    program: Sequence[str] = COMMAND_LINE,
) -> Measurement:
    """Load days of a stream by the command line, in a process of its own.

    Args:
        source: The shop.
        data_dir: Where to.
        stream: The stream.
        first: First day.
        last: Last day.
        program: Arguments of Python that run the command line.

    Raises:
        BenchmarkError: If a day was not published.
    """
    command = [sys.executable, *program, "backfill", stream, "--json"]
    command += ["--from", first.isoformat(), "--to", last.isoformat()]
    environment = clean_environment(
        ETL_DATA_DIR=str(data_dir),
        ETL_SHOP_URL=source.url,
        ETL_SHOP_TOKEN=source.token,
        ETL_START_DATE=first.isoformat(),
    )
    return measure(command, environment)


def rows_of(run: Measurement) -> dict[str, int]:
    """Read from a backfill's JSON how many rows it dealt with.

    Raises:
        BenchmarkError: If the output is not a backfill's.
    """
    try:
        (stream,) = json.loads(run.output)["streams"]
        rows = stream["rows"]
        return {name: int(rows[name]) for name in ("extracted", "loaded", "unchanged", "quarantined")}
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"the backfill did not print its result: {run.output[:200]!r}") from error
