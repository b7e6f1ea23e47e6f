"""Looking into warehouses: what a query gives, and where two files differ.

What belongs here: reading DuckDB files that nobody holds. What does not: making them.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import duckdb

STAMPS = ("_run_id", "_loaded_at")
"""Columns that tell which run wrote a row; they differ between runs that load the same rows."""

NOT_IN_FILES = (*STAMPS, "_brought_by")
"""Columns that tell which load wrote or brought a row, of which the files of a source say nothing."""

VISIBLE_SCHEMAS = ("shop", "marts")

NOT_CONSERVED = """
    SELECT stream, partition, run_id FROM etl.loads
    WHERE extracted <> loaded + unchanged + deduplicated + quarantined OR staged <> extracted - quarantined"""


def select(warehouse: Path, query: str) -> list[tuple[Any, ...]]:
    """Give all rows of a query."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return connection.execute(query).fetchall()


def visible_rows(warehouse: Path, stream_id: str) -> list[tuple[Any, ...]]:
    """Give a stream's whole table, stamps included, in an order of its own."""
    return select(warehouse, f"SELECT * FROM {stream_id.replace('/', '.')} ORDER BY ALL")


def differences(
    left: Path,
    right: Path,
    *,
    leaving_out: Collection[str] = STAMPS,
    schemas: Collection[str] = VISIBLE_SCHEMAS,
) -> dict[str, str]:
    """Compare all tables of some schemas, every row and every column, as bags of rows.

    Args:
        left: A warehouse.
        right: Another.
        leaving_out: Columns that may differ.
        schemas: Where the tables are.

    Returns:
        What differs, by table; empty when nothing does.
    """
    with duckdb.connect() as connection:
        for name, path in (("a", left), ("b", right)):
            connection.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")
        columns = {name: _columns(connection, name, schemas, leaving_out) for name in ("a", "b")}
        found = {}
        for table in sorted(columns["a"].keys() | columns["b"].keys()):
            in_a, in_b = columns["a"].get(table), columns["b"].get(table)
            if in_a is None or in_b is None:
                found[table] = f"only in {left if in_a else right}"
            elif sorted(in_a) != sorted(in_b):
                found[table] = f"columns {sorted(in_a)} and {sorted(in_b)}"
            elif difference := _rows_that_differ(connection, table, ", ".join(in_a)):
                found[table] = difference
        return found


def tables(warehouse: Path, schemas: Collection[str] = VISIBLE_SCHEMAS) -> set[str]:
    """Give the names of the tables that have rows, so that a comparison of nothing with nothing is noticed."""
    names = select(
        warehouse,
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() "
        f"WHERE schema_name IN ({_quoted(schemas)}) ORDER BY ALL",
    )
    return {name for (name,) in names if select(warehouse, f"SELECT 1 FROM {name} LIMIT 1")}


def _columns(
    connection: duckdb.DuckDBPyConnection,
    database: str,
    schemas: Collection[str],
    leaving_out: Collection[str],
) -> dict[str, list[str]]:
    found = connection.execute(
        "SELECT schema_name || '.' || table_name, column_name FROM duckdb_columns() "
        f"WHERE database_name = '{database}' AND schema_name IN ({_quoted(schemas)}) ORDER BY column_index"
    ).fetchall()
    columns: dict[str, list[str]] = {}
    for table, column in found:
        columns.setdefault(table, [])
        if column not in leaving_out:
            columns[table].append(column)
    return columns


def _rows_that_differ(connection: duckdb.DuckDBPyConnection, table: str, columns: str) -> str:
    told = []
    for one, other in (("a", "b"), ("b", "a")):
        rows = connection.execute(
            f"SELECT {columns} FROM {one}.{table} EXCEPT ALL SELECT {columns} FROM {other}.{table}"
        ).fetchall()
        if rows:
            told.append(f"{len(rows)} rows only in {one}, such as {rows[0]}")
    return "; ".join(told)


def _quoted(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
