"""Reading a SQL database: the rows of a window, page by page in the order of a key.

All pages of a day come from one read-only transaction. What belongs here: SQLAlchemy's connections, and reading
page by page. What does not: the fast way (`etl_assets.sources.sql_adbc`), statements, what failures mean
(`etl_assets.sources.sql_failures`) and how values are spelled (`etl_assets.sources.values`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.settings import SourceSettings
from etl_assets.sources.base import FIRST_TIME, Earlier, Page, Reader, expect
from etl_assets.sources.comparison import Comparison, Held
from etl_assets.sources.sql_adbc import adbc_database
from etl_assets.sources.sql_failures import failure_of_database
from etl_assets.sources.sql_pages import ROWS_AT_ONCE, Fetched, Key, SqlSession
from etl_assets.sources.sql_places import SqlPlace, read_place, write_place
from etl_assets.sources.sql_statements import Statement
from etl_assets.sources.values import json_values
from etl_assets.streams.base import Extract, Sql, SqlSource

CONNECT_SECONDS = 10


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
        self._adbc = adbc_database(source.name, self._engine, _connect_arguments(self._url))
        self._turns = threading.BoundedSemaphore(source.concurrency)

    def close(self) -> None:
        """See `Reader`."""
        if self._adbc is not None:
            self._adbc.close()
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
        statement = Statement(sql, sql.window_of(day), self._engine.dialect.name)
        with self._session(statement) as session:
            if session.has_rows(statement.without_key()):
                raise self._unusable_key(sql, "is NULL in some rows, which would be lost between two pages")
            number, last = read_place(earlier.resume) if earlier.resume else SqlPlace(0, None)
            while True:
                fetched = session.fetch(statement, last)
                if fetched.repeats_a_key(last):
                    raise self._unusable_key(sql, "repeats, so that rows would be lost between two pages")
                number += 1
                records = min(len(fetched.keys), sql.page_size)
                body = fetched.body(sql.columns, records)
                label = f"{sql.table or 'query'} page {number}"
                if records == len(fetched.keys):
                    yield Page(body, records, label)
                    return
                last = fetched.keys[records - 1]
                yield Page(body, records, label, resume=write_place(number, last))

    def compare(self, extract: Extract, day: date, held: Held) -> Comparison:
        """See `Reader`: by the number of rows in the window."""
        sql = expect(extract, Sql)
        statement = Statement(sql, sql.window_of(day), self._engine.dialect.name)
        with self._turns, self._transaction() as connection:
            return Comparison.of_counts(held, int(connection.execute(statement.count()).scalar_one()))

    @contextmanager
    def _session(self, statement: Statement) -> Iterator[SqlSession]:
        with self._turns:
            fast = self._adbc.open(statement) if self._adbc else None
            if fast is not None:
                with closing(fast):
                    yield fast
                return
            with self._transaction() as connection:
                yield _Session(connection)

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


class _Session:
    """See `SqlSession`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def has_rows(self, statement: sa.Select[Any]) -> bool:
        """See `SqlSession`."""
        return self._connection.execute(statement).first() is not None

    def fetch(self, statement: Statement, last: Key | None) -> Fetched:
        """See `SqlSession`."""
        options = {"stream_results": True, "max_row_buffer": ROWS_AT_ONCE}
        columns: list[list[Any]] = [[] for _ in statement.sql.columns]
        result = self._connection.execute(statement.page(last), execution_options=options)
        for rows in result.partitions(ROWS_AT_ONCE):
            for column, values in zip(columns, zip(*rows, strict=True), strict=True):
                column.extend(values)
        keys = list(zip(*(columns[position] for position in statement.key_positions), strict=True))
        return Fetched([json_values(column) for column in columns], keys)


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
    connection.text_factory = partial(str, encoding="utf-8", errors="backslashreplace")
