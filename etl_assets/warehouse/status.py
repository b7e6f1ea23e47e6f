"""How each stream stands: what `etl-assets status` prints.

What belongs here: reading the bookkeeping. What does not: presenting it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import duckdb

from etl_assets.outcomes import Status
from etl_assets.warehouse.identifiers import qualified
from etl_assets.warehouse.schema import table_columns


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream over the days that were asked for.

    Attributes:
        stream: Stream id.
        published: Days whose last attempt published them.
        published_with_warnings: The same, with warnings.
        withheld: Days whose last attempt was withheld.
        failed: Days whose last attempt failed.
        missing: Days never attempted.
        watermark: How far the stream has been read; naive UTC, None before the first load.
        rows: Rows in the stream's table.
        last_loaded_at: Time of the last commit; naive UTC.
    """

    stream: str
    published: int
    published_with_warnings: int
    withheld: int
    failed: int
    missing: int
    watermark: datetime | None
    rows: int
    last_loaded_at: datetime | None


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """The last outcome of one day of a stream."""

    stream: str
    partition: date
    status: Status
    message: str
    failure_class: str | None
    run_id: str
    extracted: int
    loaded_rows: int
    quarantined: int
    updated_at: datetime
    published_at: datetime | None


def stream_status(
    connection: duckdb.DuckDBPyConnection | None, stream_ids: Iterable[str], days: Sequence[date]
) -> list[StreamStatus]:
    """Tell how streams stand over some days.

    Args:
        connection: The warehouse; None when there is none yet.
        stream_ids: Ids of streams.
        days: The days to look at.
    """
    if connection is None or not table_columns(connection, "etl", "partitions"):
        return [StreamStatus(stream, 0, 0, 0, 0, len(days), None, 0, None) for stream in stream_ids]
    return [_status_of(connection, stream, days) for stream in stream_ids]


def first_partition(connection: duckdb.DuckDBPyConnection) -> date | None:
    """Give the first day that any stream was asked for; None before the first."""
    if not table_columns(connection, "etl", "partitions"):
        return None
    found = connection.execute("SELECT min(partition) FROM etl.partitions").fetchone()
    return found[0] if found else None


def partition_status(
    connection: duckdb.DuckDBPyConnection | None, stream_id: str, days: Sequence[date]
) -> list[PartitionStatus]:
    """Give the last outcome of each of some days, by day; days never attempted are left out."""
    if connection is None or not days or not table_columns(connection, "etl", "partitions"):
        return []
    source, _, name = stream_id.partition("/")
    found = connection.execute(
        "SELECT partition, status, message, failure_class, run_id, extracted, loaded_rows, quarantined, "
        "updated_at, published_at FROM etl.partitions WHERE source = ? AND stream = ? AND partition IN "
        "(SELECT unnest(CAST(? AS DATE[]))) ORDER BY partition",
        [source, name, list(days)],
    ).fetchall()
    return [PartitionStatus(stream_id, row[0], Status(row[1]), *row[2:]) for row in found]


def _status_of(connection: duckdb.DuckDBPyConnection, stream: str, days: Sequence[date]) -> StreamStatus:
    source, _, name = stream.partition("/")
    counts = Counter(entry.status for entry in partition_status(connection, stream, days))
    watermark = connection.execute(
        "SELECT max(watermark) FROM etl.watermarks WHERE source = ? AND stream = ?", [source, name]
    ).fetchone()
    loaded = connection.execute(
        "SELECT max(loaded_at) FROM etl.loads WHERE source = ? AND stream = ?", [source, name]
    ).fetchone()
    rows = None
    if table_columns(connection, source, name):
        rows = connection.execute(f"SELECT count(*) FROM {qualified(source, name)}").fetchone()
    return StreamStatus(
        stream=stream,
        published=counts[Status.PUBLISHED],
        published_with_warnings=counts[Status.PUBLISHED_WITH_WARNINGS],
        withheld=counts[Status.WITHHELD],
        failed=counts[Status.FAILED],
        missing=len(days) - sum(counts.values()),
        watermark=watermark[0] if watermark else None,
        rows=int(rows[0]) if rows else 0,
        last_loaded_at=loaded[0] if loaded else None,
    )
