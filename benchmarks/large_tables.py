"""One more day into a table that has much already: what it costs must not grow with the table.

What belongs here: tables made by SQL; the time of the warehouse's part of a load (open, commit, close), of a whole load
from the source to the closed warehouse, and of a mart's rebuild. What does not: the command around it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median

import duckdb

from benchmarks.measure import BenchmarkError
from etl_assets.demo.server import SpawnedSource
from etl_assets.marts.catalogue import discover_marts
from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import Counts, Status
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams.base import Stream
from etl_assets.streams.discovery import discover_streams
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.schema import ensure_table, layout_of

ROWS_PER_DAY = 10_000
UPDATES_PER_DAY = 5_000
OLD_UPDATES_PER_DAY = 20
FIRST_DAY = date(1970, 1, 1)
ROWS_PER_INSERT = 10_000_000

LINE = f"""
    'l' || lpad(CAST(i AS VARCHAR), 10, '0') AS line_id, 'i' || lpad(CAST(i // 10 AS VARCHAR), 9, '0') AS invoice_no,
    's' || CAST(i * 7919 % 4000 AS VARCHAR) AS stock_code, 'article' AS description,
    CAST(i % 10 + 1 + $salt AS BIGINT) AS quantity, CAST(1.5 AS DECIMAL(18,3)) AS unit_price,
    CAST(1.5 * (i % 10 + 1) AS DECIMAL(18,3)) AS amount, made_at AS invoiced_at,
    'c' || CAST(i * 31 % {ROWS_PER_DAY} AS VARCHAR) AS customer_id, 'GB' AS country, false AS is_cancellation"""
ORDER = f"""
    'o' || lpad(CAST(i AS VARCHAR), 10, '0') AS order_id,
    'c' || CAST(i * 31 % {ROWS_PER_DAY} AS VARCHAR) AS customer_id, 'completed' AS status, 'GBP' AS currency,
    CAST(i % 100000 + $salt AS DECIMAL(18,2)) AS total_amount, i % 10 AS item_count, 'GB' AS country,
    made_at AS created_at, updated_at, CAST(made_at AS DATE) AS order_date,
    strftime(made_at, '%Y-%m') AS order_month, false AS is_high_value"""
MADE_AT = (
    f"TIMESTAMP '{FIRST_DAY}' + to_days(CAST(i // {ROWS_PER_DAY} AS INTEGER)) "
    f"+ to_seconds(CAST(i % {ROWS_PER_DAY} * 8 AS INTEGER))"
)


@dataclass(frozen=True, slots=True)
class Loading:
    """One way to load a day into a large table.

    Attributes:
        name: As figures are called.
        what: One sentence on what was measured.
        stream: Id of the stream.
        columns: Its rows as SQL, from `i`, `made_at` and `updated_at`.
        numbers: Which rows a day brings, as a SELECT of `i`, from the first number of the day.
        write: The write disposition.
    """

    name: str
    what: str
    stream: str
    columns: str
    numbers: str
    write: str = "merge"


NEW = f"SELECT $first + i AS i FROM range({ROWS_PER_DAY}) AS r(i)"
RECENT = f"SELECT $first - 1 - 10 * i AS i FROM range({UPDATES_PER_DAY}) AS r(i)"
OLD = f"SELECT i * ($first // {2 * OLD_UPDATES_PER_DAY}) AS i FROM range({OLD_UPDATES_PER_DAY}) AS r(i)"
LOADINGS = (
    Loading(
        "replace_partition",
        "A new day, and the same day corrected",
        "shop/order_lines",
        LINE,
        NEW,
        "replace_partition",
    ),
    Loading(
        "merge", "A new day with updates of recent orders", "shop/orders", ORDER, f"{NEW} UNION {RECENT}"
    ),
    Loading(
        "merge_old",
        f"The same with updates of {OLD_UPDATES_PER_DAY} orders of any age",
        "shop/orders",
        ORDER,
        f"{NEW} UNION {RECENT} UNION {OLD}",
    ),
)


def build(path: Path, rows: int) -> None:
    """Make a warehouse whose two tables have so many rows, day by day."""
    streams = discover_streams()
    with Warehouse(path).session("benchmark: make large tables") as session:
        for loading in LOADINGS[:2]:
            layout = layout_of(streams[loading.stream])
            ensure_table(session.connection, layout)
            for start in range(0, rows, ROWS_PER_INSERT):
                numbers = f"SELECT i FROM range({start}, {min(rows, start + ROWS_PER_INSERT)}) AS r(i)"
                session.connection.execute(
                    f"INSERT INTO {layout.name} BY NAME SELECT {loading.columns}, "
                    "CAST(made_at AS DATE) AS _partition, 'made' AS _run_id, made_at AS _loaded_at "
                    f"FROM (SELECT i, {MADE_AT} AS made_at, made_at AS updated_at FROM ({numbers}))",
                    {"salt": 0},
                )


@dataclass(frozen=True, slots=True)
class Took:
    """What a load took, of the clock and of the processor, in seconds: the commit, and with opening and closing."""

    commit: float
    session: float
    commit_cpu: float
    session_cpu: float

    @classmethod
    def median_of(cls, loads: Sequence[Took]) -> Took:
        """Give the median of each."""
        return cls(*(median(getattr(load, name) for load in loads) for name in cls.__dataclass_fields__))


def compare_commits(paths: Mapping[int, Path], loading: Loading, runs: int) -> dict[int, Took]:
    """Load some days into each table by turns, each day twice; give the medians by the tables' rows.

    Args:
        paths: The warehouses, by the rows that their tables were made with.
        loading: How.
        runs: Days.

    Raises:
        BenchmarkError: If a load did not change the table.
    """
    stream = discover_streams()[loading.stream]
    loads: dict[int, list[Took]] = {rows: [] for rows in paths}
    for number in range(runs):
        for salt in (1, 2):
            for rows, path in paths.items():
                request = _stage(path.parent, stream, loading, rows + number * ROWS_PER_DAY, salt)
                loads[rows].append(_commit(path, request))
    return {rows: Took.median_of(taken) for rows, taken in loads.items()}


def _commit(path: Path, request: CommitRequest) -> Took:
    opening, opening_cpu = time.perf_counter(), time.process_time()
    with Warehouse(path).session("benchmark: load a day") as session:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        result = session.commit(request)
        commit, commit_cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    if result.counts.loaded != request.counts.staged:
        raise BenchmarkError(f"{request.what}: only {result.counts.loaded} rows were loaded")
    return Took(commit, time.perf_counter() - opening, commit_cpu, time.process_time() - opening_cpu)


def _stage(folder: Path, stream: Stream, loading: Loading, first: int, salt: int) -> CommitRequest:
    """Write the staged rows of the day that begins with a number; each salt gives other values."""
    day, file = FIRST_DAY + timedelta(days=first // ROWS_PER_DAY), folder / "staged.parquet"
    # Each load brings newer versions than all before it.
    moment = time.time_ns()
    updated_at = f"TIMESTAMP '2000-01-01' + to_microseconds({moment // 1000})"
    rows = (
        (
            f"SELECT {loading.columns} FROM (SELECT i, {MADE_AT} AS made_at, {updated_at} AS updated_at "
            f"FROM ({loading.numbers}))"
        )
        .replace("$first", str(first))
        .replace("$salt", str(salt))
    )
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({rows}) TO '{file}' (FORMAT parquet)")
        (count,) = connection.execute("SELECT count(*) FROM read_parquet(?)", [str(file)]).fetchone() or (0,)
    return CommitRequest(
        stream=stream,
        partition=day,
        run_id="benchmark",
        verdict=Status.PUBLISHED,
        rows=file,
        counts=Counts(extracted=count, staged=count),
        content_hash=f"{first}-{salt}-{moment}",
        watermark=datetime(2000, 1, 1, tzinfo=UTC),
        contract_version="1",
        loaded_at=datetime.now(UTC),
    )


def compare_loads(
    paths: Mapping[int, Path], source: SpawnedSource, stream_id: str, days: Sequence[date]
) -> dict[int, float]:
    """Give the median seconds of loading a day by the pipeline: extract, stage, commit, open and close the warehouse.

    Args:
        paths: The warehouses, by the rows that their tables were made with.
        source: Serves the days.
        stream_id: The stream.
        days: The days, each loaded into one table after the other.

    Raises:
        BenchmarkError: If a day was not published.
    """
    seconds: dict[int, list[float]] = {rows: [] for rows in paths}
    for day in days:
        for rows, path in paths.items():
            seconds[rows].append(_load(path, source, stream_id, day))
    return {rows: median(taken) for rows, taken in seconds.items()}


def _load(path: Path, source: SpawnedSource, stream_id: str, day: date) -> float:
    catalogue = discover_streams()
    settings = load_settings(
        {"ETL_DATA_DIR": str(path.parent), "ETL_SHOP_URL": source.url, "ETL_SHOP_TOKEN": source.token}
    )
    environment, stream = Environment.of(settings, catalogue.code_versions), catalogue[stream_id]
    with closing(environment.open_source(stream.source)) as reader:
        pipeline = PartitionPipeline(
            environment=environment, stream=stream, stages=frozenset(Stage), run_id="benchmark", client=reader
        )
        begun = time.perf_counter()
        (outcome,) = run_partitions(pipeline, [day], reporter=SilentReporter(), threads=1)
        seconds = time.perf_counter() - begun
    if not outcome.counts.loaded:
        raise BenchmarkError(f"{stream_id} {day}: {outcome.message or 'nothing was loaded'}")
    return seconds


def compare_marts(paths: Mapping[int, Path], runs: int) -> dict[int, float]:
    """Give the median seconds of rebuilding the mart of the lines for a day that was loaded just before."""
    mart = next(mart for mart in discover_marts() if mart.name == "daily_sales")
    loading, seconds = LOADINGS[0], dict[int, list[float]]({rows: [] for rows in paths})
    stream = discover_streams()[loading.stream]
    for number in range(runs + 1):
        for rows, path in paths.items():
            _commit(path, _stage(path.parent, stream, loading, rows + number * ROWS_PER_DAY, 3))
            with Warehouse(path).session("benchmark: rebuild a mart") as session:
                begun = time.perf_counter()
                result = session.rebuild_mart(mart, "benchmark", datetime.now(UTC))
                seconds[rows].append(time.perf_counter() - begun)
            if not result.rows:
                raise BenchmarkError(f"mart {mart.name}: nothing was built")
    # The first one built the mart whole.
    return {rows: median(taken[1:]) for rows, taken in seconds.items()}
