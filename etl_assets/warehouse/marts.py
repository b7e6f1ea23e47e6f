"""Building marts: exactly the business dates that loads have touched since the last build.

What belongs here: which dates are pending, and replacing them. What does not: the marts' own SQL
(`etl_assets.marts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import Any

import duckdb

from etl_assets.failures import WarehouseError
from etl_assets.marts.catalogue import Mart
from etl_assets.warehouse.dispositions.base import sorted_dates
from etl_assets.warehouse.identifiers import qualified, quoted, text_literal
from etl_assets.warehouse.schema import table_columns

_SCHEMA = "marts"
_NEAR_DAYS = 7
"""Dates no farther apart are read together."""
_MOST_STRETCHES = 20
"""Times at most that a mart's SQL is run for one rebuild."""


@dataclass(frozen=True, slots=True)
class MartResult:
    """What a rebuild did.

    Attributes:
        mart: Name of the mart.
        dates: Business dates that were rebuilt; empty when nothing was pending.
        rows: Rows written for these dates.
        table_rows: Rows in the mart's table now.
        load_id: The last load that the mart now contains.
        full: Whether the whole mart was rebuilt.
        message: Why, in a few words.
    """

    mart: str
    dates: tuple[date, ...]
    rows: int
    table_rows: int
    load_id: int
    full: bool
    message: str

    @property
    def built(self) -> bool:
        """Whether anything was written."""
        return self.full or bool(self.dates)


@dataclass(frozen=True, slots=True)
class _State:
    """Where a mart stands: its last build, the dates touched since, why it must be built whole, if so."""

    built_to: int
    loaded_to: int
    dates: tuple[date, ...]
    full_because: str

    @property
    def pending(self) -> bool:
        return bool(self.dates or self.full_because)


def pending_marts(connection: duckdb.DuckDBPyConnection, marts: Iterable[Mart]) -> tuple[Mart, ...]:
    """Give the marts that a rebuild would change."""
    return tuple(mart for mart in marts if _state_of(connection, mart, full=False).pending)


def rebuild_mart(
    connection: duckdb.DuckDBPyConnection, mart: Mart, run_id: str, at: datetime, *, full: bool = False
) -> MartResult:
    """Rebuild a mart within an open transaction.

    Args:
        connection: The warehouse.
        mart: The mart.
        run_id: Recorded with the build.
        at: Recorded with the build; naive UTC.
        full: Rebuild it whole.

    Raises:
        WarehouseError: If a stream that it reads has no table yet.
    """
    state = _state_of(connection, mart, full=full)
    if not state.pending:
        rows = _table_rows(connection, mart)
        return MartResult(mart.name, (), 0, rows, state.built_to, full=False, message="nothing pending")
    _check_reads(connection, mart)
    if state.full_because:
        with touched(connection, state.dates):
            rows = _build_whole(connection, mart)
    else:
        rows = 0
        for dates in stretches(state.dates):
            with touched(connection, dates):
                rows += _build_dates(connection, mart)
    connection.execute(
        "INSERT INTO etl.mart_builds (mart, load_id, dates, rows, run_id, built_at, sql_version) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [mart.name, state.loaded_to, len(state.dates), rows, run_id, at, mart.sql_version],
    )
    message = state.full_because or "dates touched by loads"
    return MartResult(
        mart=mart.name,
        dates=state.dates,
        rows=rows,
        table_rows=_table_rows(connection, mart),
        load_id=state.loaded_to,
        full=bool(state.full_because),
        message=message,
    )


def _state_of(connection: duckdb.DuckDBPyConnection, mart: Mart, *, full: bool) -> _State:
    last = connection.execute(
        "SELECT load_id, sql_version FROM etl.mart_builds WHERE mart = ? "
        "ORDER BY load_id DESC, built_at DESC LIMIT 1",
        [mart.name],
    ).fetchone()
    reads, streams = _read_streams(mart)
    loaded_to = _one(connection, f"SELECT coalesce(max(load_id), 0) FROM etl.loads WHERE {reads}", streams)
    built_to = int(last[0]) if last else 0
    because = _full_because(connection, mart, last[1] if last else None, asked=full)
    if not loaded_to:
        return _State(0, 0, (), "")
    dates = _one(
        connection,
        f"SELECT list(DISTINCT business_date) FROM etl.touched_dates WHERE ({reads}) AND load_id > ?",
        [*streams, 0 if because else built_to],
    )
    return _State(built_to, int(loaded_to), sorted_dates(dates), because)


