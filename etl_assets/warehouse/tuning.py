"""What a connection is told about planning, and what statements rely on of it.

What belongs here: settings that change how fast a statement is and never what it gives. What does not: opening a
connection (`database`).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import duckdb

KEYS_LOOKED_UP_ONE_BY_ONE = 400
"""Keys up to which a join tells the scan of the other side all of them, not only their range; DuckDB's own is 50."""


def tune(connection: duckdb.DuckDBPyConnection) -> None:
    """Set what a version of DuckDB knows; without it the same statements give the same, slower."""
    with suppress(duckdb.CatalogException):
        connection.execute(f"SET dynamic_or_filter_threshold = {KEYS_LOOKED_UP_ONE_BY_ONE}")


SMALL_COMMIT_ROWS = 100_000
"""Rows up to which a commit is small."""

SMALL_WAREHOUSE_BYTES = 1 << 30
"""Size up to which no statement of a small commit has so much to look at that two threads would be done sooner."""


class Threads:
    """How many threads a session's statements use.

    One, where there is little to do: DuckDB hands even small inserts out to all of its threads, and puts what each has
    made together again, which takes more time than it saves.

    Args:
        connection: The open warehouse.
        path: Its file.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._one = False
        self._locked = False

    def suit(self, rows: int | None) -> None:
        """Have as many as a commit of so many rows is done soonest with; all for anything else, which is None."""
        one = rows is not None and rows <= SMALL_COMMIT_ROWS and self._is_small()
        if one is not self._one and not self._locked:
            self._connection.execute("SET threads = 1" if one else "RESET threads")
            self._one = one

    def lock(self) -> None:
        """Let nobody change a setting any more until the warehouse is closed; all threads are used from then on."""
        self.suit(None)
        if not self._locked:
            self._connection.execute("SET lock_configuration = true")
            self._locked = True

    def _is_small(self) -> bool:
        try:
            return self._path.stat().st_size <= SMALL_WAREHOUSE_BYTES
        except OSError:
            return False
