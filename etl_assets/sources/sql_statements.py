"""The SELECTs that read a window of a table or a query, page by page.

All values go in as bound parameters. What belongs here: statements, in SQLAlchemy's terms. What does not: how they are
run (`etl_assets.sources.sql`, `etl_assets.sources.sql_adbc`).
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

import sqlalchemy as sa

from etl_assets.streams.base import Sql, Window

_ROW_VALUES = frozenset({"postgresql", "sqlite", "mysql", "mariadb"})
"""Databases that compare whole keys, `(a, b) > (1, 2)`, and use an index for it."""


class Statement:
    """The statements for one window. Columns carry no types, so that values come as the driver gives them.

    Args:
        sql: What is read.
        window: Half-open window of time.
        dialect: SQLAlchemy's name of the kind of database.

    Attributes:
        sql: As given.
        key_positions: Where the key's columns stand among the columns that are read.
    """

    def __init__(self, sql: Sql, window: Window, dialect: str) -> None:
        self.sql = sql
        self._dialect = dialect
        self._rows = _table(sql, dialect)
        self._columns = [self._rows.c[name] for name in sql.columns]
        self._key = [self._rows.c[name] for name in sql.key]
        self.key_positions = [sql.columns.index(name) for name in sql.key]
        window_column = self._rows.c[sql.window_column]
        start, end = (_bound(moment, sql, dialect) for moment in (window.start, window.end))
        self._in_window = sa.and_(window_column >= start, window_column < end)

    def page(self, last: tuple[Any, ...] | None) -> sa.Select[Any]:
        """Select the rows after a key, one more than a page holds."""
        chosen = sa.select(*self._columns).where(self._in_window)
        if last is not None:
            chosen = chosen.where(self._after(last))
        return chosen.order_by(*self._key).limit(self.sql.page_size + 1)

    def without_key(self) -> sa.Select[Any]:
        """Select a row whose key is not whole, if there is any."""
        is_null = sa.or_(*(column.is_(None) for column in self._key))
        return sa.select(self._key[0]).where(self._in_window, is_null).limit(1)

    def count(self) -> sa.Select[Any]:
        """Count the rows of the window."""
        return sa.select(sa.func.count()).select_from(self._rows).where(self._in_window)

    def _after(self, last: tuple[Any, ...]) -> sa.ColumnElement[bool]:
        values = [sa.literal(value) for value in last]
        if self._dialect in _ROW_VALUES and len(values) > 1:
            return sa.tuple_(*self._key) > sa.tuple_(*values)
        branches = []
        for position, column in enumerate(self._key):
            equal = [self._key[before] == values[before] for before in range(position)]
            branches.append(sa.and_(*equal, column > values[position]))
        return sa.or_(*branches)


def _table(sql: Sql, dialect: str) -> sa.FromClause:
    def named(name: str) -> sa.quoted_name:
        # SQLAlchemy does not know all of SQLite's reserved words; elsewhere, quotes would change what a name means.
        return sa.quoted_name(name, quote=True if dialect == "sqlite" else None)

    columns: list[Any] = [sa.column(named(name)) for name in dict.fromkeys((*sql.columns, sql.window_column))]
    if sql.table is not None:
        schema, _, name = sql.table.rpartition(".")
        return sa.table(named(name), *columns, schema=named(schema) if schema else None)
    # A colon would start a bound parameter of SQLAlchemy's.
    text = (sql.query or "").strip().rstrip(";").replace(":", r"\:")
    return sa.text(text).columns(*columns).subquery("source_rows")


def _bound(moment: datetime, sql: Sql, dialect: str) -> Any:
    """Give an end of the window as the database compares it."""
    if sql.window_kind == "date":
        return moment.date().isoformat() if dialect == "sqlite" else moment.date()
    naive = moment.astimezone(UTC).replace(tzinfo=None)
    if sql.window_kind == "text" or dialect == "sqlite":
        # The bare day sorts before every way of writing its midnight.
        separator = "T" if sql.window_kind == "text" else " "
        return naive.date().isoformat() if naive.time() == time() else naive.isoformat(separator)
    return moment if dialect == "postgresql" else naive
