"""Reading SQLite: windows, keyset paging, values, and what goes wrong."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.streams.base import Sql
from etl_assets_tests.sources.databases import DAY, open_database, read, read_records, stock

NOON = "2025-01-31 12:00:00"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database file with an empty table."""
    path = tmp_path / "erp 100%.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE stock_levels (warehouse TEXT, sku INTEGER, level NUMERIC, counted_at TIMESTAMP)"
        )
    connection.close()
    return path


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes to it."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture
def url(path: Path) -> str:
    """Its address."""
    return f"sqlite:///{str(path).replace('%', '%25')}"


def fill(database: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    database.executemany("INSERT INTO stock_levels VALUES (?, ?, ?, ?)", rows)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7, 100])
def test_every_row_comes_once_whatever_the_pages(database: sqlite3.Connection, url: str, count: int) -> None:
    fill(database, [(f"w{number % 3}", number, number, NOON) for number in range(count)])
    pages = read(url, stock())
    assert [page.records for page in pages] == [3] * (count // 3) + (
        [count % 3] if count % 3 or not count else []
    )
    found = read_records(url, stock())
    assert found == sorted(
        (
            {"warehouse": f"w{number % 3}", "sku": number, "level": number, "counted_at": NOON}
            for number in range(count)
        ),
        key=lambda row: (row["warehouse"], row["sku"]),
    )


@pytest.mark.parametrize("row_values", [True, False])
@pytest.mark.parametrize("key", [("sku",), ("warehouse", "sku"), ("warehouse", "sku", "level")])
def test_keys_of_any_width_with_and_without_row_values(
    database: sqlite3.Connection,
    url: str,
    key: tuple[str, ...],
    row_values: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not row_values:
        monkeypatch.setattr("etl_assets.sources.sql_statements._ROW_VALUES", frozenset())
    fill(database, [(f"w{number % 4}", number, number % 2, NOON) for number in range(25)])
    assert sorted(row["sku"] for row in read_records(url, stock(key=key, page_size=2))) == list(range(25))


TIMES = {
    " ": ["2025-01-30 23:59:59.999", "2025-01-31 00:00:00", "2025-01-31 23:59:59", "2025-02-01 00:00:00"],
    "T": ["2025-01-30T23:59:59Z", "2025-01-31T00:00:00.000Z", "2025-01-31T23:59:59Z", "2025-02-01T00:00:00Z"],
    "day": ["2025-01-30", "2025-01-31", "2025-01-31", "2025-02-01"],
}


@pytest.mark.parametrize(("kind", "times"), [("timestamp", " "), ("text", "T"), ("date", "day")])
def test_windows_are_half_open(database: sqlite3.Connection, url: str, kind: Any, times: str) -> None:
    fill(database, [("w", number, 0, time) for number, time in enumerate([*TIMES[times], None])])
    declared = stock(window_kind=kind)
    by_day = [[row["sku"] for row in read_records(url, declared, date(2025, 1, 30) + timedelta(number))]
              for number in range(3)]  # fmt: skip
    assert by_day == [[0], [1, 2], [3]]


def test_an_overlap_reaches_into_the_day_before(database: sqlite3.Connection, url: str) -> None:
    fill(
        database, [("w", 1, 0, "2025-01-30 23:54:59"), ("w", 2, 0, "2025-01-30 23:55:00"), ("w", 3, 0, NOON)]
    )
    found = read_records(url, stock(overlap=timedelta(minutes=5)))
    assert [row["sku"] for row in found] == [2, 3]


def test_values_survive_exactly(database: sqlite3.Connection, url: str) -> None:
    values = [1.5, 2**62, -(2**63), "0.10", "ä\n\u2028", b"\x00\xff", None, float("inf")]
    fill(database, [("w", number, value, NOON) for number, value in enumerate(values)])
    database.execute("INSERT INTO stock_levels VALUES ('w', 9, CAST(x'61ff' AS TEXT), ?)", (NOON,))
    found = [row["level"] for row in read_records(url, stock())]
    assert found == [1.5, 2**62, -(2**63), 0.1, "ä\n\u2028", "AP8=", None, "inf", "a\\xff"]


def test_a_query_is_read_like_a_table(database: sqlite3.Connection, url: str) -> None:
    fill(database, [("w", number, number, NOON) for number in range(7)])
    query = "SELECT *, ':tag' AS mark, '50%' AS share FROM stock_levels WHERE level % 2 = 0 ;"
    declared = stock(query=query, columns=("sku", "mark", "share"), key=("sku",))
    expected = [{"sku": number, "mark": ":tag", "share": "50%"} for number in (0, 2, 4, 6)]
    assert read_records(url, declared) == expected


def test_names_are_quoted(database: sqlite3.Connection, url: str) -> None:
    database.execute('CREATE TABLE "Order; DROP TABLE x" ("select" INTEGER, "a ""b""" TEXT, "when" TEXT)')
    database.execute('INSERT INTO "Order; DROP TABLE x" VALUES (1, ?, ?)', ("x", NOON))
    declared = Sql(
        table="Order; DROP TABLE x", columns=("select", 'a "b"'), key=("select",), window_column="when"
    )
    assert read_records(url, declared) == [{"select": 1, 'a "b"': "x"}]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("w", 1), ("w", 1)], "repeats"),
        ([("w", 1), ("w", 2), ("w", 3), ("w", 3), ("w", 4)], "repeats"),
        ([("w", 1), ("w", 2), ("w", None)], "is NULL"),
        ([("w", 1), (None, 2)], "is NULL"),
    ],
)
def test_a_key_that_would_lose_rows_is_refused(
    database: sqlite3.Connection, url: str, rows: list[tuple[Any, Any]], message: str
) -> None:
    fill(database, [(*row, 0, NOON) for row in rows])
    with pytest.raises(SourceError, match=f"erp: the key warehouse, sku of stock_levels {message}") as caught:
        read(url, stock())
    assert caught.value.failure_class is FailureClass.PERMANENT


