"""The comparison that the other tests rely on sees every kind of difference."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from etl_assets_tests.integration.warehouses import differences, tables

SAME = (
    "CREATE SCHEMA shop",
    "CREATE TABLE shop.orders (order_id VARCHAR, total DECIMAL(18, 2), _run_id VARCHAR)",
    "INSERT INTO shop.orders VALUES ('1', 1.10, 'a'), ('1', 1.10, 'a'), ('2', NULL, 'a')",
)


def make(path: Path, *statements: str) -> Path:
    with duckdb.connect(str(path)) as connection:
        for statement in (*SAME, *statements):
            connection.execute(statement)
    return path


def test_equal_but_for_the_stamps(tmp_path: Path) -> None:
    left = make(tmp_path / "a.duckdb")
    right = make(tmp_path / "b.duckdb", "UPDATE shop.orders SET _run_id = 'b'")
    assert differences(left, right) == {}
    assert differences(left, right, leaving_out=()).keys() == {"shop.orders"}
    assert tables(left) == {"shop.orders"}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE shop.orders SET total = 1.11 WHERE order_id = '1'",
        "UPDATE shop.orders SET total = 0 WHERE total IS NULL",
        "DELETE FROM shop.orders WHERE order_id = '2'",
        "INSERT INTO shop.orders VALUES ('1', 1.10, 'a')",
        "ALTER TABLE shop.orders ADD COLUMN status VARCHAR",
        "CREATE TABLE shop.lines AS SELECT 1 AS line_id",
        "CREATE SCHEMA marts; CREATE TABLE marts.sales AS SELECT 1 AS day",
    ],
)
def test_every_difference_is_seen_from_both_sides(tmp_path: Path, change: str) -> None:
    left, right = make(tmp_path / "a.duckdb"), make(tmp_path / "b.duckdb", change)
    assert len(differences(left, right)) == 1
    assert len(differences(right, left)) == 1
