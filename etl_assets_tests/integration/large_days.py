"""A day of any number of rows, from an API or a CSV file, loaded by a process of its own that tells its peak memory.

What belongs here: making such a day, and loading it. What does not: saying how much memory is too much.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from etl_assets.observability.logging import configure_logging
from etl_assets.observability.progress import SilentReporter
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams import parse
from etl_assets.streams.base import (
    Contract,
    Cursor,
    Field,
    Files,
    FileSource,
    ReplacePartition,
    Rest,
    RestSource,
    Stream,
    Timestamp,
    WindowParameters,
)
from etl_assets_tests.integration.commands import PROJECT, clean_environment
from etl_assets_tests.sources.scripted import Asked, Reply, scripted_server

DAY = date(2025, 1, 31)
PAGE_SIZE = 1_000


class Readings(Contract):
    """One reading of a meter."""

    reading_id: str = Field(unique=True, description="Identifier")
    meter: str = Field(description="Which meter")
    value: int = Field(ge=0, description="What it showed")
    note: str = Field(missing="allow", description="What somebody wrote down")
    read_at: Timestamp = Field(description="When, UTC")


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields."""
    return pd.DataFrame(
        {
            "reading_id": parse.text(raw["reading_id"]),
            "meter": parse.text(raw["meter"]),
            "value": parse.integers(raw["value"]),
            "note": parse.text(raw["note"]),
            "read_at": parse.timestamps(raw["read_at"]),
        }
    )


FROM_API = Stream(
    source=RestSource(name="meters"),
    name="readings",
    owner="team:meters",
    extract=Rest(
        path="/v1/readings",
        window=WindowParameters("from", "to"),
        paginator=Cursor(page_size=PAGE_SIZE),
        records="data",
    ),
    contract=Readings,
    transform=clean,
    write=ReplacePartition(),
    window_column="read_at",
    business_date="read_at",
)
FROM_CSV = Stream(
    source=FileSource(name="meter_files"),
    name="readings",
    owner="team:meters",
    extract=Files(path="readings_{day}.csv", format="csv", settle=timedelta(0)),
    contract=Readings,
    transform=clean,
    write=ReplacePartition(),
    window_column="read_at",
    business_date="read_at",
)
STREAMS = {"api": FROM_API, "csv": FROM_CSV}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a large day.

    Attributes:
        status: How it ended.
        extracted: Rows that the source gave.
        loaded: Rows in the table.
        peak_mib: Resident memory of the loading process at most, in MiB.
    """

    status: str
    extracted: int
    loaded: int
    peak_mib: float


def load_large_day(kind: str, rows: int, folder: Path) -> Loaded:
    """Load a day in a process of its own.

    Args:
        kind: `api` or `csv`.
        rows: Rows of the day.
        folder: For the files and all that is loaded.
    """
    with _source(kind, rows, folder) as address:
        name = STREAMS[kind].source.name.upper()
        variables = {"ETL_DATA_DIR": str(folder / "data"), f"ETL_{name}_URL": address}
        done = subprocess.run(
            [sys.executable, "-m", __name__, kind],
            env=clean_environment({"PYTHONPATH": str(PROJECT), **variables}),
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return Loaded(**json.loads(done.stdout))


@contextmanager
def _source(kind: str, rows: int, folder: Path) -> Iterator[str]:
    if kind == "csv":
        with (folder / f"readings_{DAY}.csv").open("w", encoding="utf-8") as file:
            file.write("reading_id,meter,value,note,read_at\n")
            file.writelines(",".join(map(str, _row(number).values())) + "\n" for number in range(rows))
        yield str(folder)
        return

    def page(asked: Asked, number: int) -> Reply:
        first = int(asked.parameters.get("cursor", "0"))
        last = min(first + PAGE_SIZE, rows)
        following = str(last) if last < rows else None
        records = [_row(number) for number in range(first, last)]
        return Reply(json.dumps({"data": records, "next_cursor": following}).encode())

    with scripted_server(page) as server:
        yield server.url


def _row(number: int) -> dict[str, str | int]:
    second = number % 86_400
    return {
        "reading_id": f"r{number:09}",
        "meter": f"m{number % 5_003}",
        "value": number % 1_009,
        "note": f"read by hand; entry {number * 7919 % 1_000_003}",
        "read_at": f"{DAY}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z",
    }


def peak_mib() -> float:
    """Give the resident memory of this process at most, in MiB.

    Where the system tells it, of this program alone: `ru_maxrss` of Linux counts what the starting process held.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _load(kind: str) -> Loaded:
    configure_logging("console", "ERROR")
    stream = STREAMS[kind]
    environment = Environment.of(load_settings(), {stream.id: "1"})
    with closing(environment.open_source(stream.source)) as reader:
        pipeline = PartitionPipeline(
            environment=environment, stream=stream, stages=frozenset(Stage), run_id="run", client=reader
        )
        (outcome,) = run_partitions(pipeline, [DAY], reporter=SilentReporter(), threads=2)
    return Loaded(outcome.status, outcome.counts.extracted, outcome.counts.loaded, peak_mib())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_load(sys.argv[1]))))
