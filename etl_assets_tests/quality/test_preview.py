"""The preview: what it shows, what it hides, and that no value can break out of its cell."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.quality.preview import LONGEST_TEXT, preview
from etl_assets.quality.rules import compile_contract
from etl_assets_tests.quality.samples import ORDER_LINES, ORDERS, judge, line, order


def cells(markdown: str) -> list[list[str]]:
    """Take a table apart at the bars that are not escaped, without its line of dashes."""
    lines = markdown.split("\n")
    found = [re.split(r"(?<!\\)(?:\\\\)*\|", text)[1:-1] for text in lines]
    return [[cell.strip() for cell in row] for number, row in enumerate(found) if number != 1]


def shown(value: Any) -> str:
    """Show one value."""
    return cells(preview(pa.table({"name": [value]}), frozenset()))[1][0]


def test_first_rows_as_a_table() -> None:
    table = pa.table({"order_id": ["a", "b", "c"], "count": [1, None, 3]})
    assert preview(table, frozenset(), rows=2) == ("| order_id | count |\n| --- | --- |\n| a | 1 |\n| b |  |")


def test_five_rows_unless_told_otherwise() -> None:
    table = pa.table({"name": [str(number) for number in range(9)]})
    assert [row for (row,) in cells(preview(table, frozenset()))] == ["name", "0", "1", "2", "3", "4"]


def test_no_rows_no_table() -> None:
    assert preview(pa.table({"name": pa.array([], pa.string())}), frozenset()) == ""


@pytest.mark.parametrize("value", ["Ada", 7, Decimal("1.5"), datetime(2025, 1, 1), "***", "|", "x" * 100])
def test_personal_values_are_masked(value: Any) -> None:
    table = pa.table({"who": [value, None], "what": ["x", "y"]})
    assert cells(preview(table, frozenset({"who"})))[1:] == [["***", "x"], ["", "y"]]


@pytest.mark.parametrize(("stream", "record"), [(ORDER_LINES, line()), (ORDERS, order())])
def test_customers_are_not_shown(stream: Any, record: dict[str, Any]) -> None:
    judged = judge(stream, [record | {"customer_id": "Jane-4711"}])
    markdown = preview(judged.table, compile_contract(stream.contract).personal_columns)
    assert "Jane" not in markdown
    assert "4711" not in markdown
    assert "| *** |" in markdown
    assert "United Kingdom" in markdown


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Decimal("1.50"), "1.50"),
        (True, "True"),
        (date(2025, 1, 31), "2025-01-31"),
        (datetime(2025, 1, 31, 9, 5), "2025-01-31 09:05:00"),
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("two\nlines\r\nmore", r"two\nlines\r\nmore"),
        ("\u2028\x00\x85", r"\u2028\x00\x85"),
        ("<img src=x>", r"\<img src=x\>"),
        ("![x](http://a.b)", r"\!\[x\](http://a.b)"),
        ("`*_~&amp;", r"\`\*\_\~\&amp;"),
        ("x" * LONGEST_TEXT, "x" * LONGEST_TEXT),
        ("x" * (LONGEST_TEXT + 1), "x" * (LONGEST_TEXT - 1) + "…"),
    ],
)
def test_value_is_shown(value: Any, wanted: str) -> None:
    assert shown(value) == wanted


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=7))
def test_no_text_breaks_the_table(rows: list[tuple[str, str]]) -> None:
    table = pa.table({"a": [a for a, _ in rows], "b": [b for _, b in rows]})
    found = cells(preview(table, frozenset()))
    assert len(found) == 1 + min(len(rows), 5)
    assert all(len(row) == 2 for row in found)
    assert len(preview(table, frozenset()).splitlines()) == 1 + len(found)
