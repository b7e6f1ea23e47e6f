"""Reading a SQL database: the rows of a window, page by page in the order of a key.

All pages of a day come from one read-only transaction. What belongs here: connections, statements and pages. What does
not: what failures mean (`etl_assets.sources.sql_failures`) and how values are spelled (`etl_assets.sources.values`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import quote

import orjson
import sqlalchemy as sa
import structlog
from sqlalchemy import event, exc

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.settings import SourceSettings
from etl_assets.sources.base import FIRST_TIME, Earlier, Page, Reader, expect
from etl_assets.sources.sql_failures import failure_of_database
from etl_assets.sources.sql_places import SqlPlace, read_place, write_place
from etl_assets.sources.values import json_value
from etl_assets.streams.base import Extract, Sql, SqlSource, Window

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 10
_ROW_VALUES = frozenset({"postgresql", "sqlite", "mysql", "mariadb"})
"""Databases that compare whole keys, `(a, b) > (1, 2)`, and use an index for it."""


class SqlReader(Reader):
    """Reads a database; safe to use from many threads, each of which gets a connection of its own.

    Args:
        source: The source.
        settings: Where its database is.

    Raises:
        ConfigurationError: If the address cannot be used, or its driver is not installed.
    """

    def __init__(self, source: SqlSource, settings: SourceSettings) -> None:
        self.source = source
        self._variable = settings.url_variable
        self._url = _parsed_url(settings)
        self._engine = _engine(self._url, source, settings.url_variable)

    def close(self) -> None:
        """See `Reader`."""
        self._engine.dispose()

    @property
    def address(self) -> str:
        """See `Reader`."""
        return self._url.render_as_string(hide_password=True)

    def pages(self, extract: Extract, day: date, earlier: Earlier = FIRST_TIME) -> Iterator[Page]:
        """See `Reader`.

        Each page is a JSON array of objects; a day without rows is one empty page. Reading goes on after the last key
        of an extraction that was cut short, in a transaction of its own.
        """
        sql = expect(extract, Sql)
        statement = _Statement(sql, sql.window_of(day), self._engine.dialect.name)
        with self._transaction() as connection:
            if connection.execute(statement.without_key()).first() is not None:
                raise self._unusable_key(sql, "is NULL in some rows, which would be lost between two pages")
            number, last = read_place(earlier.resume) if earlier.resume else SqlPlace(0, None)
            while True:
                rows, has_more = self._fetch(connection, statement, last)
                number += 1
                body = orjson.dumps(
                    [dict(zip(sql.columns, map(json_value, row), strict=True)) for row in rows]
                )
                label = f"{sql.table or 'query'} page {number}"
                if not has_more:
                    yield Page(body, len(rows), label)
                    return
                last = statement.key_of(rows[-1])
                yield Page(body, len(rows), label, resume=write_place(number, last))

    def _fetch(
        self, connection: sa.Connection, statement: _Statement, last: tuple[Any, ...] | None
    ) -> tuple[list[sa.Row[Any]], bool]:
        """Read one page; one row more than it holds tells whether there is a next one, and whether keys repeat."""
        size = statement.sql.page_size
        options = {"stream_results": True, "max_row_buffer": min(size + 1, 1_000)}
        rows = list(connection.execute(statement.page(last), execution_options=options))
        previous = last
        for row in rows:
            key = statement.key_of(row)
            if key == previous:
                raise self._unusable_key(
                    statement.sql, "repeats, so that rows would be lost between two pages"
                )
            previous = key
        return rows[:size], len(rows) > size

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        connecting = True
        try:
            self._check_file()
            with self._engine.connect() as connection:
                connecting = False
                with _read_only(connection) as prepared:
                    yield prepared
        except exc.SQLAlchemyError as error:
            raise failure_of_database(
                self.source.name, self._url, self._variable, error, connecting=connecting
            ) from None

    def _check_file(self) -> None:
        if _is_sqlite_file(self._url) and not os.path.isfile(str(self._url.database)):
            raise SourceError(
                f"{self.source.name} cannot be reached: its database file is not there",
                source=self.source.name,
                affects_all=True,
                hint=f"check {self._variable}",
            )

    def _unusable_key(self, sql: Sql, what: str) -> SourceError:
        return SourceError(
            f"{self.source.name}: the key {', '.join(sql.key)} of {sql.table or 'the query'} {what}",
            source=self.source.name,
            failure_class=FailureClass.PERMANENT,
            hint="declare a key that is unique and never NULL",
        )


class _Statement:
    """The statements for one window. Columns carry no types, so that values come as the driver gives them."""

    def __init__(self, sql: Sql, window: Window, dialect: str) -> None:
        self.sql = sql
        self._dialect = dialect
        self._rows = _table(sql, dialect)
        self._columns = [self._rows.c[name] for name in sql.columns]
        self._key = [self._rows.c[name] for name in sql.key]
        self._positions = [sql.columns.index(name) for name in sql.key]
        window_column = self._rows.c[sql.window_column]
        start, end = (_bound(moment, sql, dialect) for moment in (window.start, window.end))
        self._in_window = sa.and_(window_column >= start, window_column < end)

    def key_of(self, row: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(row[position] for position in self._positions)

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


@contextmanager
def _read_only(connection: sa.Connection) -> Iterator[sa.Connection]:
    """Begin a transaction that cannot write and sees one state, where the database has such a thing."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
    elif dialect == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
        connection.exec_driver_sql("BEGIN")
    elif dialect in ("mysql", "mariadb"):
        connection.exec_driver_sql("SET time_zone = '+00:00'")
        connection.exec_driver_sql("START TRANSACTION READ ONLY")
    try:
        yield connection
    finally:
        connection.rollback()


def _parsed_url(settings: SourceSettings) -> sa.URL:
    try:
        return sa.make_url(settings.url)
    except (exc.ArgumentError, ValueError):
        raise ConfigurationError(
            f"{settings.url_variable} is not the address of a database",
            hint="example: postgresql+psycopg://reader:password@host/database, or sqlite:////srv/erp.db",
        ) from None


def _engine(url: sa.URL, source: SqlSource, variable: str) -> sa.Engine:
    try:
        engine = sa.create_engine(
            _existing_file(url) if _is_sqlite_file(url) else url,
            poolclass=sa.QueuePool,
            pool_size=source.concurrency,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=_connect_arguments(url),
        )
    except exc.NoSuchModuleError:
        raise ConfigurationError(
            f"{variable} names a kind of database that no installed package knows: {url.drivername}"
        ) from None
    except ImportError as error:
        raise ConfigurationError(
            f"{variable} needs the database driver {error.name}",
            hint="install it; for PostgreSQL: pip install 'etl_assets[postgres]'",
        ) from None
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _read_any_text)
    return engine


def _connect_arguments(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "postgresql" and "connect_timeout" not in url.query:
        return {"connect_timeout": CONNECT_SECONDS}
    return {}


def _is_sqlite_file(url: sa.URL) -> bool:
    path = url.database or ""
    return (
        url.get_backend_name() == "sqlite" and path not in ("", ":memory:") and not path.startswith("file:")
    )


def _existing_file(url: sa.URL) -> sa.URL:
    """Make SQLite open a file only if it is there; by itself it would make an empty database."""
    path = os.path.abspath(str(url.database))
    opened = url.set(database=f"file:{quote(path)}")
    return opened.update_query_dict({"mode": "rw", "uri": "true"})


def _read_any_text(connection: Any, record: object) -> None:
    """SQLite does not check that text is UTF-8; what is not becomes visible escapes, and costs no page."""
    connection.text_factory = lambda value: value.decode("utf-8", "backslashreplace")
