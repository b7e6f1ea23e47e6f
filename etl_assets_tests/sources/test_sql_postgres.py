"""Reading a real PostgreSQL server: its types, its transactions, and its ways to fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import date

import pytest
import sqlalchemy as sa

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.streams.base import Sql
from etl_assets_tests.sources.databases import (
    DAY,
    WAYS,
    open_database,
    read,
    read_records,
    records_of,
    set_way,
    stock,
)
from etl_assets_tests.sources.postgres import PASSWORD, PostgresServer, postgres_server

NOON = "2025-01-31T12:00:00Z"
CREATE = """
DROP SCHEMA IF EXISTS "Erp" CASCADE;
CREATE SCHEMA "Erp";
DROP TABLE IF EXISTS stock_levels;
CREATE TABLE stock_levels (
    warehouse text, sku int, level numeric, counted_at timestamptz, PRIMARY KEY (warehouse, sku)
);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server for all tests of this module."""
    with postgres_server() as running:
        yield running


@pytest.fixture(autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read through ADBC, or as where its driver is not installed."""
    set_way(getattr(request, "param", "adbc"), monkeypatch)


both_ways = pytest.mark.parametrize("way", WAYS, indirect=True)


@pytest.fixture
def database(server: PostgresServer) -> Iterator[sa.Connection]:
    """A connection that writes, to an empty table."""
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(CREATE)
        yield connection
    engine.dispose()


def fill(database: sa.Connection, count: int) -> None:
    database.exec_driver_sql(
        "INSERT INTO stock_levels SELECT 'w' || n %% 3, n, n / 4.0, %s FROM generate_series(1, %s) n",
        (NOON, count),
    )


@both_ways
@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_every_row_comes_once_whatever_the_pages(
    server: PostgresServer, database: sa.Connection, count: int
) -> None:
    fill(database, count)
    found = read_records(server.url, stock())
    assert sorted(row["sku"] for row in found) == list(range(1, count + 1))
    assert all(row["counted_at"] == NOON for row in found)


TYPES = [
    ("numeric(38,9)", "12345678901234567890.123456789", "12345678901234567890.123456789"),
    ("numeric", "'NaN'", "NaN"),
    ("numeric", "1e20", "100000000000000000000"),
    ("bigint", "9223372036854775807", 9223372036854775807),
    ("double precision", "'Infinity'", "inf"),
    ("boolean", "true", True),
    ("text", "E'ä\\n\\U0001F600'", "ä\n\U0001f600"),
    ("date", "'2025-01-31'", "2025-01-31"),
    ("time", "'12:30:00.5'", "12:30:00.500000"),
    ("timestamptz", "'2025-01-31 12:00:00.000001+02'", "2025-01-31T10:00:00.000001Z"),
    ("timestamp", "'2025-01-31 12:00:00'", "2025-01-31T12:00:00Z"),
    ("bytea", "'\\x00ff'", "AP8="),
    ("uuid", "'00000000-0000-0000-0000-00000000000a'", "00000000-0000-0000-0000-00000000000a"),
    ("jsonb", "'{\"a\": [1, null]}'", {"a": [1, None]}),
    ("int[]", "'{1,NULL}'", [1, None]),
    ("interval", "'1 day 02:00'", "1 day, 2:00:00"),
    ("inet", "'10.0.0.1'", "10.0.0.1"),
    ("text", "NULL", None),
]


@both_ways
def test_values_survive_exactly(server: PostgresServer, database: sa.Connection) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _, _) in enumerate(TYPES))
    values = ", ".join(value for _, value, _ in TYPES)
    database.execute(sa.text(f'CREATE TABLE "Erp"."Kinds" (at timestamptz, {columns})'.replace(":", r"\:")))
    database.execute(sa.text(f'INSERT INTO "Erp"."Kinds" VALUES (\'{NOON}\', {values})'.replace(":", r"\:")))
    names = tuple(f"c{number}" for number in range(len(TYPES)))
    declared = Sql(table="Erp.Kinds", columns=names, key=("c3",), window_column="at")
    (found,) = read_records(server.url, declared)
    assert found == dict(zip(names, (expected for _, _, expected in TYPES), strict=True))


@both_ways
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date", "text"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland"])
def test_windows_are_half_open_days_in_utc_whatever_the_servers_zone(
    server: PostgresServer, database: sa.Connection, kind: str, zone: str
) -> None:
    suffix = "+00" if kind == "timestamptz" else ""
    times = [
        "2025-01-30T23:59:59.999999",
        "2025-01-31T00:00:00",
        "2025-01-31T23:59:59",
        "2025-02-01T00:00:00",
    ]
    database.exec_driver_sql(f'CREATE TABLE "Erp".seen (id int, at {kind})')
    for number, moment in enumerate(times):
        database.exec_driver_sql('INSERT INTO "Erp".seen VALUES (%s, %s)', (number, moment + suffix))
    database.exec_driver_sql(f"ALTER ROLE reader SET timezone = '{zone}'")
    try:
        declared = Sql(
            table="Erp.seen",
            columns=("id",),
            key=("id",),
            window_column="at",
            window_kind="timestamp" if kind.startswith("timestamp") else kind,  # type: ignore[arg-type]
        )
        with open_database(server.url) as reader:
            by_day = [
                [row["id"] for row in records_of(reader, declared, day)]
                for day in (date(2025, 1, 30), DAY, date(2025, 2, 1))
            ]
    finally:
        database.exec_driver_sql("ALTER ROLE reader RESET timezone")
    assert by_day == [[0], [1, 2], [3]]


