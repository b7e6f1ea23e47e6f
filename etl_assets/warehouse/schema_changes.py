"""The account of schema changes: what loads noticed of their streams' schemas, once each.

What belongs here: writing and reading `etl.schema_changes`. What does not: noticing (`evolution`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import duckdb

from etl_assets.observability.loggers import LazyLogger
from etl_assets.outcomes import SchemaChange, SchemaChangeKind
from etl_assets.warehouse.known_fields import Use
from etl_assets.warehouse.schema import table_columns

if TYPE_CHECKING:
    from etl_assets.streams.base import Stream

log = LazyLogger(__name__)

_COLUMNS = "change, column_name, field, before, after, rows, reason"


@dataclass(frozen=True, slots=True)
class Noticed:
    """A row of `etl.schema_changes`.

    Attributes:
        stream: Stream id.
        partition: The day that it was noticed with.
        change: What was noticed.
        noticed_at: When; naive UTC.
    """

    stream: str
    partition: date
    change: SchemaChange
    noticed_at: datetime


def record_changes(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    partition: date,
    changes: Iterable[SchemaChange],
    *,
    run_id: str,
    at: datetime,
) -> None:
    """Write what a load noticed, within the caller's transaction, and log it.

    Args:
        connection: The warehouse.
        stream: The stream.
        partition: The day.
        changes: What was noticed.
        run_id: The run.
        at: When; naive UTC.
    """
    for change in changes:
        connection.execute(
            f"INSERT INTO etl.schema_changes (source, stream, partition, {_COLUMNS}, policy, run_id, noticed_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                *(stream.source.name, stream.name, change.day or partition),
                *(change.kind.value, change.column, change.field),
                *(change.before, change.after, change.rows, change.reason or None),
                *(str(stream.schema_changes), run_id, at),
            ],
        )


def log_changes(stream: Stream, partition: date, changes: Iterable[SchemaChange], run_id: str) -> None:
    """Announce what was noticed, after its commit."""
    for change in changes:
        tell = log.warning if change.is_warning else log.info
        tell(
            "schema_change",
            source=stream.source.name,
            stream=stream.id,
            partition=(change.day or partition).isoformat(),
            run_id=run_id,
            stage="commit",
            change=change.kind.value,
            message=change.sentence,
        )


def is_recorded(connection: duckdb.DuckDBPyConnection, stream: Stream, change: SchemaChange) -> bool:
    """Whether the last thing that is recorded of a column is this very change."""
    found = connection.execute(
        "SELECT change, before, after FROM etl.schema_changes WHERE source = ? AND stream = ? AND column_name = ? "
        "AND change NOT IN ('removed', 'restored') ORDER BY noticed_at DESC, rowid DESC LIMIT 1",
        [stream.source.name, stream.name, change.column],
    ).fetchone()
    return found == (change.kind.value, change.before, change.after)


def changes_of(
    connection: duckdb.DuckDBPyConnection | None,
    stream_ids: Sequence[str],
    days: Sequence[date] = (),
    *,
    run_id: str | None = None,
) -> list[Noticed]:
    """Give what was noticed of streams, in the order of noticing.

    Args:
        connection: The warehouse; None when there is none yet.
        stream_ids: Ids of streams.
        days: The days to look at, all where none is given.
        run_id: The run; any where not given.
    """
    if connection is None or not table_columns(connection, "etl", "schema_changes"):
        return []
    found = connection.execute(
        f"SELECT source || '/' || stream AS id, partition, noticed_at, {_COLUMNS} FROM etl.schema_changes "
        "WHERE list_contains(CAST($streams AS VARCHAR[]), id) "
        "AND (len(CAST($days AS DATE[])) = 0 OR list_contains(CAST($days AS DATE[]), partition)) "
        "AND ($run_id IS NULL OR run_id = $run_id) ORDER BY noticed_at, rowid",
        {"streams": list(stream_ids), "days": list(days), "run_id": run_id},
    ).fetchall()
    return [
        Noticed(
            stream,
            partition,
            SchemaChange(SchemaChangeKind(kind), column, field, before, after, rows, reason or ""),
            noticed_at,
        )
        for stream, partition, noticed_at, kind, column, field, before, after, rows, reason in found
    ]


def standing_changes(
    connection: duckdb.DuckDBPyConnection | None, stream_ids: Sequence[str]
) -> list[Noticed]:
    """Give what still keeps values from the tables: fields set aside or withheld for, and fields gone; by stream."""
    if connection is None or not table_columns(connection, "etl", "known_fields"):
        return []
    found = connection.execute(
        "SELECT source || '/' || stream AS id, field, use, present FROM etl.known_fields "
        "WHERE list_contains(CAST(? AS VARCHAR[]), id)",
        [list(stream_ids)],
    ).fetchall()
    standing = {
        (stream, field)
        for stream, field, use, present in found
        if use != Use.IGNORED and present == (use in (Use.SET_ASIDE, Use.WITHHELD))
    }
    last: dict[tuple[str, str], Noticed] = {}
    for noticed in changes_of(connection, stream_ids):
        change = noticed.change
        if change.field is not None and change.is_warning and (noticed.stream, change.field) in standing:
            last[noticed.stream, change.field] = noticed
    return sorted(last.values(), key=lambda one: (one.stream, one.change.field or ""))
