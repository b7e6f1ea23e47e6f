"""Whether a table of the bookkeeping is there: a warehouse that an older version made may lack some."""

from __future__ import annotations

import duckdb

from etl_assets.warehouse.schema import table_columns


def is_there(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Tell whether a table of schema `etl` exists."""
    return bool(table_columns(connection, "etl", table))
