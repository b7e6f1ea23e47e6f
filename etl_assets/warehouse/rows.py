"""Writing many rows of plain values into a table of the bookkeeping.

What belongs here: that. What does not: which tables there are (`bookkeeping`), and what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import duckdb

_SQL_TYPES = {
    "int": "BIGINT",
    "str": "VARCHAR",
    "bool": "BOOLEAN",
    "float": "DOUBLE",
    "date": "DATE",
    "datetime": "TIMESTAMP",
}


def column_types(entry: type[Any]) -> dict[str, str]:
    """Give the columns, with their SQL types, that the fields of a dataclass of plain values stand for."""
    return {field.name: _SQL_TYPES[str(field.type).removesuffix(" | None")] for field in fields(entry)}


def insert_rows(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    types: Mapping[str, str],
    rows: Sequence[Sequence[Any]],
) -> None:
    """Insert rows in one statement, column by column: a statement for each would cost more than the rows do.

    Args:
        connection: The warehouse.
        table: The table.
        types: SQL types of its columns, by name.
        rows: Their values, in the order of the columns; none are no statement.
    """
    if not rows:
        return
    picked = ", ".join(f"unnest(CAST(? AS {sql_type}[]))" for sql_type in types.values())
    connection.execute(
        f"INSERT INTO {table} ({', '.join(types)}) SELECT {picked}",
        [list(column) for column in zip(*rows, strict=True)],
    )
