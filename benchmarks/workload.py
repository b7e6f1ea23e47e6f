"""What the benchmarks work on: the days, the source that serves them, and the command that loads them.

What belongs here: making one load repeatable. What does not: measuring it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measure import BenchmarkError, Measurement, measure, measure_together
from etl_assets.demo.server import SpawnedSource, spawn_source

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = ROOT.parent / "shared" / "data" / "online_retail" / "by-day.tar.gz"
QUICK_DAYS = 31
OURS = ("ETL_", "DAGSTER_")
NO_BYTE_CODE = "PYTHONDONTWRITEBYTECODE"
"""Set in some containers; every process of a load would compile the project, which no installed one has to."""
PAGE_SIZE = 10_000
CURSOR = b'"next_cursor":'
LONGEST_END = 1_000
SATURDAY = 5
HOLIDAYS = ((1, 1), (12, 25))
COMMAND_LINE = ("-m", "etl_assets")
"""Arguments of Python that run the command line."""
LINES, ORDERS = "shop/order_lines", "shop/orders"
ROWS = ("extracted", "loaded", "unchanged", "quarantined")


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
def served(days: Days, *options: str) -> Iterator[SpawnedSource]:
    """Serve the days from a process of their own, which has read all of them before anybody is measured.

    Args:
        days: The days.
        options: Further options of `etl-assets source`.
    """
    with spawn_source(data=days.files, now=days.now, options=options) as source:
        read_all(source, days)
        yield source


def read_all(source: SpawnedSource, days: Days) -> int:
    """Read all order lines over one connection and keep nothing; give the bytes."""
    size, cursor = 0, ""
    window = {
        "from": f"{days.first}T00:00:00Z",
        "to": f"{days.last + timedelta(days=1)}T00:00:00Z",
        "limit": str(PAGE_SIZE),
    }
    with httpx.Client(headers={"Authorization": f"Bearer {source.token}"}, timeout=60) as client:
        while True:
            asked, end = window | ({"cursor": cursor} if cursor else {}), b""
            with client.stream("GET", f"{source.url}/v1/order-lines", params=asked) as answer:
                for chunk in answer.raise_for_status().iter_bytes():
                    size += len(chunk)
                    end = (end + chunk)[-LONGEST_END:]
            # The page's last member; decoding the rows is what a reader does who keeps them.
            cursor = json.loads(end.rpartition(CURSOR)[2].removesuffix(b"}"))
            if not cursor:
                return size


def open_days(days: Days, count: int) -> list[date]:
    """Give the first days with rows; the real shop is closed on Saturdays, the generated one on two holidays."""
    every_day = (days.first + timedelta(days=number) for number in range(days.count))
    opened = (day for day in every_day if day.weekday() != SATURDAY and (day.month, day.day) not in HOLIDAYS)
    return list(islice(opened, count))


def clean_environment(**more: str) -> dict[str, str]:
    """Give this process's environment without the user's settings of the project."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(OURS) and name != NO_BYTE_CODE
    }
    return kept | more


def compile_byte_code(python: Path, *folders: Path) -> None:
    """Write the byte code of all modules in folders, lest the first process measured does, or each.

    pip does so when it installs; other installers do not.
    """
    command = [str(python), "-m", "compileall", "-q", "-j", str(os.cpu_count()), *map(str, folders)]
    # Some packages hold files for other versions of Python, which cannot be compiled, and say nothing here.
    subprocess.run(command, env=clean_environment(), capture_output=True, check=False)


def settings_of(source: SpawnedSource, data_dir: Path, start: date) -> dict[str, str]:
    """Give the settings that a load has: where from, where to, and the first partition; all else is left as it is."""
    return {
        "ETL_DATA_DIR": str(data_dir),
        "ETL_SHOP_URL": source.url,
        "ETL_SHOP_TOKEN": source.token,
        "ETL_START_DATE": start.isoformat(),
    }


def backfill(
    source: SpawnedSource,
    data_dir: Path,
    streams: str | Sequence[str],
    first: date,
    last: date,
    program: Sequence[str] = COMMAND_LINE,
    **more: str,
) -> Measurement:
    """Load days of streams by the command line, in a process of its own.

    Args:
        source: The shop.
        data_dir: Where to.
        streams: The stream, or several.
        first: First day.
        last: Last day.
        program: Arguments of Python that run the command line.
        more: Further settings, by the names of their variables.

    Raises:
        BenchmarkError: If a day was not published.
    """
    named = [streams] if isinstance(streams, str) else streams
    environment = clean_environment(**settings_of(source, data_dir, first), **more)
    return measure(_command(program, named, first, last), environment)


def backfill_at_once(
    source: SpawnedSource, data_dir: Path, stream: str, spans: Sequence[tuple[date, date]], **more: str
) -> Measurement:
    """Load spans of days of a stream, each by a command of its own, at the same time into the same warehouse.

    Args:
        source: The shop.
        data_dir: Where to.
        stream: The stream.
        spans: First and last day for each command.
        more: Further settings, by the names of their variables.

    Raises:
        BenchmarkError: If a day was not published.
    """
    environment = clean_environment(**settings_of(source, data_dir, spans[0][0]), **more)
    commands = [_command(COMMAND_LINE, [stream], first, last) for first, last in spans]
    return measure_together(commands, environment)


def _command(program: Sequence[str], streams: Sequence[str], first: date, last: date) -> list[str]:
    days = ["--from", first.isoformat(), "--to", last.isoformat()]
    return [sys.executable, *program, "backfill", *streams, "--json", *days]


def rows_of(run: Measurement) -> dict[str, int]:
    """Read from the JSON of backfills how many rows they dealt with.

    Raises:
        BenchmarkError: If the output is not a backfill's.
    """
    rows: Counter[str] = Counter()
    try:
        for printed in _documents(run.output):
            for stream in printed["streams"]:
                for name in ROWS:
                    rows[name] += int(stream["rows"][name])
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"the backfill did not print its result: {run.output[:200]!r}") from error
    return {name: rows[name] for name in ROWS}


def _documents(text: str) -> Iterator[Any]:
    decoder, rest = json.JSONDecoder(), text.strip()
    if not rest:
        raise ValueError("nothing was printed")
    while rest:
        document, end = decoder.raw_decode(rest)
        yield document
        rest = rest[end:].lstrip()