def test_a_key_that_is_null_on_another_day_is_no_trouble(database: sqlite3.Connection, url: str) -> None:
    fill(database, [("w", None, 0, "2025-01-01 00:00:00"), ("w", 1, 0, NOON)])
    assert len(read_records(url, stock())) == 1


def test_all_pages_show_one_state_of_the_table(path: Path, database: sqlite3.Connection, url: str) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    fill(database, [("w", number, 0, NOON) for number in range(9)])
    with open_database(url) as reader:
        pages = reader.pages(stock(), DAY)
        next(pages)
        fill(database, [("w", 99, 0, NOON)])
        database.execute("DELETE FROM stock_levels WHERE sku = 8")
        assert sum(page.records for page in pages) == 6
        assert sum(page.records for page in reader.pages(stock(), DAY)) == 9


def test_the_database_cannot_be_written_to(database: sqlite3.Connection, url: str) -> None:
    query = "SELECT sku, counted_at FROM stock_levels) AS x; DELETE FROM stock_levels; --"
    fill(database, [("w", 1, 0, NOON)])
    with pytest.raises(SourceError, match="refused the query"):
        read(url, stock(query=query, columns=("sku",), key=("sku",)))
    assert database.execute("SELECT count(*) FROM stock_levels").fetchone() == (1,)


def test_connections_are_read_only(database: sqlite3.Connection, url: str) -> None:
    fill(database, [("w", 1, 0, NOON)])
    with (
        open_database(url) as reader,
        pytest.raises(SourceError, match="readonly") as caught,
        reader._transaction() as connection,
    ):
        connection.exec_driver_sql("DELETE FROM stock_levels")
    assert caught.value.failure_class is FailureClass.PERMANENT
    assert database.execute("SELECT count(*) FROM stock_levels").fetchone() == (1,)


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    with pytest.raises(SourceError, match=r"database file is not there .*ETL_ERP_URL") as caught:
        read(f"sqlite:///{missing}", stock())
    assert caught.value.affects_all
    assert caught.value.failure_class is FailureClass.TRANSIENT
    assert not missing.exists()


@pytest.mark.parametrize("declared", [stock(table="nothing"), stock(columns=("warehouse", "sku", "nothing"))])
def test_a_missing_table_or_column_is_permanent(path: Path, url: str, declared: Sql) -> None:
    with pytest.raises(SourceError, match=r"erp refused the query: no such .*nothing") as caught:
        read(url, declared)
    assert caught.value.failure_class is FailureClass.PERMANENT


def test_a_locked_file_is_transient(database: sqlite3.Connection, url: str) -> None:
    database.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SourceError, match="locked") as caught:
        read(url + "?timeout=0.01", stock())
    assert caught.value.failure_class is FailureClass.TRANSIENT


def test_a_file_that_is_no_database_is_permanent(tmp_path: Path) -> None:
    (tmp_path / "not.db").write_bytes(b"day,currency,rate\n" * 100)
    with pytest.raises(SourceError, match="file is not a database") as caught:
        read(f"sqlite:///{tmp_path / 'not.db'}", stock())
    assert caught.value.failure_class is FailureClass.PERMANENT


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("not an address pa55", "ETL_ERP_URL is not the address of a database"),
        ("nosuch://u:pa55@host/db", "no installed package knows: nosuch"),
        ("oracle+cx_oracle://u:pa55@host/db", "needs the database driver cx_Oracle"),
    ],
)
def test_addresses_that_cannot_be_used_are_told_but_not_shown(address: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_database(address)
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"query": "SELECT 1", "table": "t"}, "either a table or a query"),
        ({"table": None}, "either a table or a query"),
        ({"key": ()}, "key must be among the columns"),
        ({"key": ("counted_by",)}, "key must be among the columns"),
        ({"columns": ("warehouse", "sku", "sku")}, "named twice"),
        ({"page_size": 0}, "at least 1"),
    ],
)
def test_declarations_that_make_no_sense(declared: dict[str, Any], message: str) -> None:
    usual = {"table": "t", "columns": ("warehouse", "sku"), "key": ("sku",), "window_column": "at"}
    with pytest.raises(ConfigurationError, match=message):
        Sql(**{**usual, **declared})


MEASURE = """
import resource, sys
from etl_assets_tests.sources.databases import DAY, open_database, stock
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_database(sys.argv[1]) as reader:
    count = sum(page.records for page in reader.pages(stock(page_size=5_000), DAY))
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_long_table_is_read_in_little_memory(database: sqlite3.Connection, url: str) -> None:
    database.execute(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 300000) "
        "INSERT INTO stock_levels SELECT 'warehouse ' || n, n, n, ? FROM numbers",
        (NOON,),
    )
    database.execute("CREATE UNIQUE INDEX stock_levels_key ON stock_levels (warehouse, sku)")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, url], capture_output=True, text=True, check=True, timeout=300
    )
    count, mebibytes = map(int, done.stdout.splitlines()[-1].split())
    assert count == 300_000
    assert mebibytes < 60
