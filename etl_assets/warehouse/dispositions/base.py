"""What a write disposition is: SQL over a staged relation that changes a table and says what it changed.

What belongs here: the protocol, its input and its result, and the staged relation itself. What does not: any
one disposition. Dispositions keep to SQL that DuckDB and DuckLake both run: no indexes, sequences or
constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb

from etl_assets.outcomes import SchemaChange
from etl_assets.streams.base import Stream
from etl_assets.streams.observed import EVOLVED_COLUMN
from etl_assets.warehouse.identifiers import quoted, text_literal
from etl_assets.warehouse.schema import Column, TableLayout


@dataclass(frozen=True, slots=True)
class Load:
    """One partition's staged rows on their way into the table, within an open transaction.

    Attributes:
        connection: The warehouse.
        stream: The stream.
        layout: Its table, which exists.
        partition: The day.
        rows: Staged Parquet file; None stands for no rows.
        run_id: Recorded with each row written.
        loaded_at: Recorded with each row written; naive UTC.
        confirmed: Whether someone confirmed that rows may vanish.
        restates: Whether the partition was loaded before by another contract or transform: then what the present one
            makes of a version that the table has takes its place.
        restated_since: Whether such a load of another day was committed after the partition's last one.
        asked: Identifiers of the documents that were asked for: one that could not be had, or not be used, is not gone.
        evolves: Whether the staged file has values of columns beside the contract.
        table_changes: What was changed of the table for its contract's sake, with this load.
        ahead: What was found out or done for all loads of the transaction together; None if nothing was.
    """

    connection: duckdb.DuckDBPyConnection
    stream: Stream
    layout: TableLayout
    partition: date
    rows: Path | None
    run_id: str
    loaded_at: datetime
    confirmed: bool = False
    restates: bool = False
    restated_since: bool = False
    asked: tuple[str, ...] = ()
    evolves: bool = False
    table_changes: tuple[SchemaChange, ...] = ()
    ahead: Ahead | None = None

    @property
    def staged(self) -> str:
        """The staged rows as a SELECT of the contract's columns, and those beside it, in the table's types.

        It has one parameter, `$rows`, which `parameters` gives.
        """
        if self.rows is None:
            empty = ", ".join(f"CAST(NULL AS {c.sql_type}) AS {c.quoted}" for c in self.layout.columns)
            return f"SELECT {empty} WHERE CAST($rows AS VARCHAR) IS NOT NULL"
        return f"SELECT {self.staged_columns} FROM read_parquet($rows)"

    @property
    def staged_columns(self) -> str:
        """The contract's columns and those beside it, made of the staged file's, in the table's types."""
        return ", ".join(
            f"CAST({self._staged_value(c)} AS {c.sql_type}) AS {c.quoted}" for c in self.layout.columns
        )

    def _staged_value(self, column: Column) -> str:
        if not column.evolved:
            return column.quoted
        return f"map_extract({EVOLVED_COLUMN}, {text_literal(column.name)})[1]" if self.evolves else "NULL"

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameter of `staged`."""
        return {"rows": None if self.rows is None else str(self.rows)}

    @property
    def business_date(self) -> str:
        """The column that business dates are taken from, as SQL; asked for only where there is one."""
        assert self.stream.business_date is not None
        return quoted(self.stream.business_date)

    @property
    def window_column(self) -> str:
        """The column that `_partition` is taken from, as SQL; asked for only where there is one.

        Rows that belong to no window have their business date, which like a window column depends on the row alone.
        """
        column = self.stream.window_column or self.stream.business_date
        assert column is not None
        return quoted(column)

    def one(self, sql: str, parameters: dict[str, Any] | None = None) -> tuple[Any, ...]:
        """Run a query that gives exactly one row."""
        found: tuple[Any, ...] | None = self.connection.execute(sql, parameters or {}).fetchone()
        assert found is not None
        return found

    @property
    def of_stream(self) -> dict[str, str]:
        """The stream, as parameters `$source` and `$stream`."""
        return {"source": self.stream.source.name, "stream": self.stream.name}

    @property
    def brought_in(self) -> Applied | None:
        """What bringing the rows in did, if they were brought in with those of other loads."""
        return None if self.ahead is None else self.ahead.applied

    def drop(self, *tables: str) -> None:
        """Drop tables that were made for the load."""
        for table in tables:
            self.connection.execute(f"DROP TABLE {table}")

    def count_keys(self, table: str, key: Sequence[str]) -> int:
        """Count the keys of a table. They seldom repeat within a day, and finding that out is cheaper than ordering."""
        return int(self.one(f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(key)} FROM {table})")[0])


@dataclass(frozen=True, slots=True)
class Applied:
    """What a load did to the table. `staged = loaded + unchanged + deduplicated`.

    Attributes:
        loaded: Rows written, new and updated.
        updated: Those of them that replaced another version.
        unchanged: Rows that the table had already, in this or a newer version.
        deduplicated: Older versions of a key, or repeats of a row, within the staged rows.
        touched_dates: Business dates, before and after, of rows that changed; sorted.
        removed: Rows of the table that the load found to be gone.
    """

    loaded: int
    updated: int
    unchanged: int
    deduplicated: int
    touched_dates: tuple[date, ...]
    removed: int = 0

    @property
    def staged(self) -> int:
        """All staged rows."""
        return self.loaded + self.unchanged + self.deduplicated


@dataclass(frozen=True, slots=True)
class Ahead:
    """What was found out or done for a load before the first one of its transaction was applied.

    Attributes:
        applied: What bringing the rows in did, if they were brought in with others.
        held: Rows that the table had of the load's day, if they were counted.
    """

    applied: Applied | None = None
    held: int | None = None


class Disposition(Protocol):
    """A way for rows to enter a table."""

    def objection(self, load: Load) -> str | None:
        """Say why a load without rows must be withheld unless confirmed ("a day that ..."), or None."""
        ...

    def still_holds(self, load: Load, staged: int) -> bool:
        """Tell, at a glance, whether the table still has what an equal load left in it."""
        ...

    def look_ahead(self, loads: Sequence[Load], *, bring_in: bool, are_first: bool) -> dict[date, Ahead]:
        """Do for some loads of one stream, of as many days, what can be done for all of them at once.

        Args:
            loads: Loads in the order in which they will be applied, or withheld for having no rows.
            bring_in: Whether rows may be brought in already: all loads are of one contract.
            are_first: Whether none of the days has been loaded before.

        Returns:
            What is known, by day; a day may be missing.
        """
        ...

    def apply(self, load: Load) -> Applied:
        """Bring the staged rows into the table, which `look_ahead` has not done.

        Raises:
            PartitionWithheld: If someone has to confirm the load first; nothing has been changed then.
        """
        ...


def sorted_dates(*groups: list[date] | None) -> tuple[date, ...]:
    """Unite lists of dates, any of which may be missing."""
    return tuple(sorted({day for group in groups for day in group or ()}))
