"""Values that must be unique: the same rows repeat, however a partition is cut into chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.quality.repeats import SeenValues, find_repeats
from etl_assets_tests.quality.samples import ORDER_LINES, ORDERS, Record, judge, line, order


def quarantined(records: list[Record], size: int) -> dict[int, set[str]]:
    """Judge records in chunks; gives the rules of quarantined rows by position over all chunks."""
    seen = SeenValues()
    found: dict[int, set[str]] = {}
    for start in range(0, len(records), size):
        judged = judge(ORDER_LINES, records[start : start + size], seen)
        found |= {start + position: set(reasons) for position, reasons in judged.bad.items()}
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_repeats_after_the_first_are_quarantined(size: int) -> None:
    records = [line(name) for name in ("a", "b", "a", "c", "a", "b")]
    assert quarantined(records, size) == {2: {"line_id.unique"}, 4: {"line_id.unique"}, 5: {"line_id.unique"}}


@pytest.mark.parametrize("size", [1, 2, 100])
def test_row_that_is_bad_anyway_takes_nobodys_place(size: int) -> None:
    records = [line("a", quantity=0), line("a"), line("a", quantity=0), line("a")]
    assert quarantined(records, size) == {
        0: {"quantity.not_equal_to"},
        2: {"quantity.not_equal_to", "line_id.unique"},
        3: {"line_id.unique"},
    }


@pytest.mark.parametrize("size", [1, 100])
def test_missing_values_repeat_nothing(size: int) -> None:
    records = [line(line_id) for line_id in ("", "x", "", None)]
    assert quarantined(records, size) == {position: {"line_id.missing"} for position in (0, 2, 3)}


@pytest.mark.parametrize("size", [1, 100])
def test_values_are_compared_as_they_are_cleaned(size: int) -> None:
    records = [line(" 7 "), line(7), line("7.0"), line("07")]
    assert quarantined(records, size) == {1: {"line_id.unique"}}


def test_orders_may_repeat_because_the_newest_version_wins() -> None:
    judged = judge(ORDERS, [order("1"), order("1", updated_at="2025-03-10T10:00:00Z")])
    assert judged.bad == {}


@given(
    values=st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans()), max_size=40),
    size=st.integers(1, 41),
)
@settings(max_examples=200, deadline=None)
def test_chunks_make_no_difference(values: list[tuple[str | None, bool]], size: int) -> None:
    taken: set[str] = set()
    expected = []
    for value, bad in values:
        expected.append(value in taken)
        if value is not None and not bad:
            taken.add(value)
    seen = SeenValues()
    found: list[bool] = []
    for start in range(0, len(values), size):
        chunk = values[start : start + size]
        column = pd.Series([value for value, _ in chunk], dtype="str")
        mask = find_repeats("name", column, np.array([bad for _, bad in chunk], dtype=bool), seen)
        found += mask.tolist()
    assert found == expected


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([3, 4, 3], dtype="Int64"),
        pd.Series([1.5, 2.5, 1.5]),
        pd.to_datetime(pd.Series(["2025-01-01", "2025-01-02", "2025-01-01"]), utc=True),
        pd.Series(["a", "b", "a"], dtype="str"),
        pd.Series([True, False, True]),
    ],
    ids=lambda column: str(column.dtype),
)
def test_any_type_of_column_may_be_unique(column: pd.Series[Any]) -> None:
    fine = np.zeros(3, dtype=bool)
    assert find_repeats("name", column, fine, SeenValues()).tolist() == [False, False, True]
    seen = SeenValues()
    assert find_repeats("name", column[:2], fine[:2], seen).tolist() == [False, False]
    assert find_repeats("name", column, fine, seen).tolist() == [True, True, True]


def test_many_chunks_are_remembered_in_few_runs() -> None:
    seen = SeenValues()
    fine = np.zeros(100, dtype=bool)
    for chunk in range(200):
        names = pd.Series([f"{chunk}-{row}" for row in range(100)], dtype="str")
        assert not find_repeats("name", names, fine, seen).any()
    again = pd.Series([f"{chunk}-{chunk % 100}" for chunk in range(200)], dtype="str")
    assert seen.contains("name", again).all()
    assert not seen.contains("name", again + "x").any()
    assert len(seen._runs["name"]) < 10
