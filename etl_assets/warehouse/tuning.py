"""What a connection is told about planning, and what statements rely on of it.

What belongs here: settings that change how fast a statement is and never what it gives. What does not: opening a
connection (`database`).
"""

from __future__ import annotations

from contextlib import suppress

import duckdb

KEYS_LOOKED_UP_ONE_BY_ONE = 400
"""Keys up to which a join tells the scan of the other side all of them, not only their range; DuckDB's own is 50."""


def tune(connection: duckdb.DuckDBPyConnection) -> None:
    """Set what a version of DuckDB knows; without it the same statements give the same, slower."""
    with suppress(duckdb.CatalogException):
        connection.execute(f"SET dynamic_or_filter_threshold = {KEYS_LOOKED_UP_ONE_BY_ONE}")