@both_ways
def test_a_query_with_casts_and_percents(server: PostgresServer, database: sa.Connection) -> None:
    fill(database, 6)
    query = "SELECT sku::text AS sku, counted_at, ':x 50%' AS mark FROM stock_levels WHERE sku % 2 = 0"
    declared = stock(query=query, columns=("sku", "mark"), key=("sku",), page_size=2)
    assert read_records(server.url, declared) == [{"sku": f"{n}", "mark": ":x 50%"} for n in (2, 4, 6)]


@both_ways
def test_all_pages_show_one_state_of_the_table(server: PostgresServer, database: sa.Connection) -> None:
    fill(database, 9)
    with open_database(server.url) as reader:
        pages = reader.pages(stock(), DAY)
        next(pages)
        database.exec_driver_sql("INSERT INTO stock_levels VALUES ('z', 1, 1, %s)", (NOON,))
        database.exec_driver_sql("DELETE FROM stock_levels WHERE sku = 9")
        assert sum(page.records for page in pages) == 6


@both_ways
def test_the_transaction_cannot_write(server: PostgresServer, database: sa.Connection) -> None:
    database.exec_driver_sql("CREATE SEQUENCE IF NOT EXISTS numbers")
    query = "SELECT nextval('numbers') AS sku, counted_at FROM stock_levels"
    fill(database, 1)
    with pytest.raises(SourceError, match="read-only transaction") as caught:
        read(server.url, stock(query=query, columns=("sku",), key=("sku",)))
    assert caught.value.failure_class is FailureClass.PERMANENT


@both_ways
def test_connections_are_given_back(server: PostgresServer, database: sa.Connection) -> None:
    fill(database, 9)
    with open_database(server.url) as reader:
        for _ in range(5):
            next(reader.pages(stock(), DAY))
        assert sum(page.records for page in reader.pages(stock(), DAY)) == 9


@both_ways
@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (stock(table="nothing"), 'relation "nothing" does not exist'),
        (stock(columns=("warehouse", "sku", "nothing")), "column stock_levels.nothing does not exist"),
        (stock(query="SELECT 1 FROM WHERE"), "syntax error"),
        (
            stock(query="SELECT 'pa55'::int AS sku, now() AS counted_at", columns=("sku",), key=("sku",)),
            "invalid",
        ),
    ],
)
def test_a_query_that_makes_no_sense_is_permanent(
    server: PostgresServer, database: sa.Connection, declared: Sql, message: str
) -> None:
    with pytest.raises(SourceError, match=f"erp refused the query: .*{message}") as caught:
        read(server.url, declared)
    assert caught.value.failure_class is FailureClass.PERMANENT
    assert not caught.value.affects_all
    assert "pa55" not in str(caught.value)


@both_ways
def test_a_killed_connection_is_transient_and_the_next_day_gets_a_new_one(
    server: PostgresServer, database: sa.Connection
) -> None:
    fill(database, 9)
    with open_database(server.url) as reader:
        pages = reader.pages(stock(), DAY)
        next(pages)
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'reader'"
        database.exec_driver_sql(f"SELECT pg_terminate_backend(pid) {others}")
        with pytest.raises(SourceError, match="erp broke off") as caught:
            list(pages)
        assert caught.value.failure_class is FailureClass.TRANSIENT
        assert sum(page.records for page in reader.pages(stock(), DAY)) == 9


@both_ways
def test_a_statement_that_is_cancelled_is_transient(server: PostgresServer, database: sa.Connection) -> None:
    fill(database, 1)
    query = "SELECT sku, counted_at FROM stock_levels, pg_sleep(5)"
    declared = stock(query=query, columns=("sku",), key=("sku",))
    with pytest.raises(SourceError, match="statement timeout") as caught:
        read(server.url + "?options=-c%20statement_timeout%3D50", declared)
    assert caught.value.failure_class is FailureClass.TRANSIENT


@both_ways
@pytest.mark.parametrize("wrong", ["password", "port", "host", "database"])
def test_no_way_in_is_told_without_the_password(server: PostgresServer, wrong: str) -> None:
    address = sa.make_url(server.url)
    secret = {"password": "wr0ng-pa55"}.get(wrong, PASSWORD)
    changed = {
        "password": address.set(password=secret),
        "port": address.set(port=1),
        "host": address.set(host="no-such-host.invalid"),
        "database": address.set(database="nothing"),
    }[wrong]
    with pytest.raises(SourceError, match=r"erp cannot be reached: .*ETL_ERP_URL") as caught:
        read(changed.render_as_string(hide_password=False), stock())
    assert caught.value.affects_all
    assert "\n" not in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert secret not in str(error)
        error = error.__cause__


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"driver psycopg .*etl_assets\[postgres\]"):
        open_database("postgresql+psycopg://reader:pa55@host/db")


MEASURE = """
import resource, sys
from etl_assets_tests.sources.databases import DAY, open_database, stock
with open_database(sys.argv[1]) as reader:
    next(reader.pages(stock(), DAY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(page.records for page in reader.pages(stock(page_size=5_000), DAY))
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_long_table_is_read_in_little_memory(server: PostgresServer, database: sa.Connection) -> None:
    fill(database, 200_000)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, server.url], capture_output=True, text=True, check=True, timeout=300
    )
    count, mebibytes = map(int, done.stdout.splitlines()[-1].split())
    assert count == 200_000
    assert mebibytes < 60


@both_ways
def test_a_server_that_stops_and_comes_back(server: PostgresServer, database: sa.Connection) -> None:
    fill(database, 3)
    with open_database(server.url) as reader:
        assert sum(page.records for page in reader.pages(stock(), DAY)) == 3
        server.stop()
        try:
            with pytest.raises(SourceError, match="cannot be reached") as caught:
                list(reader.pages(stock(), DAY))
            assert caught.value.failure_class is FailureClass.TRANSIENT
        finally:
            server.start()
        assert sum(page.records for page in reader.pages(stock(), DAY)) == 3
