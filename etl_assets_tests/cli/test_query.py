"""Asking the warehouse with SQL: what is written, and what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from etl_assets.cli.main import run

ROWS = """
CREATE TABLE shop.things AS
SELECT 'T' || range AS code, range AS pieces, CAST(range AS DECIMAL(18, 2)) / 4 AS price,
       TIMESTAMP '2025-01-01 12:00:00' AS sold_at, [range, range + 1] AS sizes, {'a': range} AS more,
       CASE WHEN range > 0 THEN 'ä, "x"' END AS note
FROM range(250)
"""


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A warehouse with one table."""
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA shop")
        connection.execute(ROWS)
    monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path))
    return path


def test_a_table_shows_some_rows_and_says_how_many_there_are(
    warehouse: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", "SELECT code, pieces FROM shop.things ORDER BY pieces", "--limit", "3"]) == 0
    shown = capsys.readouterr()
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines == [["code", "pieces"], ["T0", "0"], ["T1", "1"], ["T2", "2"]]
    assert shown.err == "the first 3 of 250 rows; see --limit\n"


def test_markup_in_data_is_shown_as_it_is(warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", "SELECT '[red]x[/red]' AS \"[b]\", NULL AS n"]) == 0
    shown = capsys.readouterr()
    assert "[red]x[/red]" in shown.out
    assert "[b]" in shown.out
    assert shown.err == "1 row\n"


def test_csv_goes_to_standard_output(warehouse: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["query", "FROM shop.things ORDER BY pieces", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capfdbinary.readouterr().out.decode())))
    assert len(rows) == 250
    assert rows[0]["note"] == ""
    assert rows[2] == {
        "code": "T2",
        "pieces": "2",
        "price": "0.5",
        "sold_at": "2025-01-01 12:00:00.000000",
        "sizes": "[2, 3]",
        "more": '{"a": 2}',
        "note": 'ä, "x"',
    }


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_ending_of_the_file_decides(warehouse: Path, tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"things.{ending}"
    assert run(["query", "FROM shop.things", "--output", str(target)]) == 0
    found = duckdb.sql(f"SELECT count(*), sum(pieces) FROM '{target}'").fetchone()
    assert found == (250, 250 * 249 // 2)
    if ending == "parquet":
        assert [str(kind) for kind in pq.read_schema(target).types[:4]][1:] == [
            "int64",
            "double",
            "timestamp[us]",
        ]
    assert sorted(tmp_path.glob(".*.part")) == []


def test_the_statement_can_come_from_standard_input(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT count(*) AS n FROM shop.things;\n"))
    assert run(["query", "-"]) == 0
    assert capsys.readouterr().out.split() == ["n", "250"]


@pytest.mark.parametrize(
    ("sql", "exit_code", "said"),
    [
        ("SELECT nope FROM shop.things", 2, 'Referenced column "nope" not found'),
        ("SELECT * FROM shop.nope", 2, "Table with name nope does not exist"),
        ("SELEKT 1", 2, "syntax error"),
        ("", 2, "a query is one statement, not 0"),
        ("SELECT 1; SELECT 2", 2, "a query is one statement, not 2"),
        ("DROP TABLE shop.things", 2, "opened for reading only"),
        ("DELETE FROM shop.things", 2, "opened for reading only"),
        ("SELECT CAST(code AS INTEGER) FROM shop.things", 1, "Could not convert string"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    warehouse: Path, sql: str, exit_code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", sql]) == exit_code
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "things.txt"], "a table is for people"),
        (["--format", "xml"], "'xml' is not one of 'table', 'csv', 'parquet'"),
        (["--format", "csv", "--output", "/nowhere/things.csv"], "cannot be written: No such file"),
    ],
)
def test_wrong_options_are_one_line(
    warehouse: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", "SELECT 1", *options]) == 2
    assert said in capsys.readouterr().err


def test_before_the_first_load_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path))
    assert run(["query", "SELECT 1"]) == 1
    assert "run `etl-assets backfill` first" in capsys.readouterr().err
