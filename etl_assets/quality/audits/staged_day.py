"""A staged day as audits see it, and as SQL reads it.

What belongs here: the input of audits and what they find, and the few pieces of SQL that they share. What does not: any
single audit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb

from etl_assets.outcomes import Counts
from etl_assets.quality.audits.statistics import Statistics
from etl_assets.streams.audit_columns import contract_of
from etl_assets.streams.base import Stream
from etl_assets.streams.contract import FieldNotes
from etl_assets.streams.identifiers import IDENTIFIER


@dataclass(frozen=True, slots=True)
class StagedDay:
    """One staged partition.

    Attributes:
        stream: Its stream.
        day: The partition.
        rows: Parquet of its good rows.
        counts: Extracted, staged and quarantined are filled.
        statistics: What was measured of its rows.
        publishable: Whether nothing else keeps it from being published.
    """

    stream: Stream
    day: date
    rows: Path
    counts: Counts
    statistics: Statistics
    publishable: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What an audit found.

    Attributes:
        passed: Whether what it asks for holds.
        message: One line with the numbers.
        numbers: What was measured.
        worst: Condition in SQL over the staged rows, and its order, that show the worst of them; empty for none.
        sample: The worst rows as Markdown, where the audit has more to show than staged rows.
    """

    passed: bool
    message: str
    numbers: dict[str, float] = field(default_factory=dict)
    worst: str = ""
    sample: str = ""


def name_of(column: str) -> str:
    """Quote a column, a table or a schema.

    Raises:
        ValueError: If it does not look like one; declarations are checked, so this is a mistake of our own.
    """
    if not IDENTIFIER.match(column.removeprefix("_")):
        raise ValueError(f"{column!r} is no name")
    return f'"{column}"'


def table_of(stream_id: str) -> str:
    """Give a stream's table as SQL."""
    source, _, stream = stream_id.partition("/")
    return f"{name_of(source)}.{name_of(stream)}"


def path_literal(path: Path) -> str:
    """Write a file's path as an SQL literal; a list of files cannot be bound one by one with a day each."""
    return "'" + str(path).replace("'", "''") + "'"


def day_literal(day: date) -> str:
    """Write a day as an SQL literal."""
    return f"DATE '{day.isoformat()}'"


def staged_rows(days: Sequence[StagedDay], columns: Iterable[str]) -> str:
    """Give the rows of staged days as one SQL query with `_day`, `_row`, and the given expressions."""
    picked = ", ".join(["_row", *columns])
    return " UNION ALL ".join(
        f"SELECT {day_literal(one.day)} AS _day, {picked} FROM read_parquet({path_literal(one.rows)})"
        for one in days
    )


def has_table(connection: duckdb.DuckDBPyConnection, stream_id: str) -> bool:
    """Tell whether a stream has been loaded at all."""
    source, _, stream = stream_id.partition("/")
    found = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [source, stream],
    ).fetchone()
    return found is not None


def published_days(
    connection: duckdb.DuckDBPyConnection, stream_id: str, first: date, last: date
) -> dict[date, int]:
    """Give the days of a stream that have been published, each with its number of quarantined rows."""
    source, _, stream = stream_id.partition("/")
    found = connection.execute(
        "SELECT partition, quarantined FROM etl.partitions "
        "WHERE source = ? AND stream = ? AND published_at IS NOT NULL AND partition BETWEEN ? AND ?",
        [source, stream, first, last],
    ).fetchall()
    return {day: int(quarantined or 0) for day, quarantined in found}


def personal_columns(stream: Stream, child: str | None = None) -> frozenset[str]:
    """Give the columns of a stream's own table, or of a child table, that are shown masked."""
    return frozenset(
        name
        for name, column in contract_of(stream, child).to_schema().columns.items()
        if FieldNotes.from_metadata(column.metadata).personal
    )
