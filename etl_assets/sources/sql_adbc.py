"""Reading PostgreSQL through ADBC: whole columns of Arrow instead of rows of Python, and the same pages.

The statements are those of `etl_assets.sources.sql_statements`, compiled by SQLAlchemy. Whatever this way cannot do (a
type, a server that does not answer, a statement that is wrong) is left to `etl_assets.sources.sql`, which reads the
day instead or says what is wrong. What belongs here: connections and statements of ADBC. What does not: SQLite. Its
locks are lost when two copies of its library open one file in one process, and Python has one of its own.
"""

from __future__ import annotations

import contextlib
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

    def open(self, statement: Statement) -> AdbcSession | None:
        """Begin a session that can read a statement's columns; None if there is none to be had."""
        with contextlib.ExitStack() as opened:
            try:
                connection = opened.enter_context(contextlib.closing(self._dbapi.connect(self._address)))
                session = AdbcSession(self._source, self._url, self._dbapi.Error, connection)
                why = session.begin(statement)
            except (self._dbapi.Error, pa.ArrowException, OSError) as error:
                # What is wrong shows up again, as SQLAlchemy reports it.
                why = type(error).__name__
            if why is not None:
                log.debug("read without ADBC", source=self._source, reason=why)
                return None
            opened.pop_all()
            return session


class AdbcSession:
    """See `SqlSession`. Made by `AdbcDatabase.open`; to be closed after use."""

    def __init__(self, source: str, url: sa.URL, error: type[Exception], connection: Any) -> None:
        self._source = source
        self._url = url
        self._error = error
        self._connection = connection
        self._kinds: list[Kind] = []

    def begin(self, statement: Statement) -> str | None:
        """Begin the transaction and look at the columns; gives what cannot be read alike, None if all can."""
        self._command("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self._command("SET LOCAL TIME ZONE 'UTC'")
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
        """Let go of the connection, which ends the transaction."""
        # A connection that broke cannot be closed in good order, which says nothing new.
        with contextlib.suppress(self._error):
            self._connection.close()

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

    def _command(self, text: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(text)

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
        log.debug("read without ADBC", source=source, reason="adbc-driver-postgresql is not installed")
        return None
    address = _libpq_address(engine, connect_arguments)
    if address is None:
        log.debug("read without ADBC", source=source, reason="the address has options of psycopg's own")
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