def _full_because(
    connection: duckdb.DuckDBPyConnection, mart: Mart, built_version: str | None, *, asked: bool
) -> str:
    if built_version is None or not table_columns(connection, _SCHEMA, mart.name):
        return "first build"
    if built_version != mart.sql_version:
        return "its SQL changed"
    return "asked for" if asked else ""


def _check_reads(connection: duckdb.DuckDBPyConnection, mart: Mart) -> None:
    for stream in mart.reads:
        schema, _, table = stream.partition("/")
        if not table_columns(connection, schema, table):
            raise WarehouseError(
                f"mart {mart.name} reads {stream}, which has never been loaded",
                hint=f"backfill {stream} first",
            )


def stretches(dates: Sequence[date]) -> list[list[date]]:
    """Cut dates, which are in order, at their widest gaps.

    A mart reads its tables from the first to the last of the dates that it is asked for. One old order among the new
    ones must not make it read all the years in between.
    """
    gaps = sorted(
        (after - before, number)
        for number, (before, after) in enumerate(pairwise(dates), start=1)
        if (after - before).days > _NEAR_DAYS
    )
    cuts = [0, *sorted(number for _, number in gaps[-(_MOST_STRETCHES - 1) :]), len(dates)]
    return [list(dates[start:end]) for start, end in pairwise(cuts) if start < end]


@contextmanager
def touched(connection: duckdb.DuckDBPyConnection, dates: Sequence[date]) -> Iterator[None]:
    """Give a mart's SQL its dates, as a relation, and their ends as macros.

    The ends are constants to the planner, so that a range between them skips what lies outside.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE touched_dates AS SELECT unnest(CAST(? AS DATE[])) AS business_date",
        [list(dates)],
    )
    ends = {"first_touched_date": min(dates, default=None), "last_touched_date": max(dates, default=None)}
    for name, day in ends.items():
        value = "NULL" if day is None else text_literal(day.isoformat())
        connection.execute(f"CREATE OR REPLACE TEMP MACRO {name}() AS CAST({value} AS DATE)")
    yield
    for name in ends:
        connection.execute(f"DROP MACRO {name}")
    connection.execute("DROP TABLE touched_dates")


def _build_whole(connection: duckdb.DuckDBPyConnection, mart: Mart) -> int:
    table = qualified(_SCHEMA, mart.name)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
    connection.execute(f"DROP TABLE IF EXISTS {table}")
    return int(_one(connection, f"CREATE TABLE {table} AS {rows_of(mart)}"))


def _build_dates(connection: duckdb.DuckDBPyConnection, mart: Mart) -> int:
    table, day = qualified(_SCHEMA, mart.name), quoted(mart.business_date)
    connection.execute(f"DELETE FROM {table} WHERE {day} IN (SELECT business_date FROM touched_dates)")
    return int(_one(connection, f"INSERT INTO {table} BY NAME {rows_of(mart)}"))


def _table_rows(connection: duckdb.DuckDBPyConnection, mart: Mart) -> int:
    if not table_columns(connection, _SCHEMA, mart.name):
        return 0
    return int(_one(connection, f"SELECT count(*) FROM {qualified(_SCHEMA, mart.name)}"))


def rows_of(mart: Mart) -> str:
    """The query, held to the dates that are being replaced: a careless one must not double a day."""
    day = quoted(mart.business_date)
    dates = "SELECT business_date FROM touched_dates"
    return f"SELECT * FROM (\n{mart.sql}\n) AS query WHERE query.{day} IN ({dates})"


def _read_streams(mart: Mart) -> tuple[str, list[Any]]:
    condition = " OR ".join("(source = ? AND stream = ?)" for _ in mart.reads)
    return condition, [part for stream in mart.reads for part in stream.split("/")]


def _one(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> Any:
    found = connection.execute(sql, parameters or []).fetchone()
    return found[0] if found else None
