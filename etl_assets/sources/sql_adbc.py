"""Reading PostgreSQL through ADBC: whole columns of Arrow instead of rows of Python, and the same pages.

The statements are those of `etl_assets.sources.sql_statements`, compiled by SQLAlchemy. Whatever this way cannot do (a
type, a server that does not answer, a statement that is wrong) is left to `etl_assets.sources.sql`, which reads the
day instead or says what is wrong. What belongs here: connections and statements of ADBC. What does not: SQLite. Its
locks are lost when two copies of its library open one file in one process, and Python has one of its own.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from etl_assets.failures import SourceError
from etl_assets.sources.sql_arrow import Kind, UnreadableValueError, kind_of
from etl_assets.sources.sql_failures import failure_of_adbc, unreadable_value
from etl_assets.sources.sql_pages import Fetched, Key
from etl_assets.sources.sql_statements import Statement

log = structlog.get_logger(__name__)


class _CastNumeric(sa.Numeric[Any]):
    """A numeric parameter that says so: it is sent as text, which holds every numeric."""

    render_bind_cast = True


class _Dialect(PGDialect_psycopg):
    """What psycopg is sent, with the server's own placeholders, since ADBC has none."""

    supports_statement_cache = True
    colspecs = {**PGDialect_psycopg.colspecs, sa.Numeric: _CastNumeric}  # noqa: RUF012 (as SQLAlchemy declares it)


_DIALECT = _Dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


class AdbcDatabase:
    """Opens sessions with one database; safe to use from many threads.

    Args:
        source: Name of the source, for messages.
        url: Its address, whose password must not be shown.
        dbapi: The module `adbc_driver_postgresql.dbapi`.
        address: The address in libpq's own terms.
    """

    def __init__(self, source: str, url: sa.URL, dbapi: Any, address: str) -> None:
        self._source = source
        self._url = url
        self._dbapi = dbapi
        self._address = address
        self._idle: deque[Any] = deque()

    def open(self, statement: Statement) -> AdbcSession | None:
        """Begin a session that can read a statement's columns; None if there is none to be had."""
        try:
            connection = self._begun()
        except self._dbapi.Error as error:
            _log_leaving(self._source, type(error).__name__)
            return None
        session = AdbcSession(self._source, self._url, self._dbapi.Error, connection, self._idle)
        try:
            unlike = session.prepare(statement)
        except (self._dbapi.Error, pa.ArrowException, OSError) as error:
            unlike = type(error).__name__
        if unlike is None:
            return session
        session.close()
        _log_leaving(self._source, unlike)
        return None

    def close(self) -> None:
        """Close the connections that nobody uses."""
        for connection in self._unused():
            _close(connection, self._dbapi.Error)

    def _begun(self) -> Any:
        """Begin a transaction, over a connection of an earlier day if one still works."""
        for connection in self._unused():
            try:
                _begin(connection)
            except self._dbapi.Error:
                _close(connection, self._dbapi.Error)
            else:
                return connection
        connection = self._dbapi.connect(self._address)
        try:
            _begin(connection)
        except self._dbapi.Error:
            _close(connection, self._dbapi.Error)
            raise
        return connection

    def _unused(self) -> Iterator[Any]:
        with contextlib.suppress(IndexError):
            while True:
                yield self._idle.pop()


class AdbcSession:
    """See `SqlSession`. Made by `AdbcDatabase.open`; to be closed after use."""

    def __init__(
        self, source: str, url: sa.URL, error: type[Exception], connection: Any, idle: deque[Any]
    ) -> None:
        self._source = source
        self._url = url
        self._error = error
        self._connection = connection
        self._idle = idle
        self._kinds: list[Kind] = []

    def prepare(self, statement: Statement) -> str | None:
        """Look at the columns; gives what cannot be read as psycopg reads it, None if all can."""
        encoding = self._run("SELECT current_setting('server_encoding')", []).column(0)[0].as_py()
        if encoding == "SQL_ASCII":
            return "text without an encoding"
        for field in self._select(statement.page(None).limit(0)).schema:
            kind = kind_of(field)
            if kind is None:
                return f"type of column {field.name}"
            self._kinds.append(kind)
        return None

    def close(self) -> None:
        """End the transaction, and leave the connection to the next session if it still works."""
        try:
            self._connection.rollback()
        except self._error:
            _close(self._connection, self._error)
        else:
            self._idle.append(self._connection)

    def has_rows(self, statement: sa.Select[Any]) -> bool:
        """See `SqlSession`."""
        with self._failures():
            return bool(self._select(statement).num_rows)

    def fetch(self, statement: Statement, last: Key | None) -> Fetched:
        """See `SqlSession`."""
        with self._failures():
            table = self._select(statement.page(last))
            read = [
                kind.read(column.combine_chunks())
                for kind, column in zip(self._kinds, table.columns, strict=True)
            ]
        columns = [kind.spell(values) for kind, values in zip(self._kinds, read, strict=True)]
        keys = [list(map(self._kinds[position].key, read[position])) for position in statement.key_positions]
        return Fetched(columns, list(zip(*keys, strict=True)))

    def _select(self, statement: sa.Select[Any]) -> pa.Table:
        compiled = statement.compile(dialect=_DIALECT)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
        values = compiled.params
        return self._run(compiled.string, [_sent(values[name]) for name in compiled.positiontup or ()])

    def _run(self, text: str, parameters: Sequence[Any]) -> pa.Table:
        with self._connection.cursor() as cursor:
            cursor.execute(text, parameters or None)
            return cursor.fetch_arrow_table()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        failure: SourceError
        try:
            yield
        except UnreadableValueError as error:
            failure = unreadable_value(self._source, str(error))
        except (self._error, pa.ArrowException, OSError) as error:
            failure = failure_of_adbc(self._source, self._url, error)
        else:
            return
        raise failure


def _log_leaving(source: str, reason: str) -> None:
    # Where something is wrong, it shows up again as SQLAlchemy reports it.
    log.debug("read without ADBC", source=source, reason=reason)


def _begin(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")


def _close(connection: Any, error: type[Exception]) -> None:
    # A connection that broke cannot be closed in good order, which says nothing new.
    with contextlib.suppress(error):
        connection.close()


def adbc_database(source: str, engine: sa.Engine, connect_arguments: dict[str, Any]) -> AdbcDatabase | None:
    """Find the fast way to an engine's database; None if there is none, or its driver is not installed.

    Args:
        source: Name of the source, for messages.
        engine: The engine that is used otherwise.
        connect_arguments: What it gives its driver beside the address.
    """
    if (engine.dialect.name, engine.dialect.driver) != ("postgresql", "psycopg"):
        return None
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError:
        _log_leaving(source, "adbc-driver-postgresql is not installed")
        return None
    address = _libpq_address(engine, connect_arguments)
    if address is None:
        _log_leaving(source, "the address has options of psycopg's own")
        return None
    return AdbcDatabase(source, engine.url, dbapi, address)


def _libpq_address(engine: sa.Engine, connect_arguments: dict[str, Any]) -> str | None:
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    positional, named = engine.dialect.create_connect_args(engine.url)
    named = {name: value for name, value in named.items() if name != "context"}
    if positional:
        return None
    try:
        # Arrow holds UTF-8; psycopg decodes whatever is sent.
        return make_conninfo(**{**connect_arguments, **named, "client_encoding": "utf8"})
    except ProgrammingError:
        return None


def _sent(value: Any) -> Any:
    """Give a parameter as Arrow can send it; the statement casts it back."""
    return str(value) if isinstance(value, Decimal | UUID) else value
