"""Through ADBC, PostgreSQL gives the very bytes, places and failures that it gives through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa

from etl_assets.failures import FailureClass, SourceError
from etl_assets.sources.base import FirstTime, Page
from etl_assets.sources.sql import SqlReader
from etl_assets.sources.sql_statements import Statement
from etl_assets.streams.base import Sql
from etl_assets_tests.sources.databases import DAY, WAYS, open_database, set_way, stock
from etl_assets_tests.sources.postgres import PostgresServer, postgres_server

NOON = f"TIMESTAMPTZ '{DAY} 12:00:00+00'"


class CutShort(FirstTime):
    """Reading stopped at a place."""

    def __init__(self, resume: str | None) -> None:
        self.resume = resume  # type: ignore[assignment]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server for all tests of this module."""
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="module")
def readers(server: PostgresServer) -> Iterator[dict[str, SqlReader]]:
    """A reader for each way."""
    with ExitStack() as opened:
        found = {}
        for way in WAYS:
            with pytest.MonkeyPatch.context() as monkeypatch:
                set_way(way, monkeypatch)
                found[way] = opened.enter_context(open_database(server.url))
        yield found


def read_both_ways(readers: dict[str, SqlReader], declared: Sql) -> list[Page]:
    """Give the pages, which must be equal over both ways."""
    pages = list(readers["adbc"].pages(declared, DAY))
    assert pages == list(readers["sqlalchemy"].pages(declared, DAY))
    return pages


def is_fast(reader: SqlReader, declared: Sql) -> bool:
    """Tell whether a reader reads a query through ADBC."""
    assert reader._adbc is not None
    session = reader._adbc.open(Statement(declared, declared.window_of(DAY), "postgresql"))
    if session is None:
        return False
    session.close()
    return True


TIMES = ("'0001-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.9'", "'2025-01-31'")
LIKE_PSYCOPG = {
    "boolean": ("true", "false"),
    "smallint": ("-32768", "32767"),
    "int": ("-2147483648", "0"),
    "bigint": ("-9223372036854775808", "9223372036854775807"),
    "double precision": ("0.1", "-0.0", "1e300", "5e-324", "1e16", "123456789.125"),
    "float": ("'NaN'", "'Infinity'", "'-Infinity'", "1"),
    "numeric(38,9)": ("12345678901234567890.123456789", "-0.000000001", "0"),
    "numeric": ("'NaN'", "'Infinity'", "'-Infinity'", "1e20", "1e-20", "0.00", "1.10", "-1e-130", "1e130"),
    "text": ("''", "E'ä\\n\\U0001F600\\u2028'", "'nan'", "'\"\\'", "repeat('x', 100000)"),
    "varchar(3)": ("'a'",),
    "char(3)": ("'a'",),
    "name": ("'a'",),
    "date": ("'0001-01-01'", "'9999-12-31'", "'1969-12-31'", "'2024-02-29'"),
    "timestamp": TIMES,
    "timestamptz": (*(f"{time[:-1]}+00'" for time in TIMES), "'2025-01-31 12:00:00.000001+05:30'"),
    "bytea": ("''", "'\\x00ff'"),
    "uuid": ("'00000000-0000-0000-0000-00000000000a'", "'ffffffff-1234-5678-9abc-def012345678'"),
    "json": ('\'{"b": 1.10, "a": [1, null, 1e400, 12345678901234567890123]}\'', "'null'", "'\"ä\"'"),
    "jsonb": ('\'{"b": 1.10, "a": [1, null, {}]}\'', "'null'", "'true'"),
}
UNLIKE_PSYCOPG = {
    "real": ("0.1",),
    "time": ("'12:30:00.5'",),
    "timetz": ("'12:30:00+02'",),
    "interval": ("'1 day 02:00'",),
    "int[]": ("'{1,NULL}'",),
    "inet": ("'10.0.0.1'",),
    "money": ("1",),
    "oid": ("4294967295",),
    "int4range": ("'[1,3)'",),
    '"char"': ("'x'",),
}


def table_of(kinds: Mapping[str, Sequence[str]], **more: Any) -> Sql:
    """Declare a query with a column of each type: its values from the first row on, then NULL."""
    depth = max(map(len, kinds.values())) + 1
    rows = (
        ", ".join(
            f"CAST({dict(enumerate(literals)).get(number, 'NULL')} AS {kind}) AS c{column}"
            for column, (kind, literals) in enumerate(kinds.items())
        )
        for number in range(depth)
    )
    selects = (f"SELECT {number} AS number, {NOON} AS at, {row}" for number, row in enumerate(rows))
    columns = tuple(f"c{column}" for column in range(len(kinds)))
    declared = {"columns": ("number", *columns), "key": ("number",), "page_size": 4, **more}
    return Sql(query=" UNION ALL ".join(selects), window_column="at", **declared)


def test_values_are_spelled_alike(readers: dict[str, SqlReader]) -> None:
    declared = table_of(LIKE_PSYCOPG)
    assert is_fast(readers["adbc"], declared)
    assert [page.records for page in read_both_ways(readers, declared)] == [4, 4, 2]


