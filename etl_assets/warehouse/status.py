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
from etl_assets.warehouse.schema import DELETED_AT, REMOVED_ON, table_columns


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream over the days that were asked for.

    Attributes:
        stream: Stream id.
        published: Days whose last attempt published them.
        published_with_warnings: The same, with warnings.
        withheld: Days whose last attempt was withheld.
        failed: Days whose last attempt failed.
        missing: Days never attempted, but for those that are lost.
        watermark: How far the stream has been read; naive UTC, None before the first load.
        rows: Rows in the stream's table.
        last_loaded_at: Time of the last commit; naive UTC.
        removed: Rows in the table that are marked as gone at the source.
        lost: Days never attempted that the source, which shows only the present, cannot give any more.
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
    removed: int = 0
    lost: int = 0


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


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """Changes that are missing from a change feed: lost, quarantined, or of a day that has not been loaded.

    Attributes:
        stream: Stream id.
        after_sequence: The last number before the gap.
        before_sequence: The first number after it.
        partition: The day whose load showed it.
        noticed_at: When; naive UTC.
    """

    stream: str
    after_sequence: int
    before_sequence: int
    partition: date
    noticed_at: datetime

    @property
    def missing(self) -> int:
        """How many numbers are missing."""
        return self.before_sequence - self.after_sequence - 1


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
        "updated_at, published_at FROM etl.partitions WHERE source = ? AND stream = ? "
        "AND partition BETWEEN ? AND ? ORDER BY partition",
        [source, name, min(days), max(days)],
    ).fetchall()
    wanted = set(days)
    return [PartitionStatus(stream_id, row[0], Status(row[1]), *row[2:]) for row in found if row[0] in wanted]


def open_gaps(connection: duckdb.DuckDBPyConnection | None, stream_ids: Iterable[str]) -> list[SequenceGap]:
    """Give the changes that are missing from change feeds, by stream and number.

    Args:
        connection: The warehouse; None when there is none yet.
        stream_ids: Ids of streams; those that are no change feeds have no gaps.
    """
    if connection is None or not table_columns(connection, "etl", "sequence_gaps"):
        return []
    found = connection.execute(
        "SELECT source || '/' || stream AS id, after_sequence, before_sequence, partition, noticed_at "
        "FROM etl.sequence_gaps WHERE closed_at IS NULL AND id IN (SELECT unnest(CAST(? AS VARCHAR[]))) "
        "ORDER BY id, after_sequence",
        [list(stream_ids)],
    ).fetchall()
    return [SequenceGap(*row) for row in found]


def _rows_of(connection: duckdb.DuckDBPyConnection, source: str, name: str) -> tuple[int, int]:
    """Count a table's rows, and those of them that are marked as gone."""
    columns = table_columns(connection, source, name)
    if not columns:
        return 0, 0
    marks = [mark.quoted for mark in (DELETED_AT, REMOVED_ON) if mark.name in columns]
    gone = " OR ".join(f"{mark} IS NOT NULL" for mark in marks) or "false"
    found = connection.execute(
        f"SELECT count(*), count(*) FILTER ({gone}) FROM {qualified(source, name)}"
    ).fetchone()
    return (int(found[0]), int(found[1])) if found else (0, 0)


def _status_of(connection: duckdb.DuckDBPyConnection, stream: str, days: Sequence[date]) -> StreamStatus:
    source, _, name = stream.partition("/")
    counts = Counter(entry.status for entry in partition_status(connection, stream, days))
    watermark = connection.execute(
        "SELECT max(watermark) FROM etl.watermarks WHERE source = ? AND stream = ?", [source, name]
    ).fetchone()
    loaded = connection.execute(
        "SELECT max(loaded_at) FROM etl.loads WHERE source = ? AND stream = ?", [source, name]
    ).fetchone()
    rows, removed = _rows_of(connection, source, name)
    return StreamStatus(
        stream=stream,
        published=counts[Status.PUBLISHED],
        published_with_warnings=counts[Status.PUBLISHED_WITH_WARNINGS],
        withheld=counts[Status.WITHHELD],
        failed=counts[Status.FAILED],
        missing=len(days) - sum(counts.values()),
        watermark=watermark[0] if watermark else None,
        rows=rows,
        last_loaded_at=loaded[0] if loaded else None,
        removed=removed,
    )
