"""The catalogue of marts: what a file must say, and that anything else is told by the file's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.marts.catalogue import discover_marts, read_mart

GOOD = """-- mart: sales
-- owner: team:sales
-- business_date: day
-- reads: shop.order_lines, shop.orders
-- description: Sales: by day.
-- A remark.
SELECT 1 AS n, business_date AS day FROM touched_dates;
"""


def write(folder: Path, text: str, name: str = "sales") -> Path:
    """Write a mart's file."""
    path = folder / f"{name}.sql"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_file_is_read(tmp_path: Path) -> None:
    mart = read_mart(write(tmp_path, GOOD))
    assert (mart.name, mart.owner, mart.business_date) == ("sales", "team:sales", "day")
    assert mart.reads == ("shop/order_lines", "shop/orders")
    assert mart.description == "Sales: by day."
    assert mart.sql == "-- A remark.\nSELECT 1 AS n, business_date AS day FROM touched_dates"


def test_all_files_of_a_folder_are_found_by_name(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace("mart: sales", "mart: costs"), "costs")
    (tmp_path / "notes.txt").write_text("not a mart")
    assert [mart.name for mart in discover_marts(tmp_path)] == ["costs", "sales"]


def test_the_projects_own_marts_are_good() -> None:
    marts = {mart.name: mart for mart in discover_marts()}
    assert marts["daily_sales"].reads == ("shop/order_lines",)
    assert marts["daily_sales"].business_date == "day"


def test_the_version_follows_the_sql_alone(tmp_path: Path) -> None:
    first = read_mart(write(tmp_path, GOOD))
    other_words = read_mart(write(tmp_path, GOOD.replace("by day", "of each day")))
    other_sql = read_mart(write(tmp_path, GOOD.replace("1 AS n", "2 AS n")))
    assert first.sql_version == other_words.sql_version != other_sql.sql_version


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-- mart: sales\n", "", "begins without `-- mart: ...`"),
        ("-- owner: team:sales\n", "", "begins without `-- owner: ...`"),
        ("-- business_date: day\n", "", "begins without `-- business_date: ...`"),
        ("-- reads: shop.order_lines, shop.orders\n", "", "begins without `-- reads: ...`"),
        ("-- description: Sales: by day.\n", "", "begins without `-- description: ...`"),
        ("Sales: by day.", "", "begins without `-- description: ...`"),
        ("-- owner:", "-- boss: x\n-- owner:", "unknown front matter 'boss'"),
        ("-- owner:", "-- mart: sales\n-- owner:", "'mart' stands there twice"),
        ("mart: sales", "mart: costs", "says it is mart 'costs'"),
        ("business_date: day", "business_date: Day 1", "business_date must be lower-case"),
        ("team:sales", "the sales people", "owner must be"),
        ("shop.orders", "orders", "reads 'orders'"),
        ("touched_dates", "shop.orders", "does not read touched_dates"),
        ("-- A remark.\nSELECT 1 AS n, business_date AS day FROM touched_dates;", "", "has no SQL"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        discover_marts(tmp_path)
    assert str(caught.value).startswith("sales.sql: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "sales.sql").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"sales\.sql: cannot be read"):
        discover_marts(tmp_path)