def test_types_that_adbc_gives_otherwise_are_left_to_sqlalchemy(readers: dict[str, SqlReader]) -> None:
    read_both_ways(readers, table_of(UNLIKE_PSYCOPG))
    for kind in UNLIKE_PSYCOPG:
        assert not is_fast(readers["adbc"], table_of({kind: UNLIKE_PSYCOPG[kind]})), kind


KEYS = {
    "int": ("1", "2"),
    "bigint": ("-3000000000", "3000000000"),
    "text": ("'a''b'", "'ä'"),
    "numeric": ("-1.50", "12345678901234567890123456789012345678901.5"),
    "float": ("0.1", "0.2"),
    "date": ("'2024-01-01'", "'2025-01-01'"),
    "timestamp": ("'2025-01-01 00:00:00.000001'", "'2025-01-01 00:00:00.000002'"),
    "timestamptz": ("'2025-01-01 00:00:00.000001+00'", "'2025-01-01 00:00:00.000002+00'"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"),
    "bytea": ("'\\x0001'", "'\\xff'"),
}
"""Per type, a value and a greater one."""


def test_keys_lead_from_page_to_page_and_from_one_way_to_the_other(readers: dict[str, SqlReader]) -> None:
    names = tuple(f"c{column}" for column in range(len(KEYS)))
    # Row by row another column has its greater value, so that the comparison gets as far as to that column.
    rows = [
        ", ".join(
            f"CAST({values[number == column]} AS {kind}) AS c{column}"
            for column, (kind, values) in enumerate(KEYS.items())
        )
        for number in range(-1, len(KEYS))
    ]
    query = " UNION ALL ".join(f"SELECT {NOON} AS at, {row}" for row in rows)
    declared = Sql(query=query, columns=names, key=names, window_column="at", page_size=1)
    assert is_fast(readers["adbc"], declared)
    pages = read_both_ways(readers, declared)
    assert [page.records for page in pages] == [1] * len(rows)
    for way in WAYS:
        assert list(readers[way].pages(declared, DAY, CutShort(pages[4].resume))) == pages[5:]


@pytest.mark.parametrize(
    "declared",
    [
        table_of({"timestamptz": ["'infinity'"]}),
        table_of({"timestamp": ["'-infinity'"]}),
        table_of({"timestamp": ["'0001-01-01 BC'"]}),
        table_of({"date": ["'10000-01-01'"]}),
        table_of({"int": ["1"]}, key=("c0",)),
        stock(
            query=f"SELECT 1 AS sku, {NOON} AS counted_at FROM generate_series(1, 2)",
            columns=("sku",),
            key=("sku",),
        ),
        stock(table="nothing"),
        stock(query="SELECT 'pa55'::int AS sku, now() AS counted_at", columns=("sku",), key=("sku",)),
        stock(
            query=f"SELECT 1 / (sku - sku) AS sku, {NOON} AS counted_at FROM generate_series(1, 2) AS sku",
            columns=("sku",),
            key=("sku",),
        ),
    ],
    ids=range(9),
)
def test_what_cannot_be_read_is_permanent_over_both_ways(
    readers: dict[str, SqlReader], declared: Sql
) -> None:
    told = []
    for way in WAYS:
        with pytest.raises(SourceError) as caught:
            list(readers[way].pages(declared, DAY))
        assert caught.value.failure_class is FailureClass.PERMANENT
        assert "pa55" not in str(caught.value)
        assert caught.value.__cause__ is None
        told.append(str(caught.value).split(":")[0])
    assert told[0] == told[1]


def test_text_without_an_encoding_is_left_to_sqlalchemy(server: PostgresServer) -> None:
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE bare ENCODING 'SQL_ASCII' TEMPLATE template0")
    engine.dispose()
    bare = sa.make_url(server.url).set(database="bare").update_query_dict({"client_encoding": "utf8"})
    address = bare.render_as_string(hide_password=False)
    declared = table_of({"text": ["'x'"]})
    with open_database(address) as reader:
        assert not is_fast(reader, declared)
        (page,) = reader.pages(declared, DAY)
    assert page.body == b'[{"number":0,"c0":"x"},{"number":1,"c0":null}]'


@pytest.mark.parametrize(
    ("address", "fast"),
    [
        ("postgresql+psycopg://reader:p%40ss%27@host/db?sslmode=require&connect_timeout=3", True),
        ("postgresql+psycopg://reader@/db?host=one:5432&host=two:5433", True),
        ("postgresql+psycopg://reader@host/db?prepare_threshold=5", False),
        ("sqlite:///erp.db", False),
    ],
)
def test_the_fast_way_is_taken_where_the_address_allows(address: str, fast: bool) -> None:
    pytest.importorskip("adbc_driver_postgresql")
    pytest.importorskip("psycopg")
    with open_database(address) as reader:
        assert (reader._adbc is not None) is fast
