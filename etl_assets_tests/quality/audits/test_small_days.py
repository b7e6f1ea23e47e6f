"""A small day is measured in memory; that says the same as measuring its file."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.quality.audits.statistics import MOST_VALUES, OTHER, measure, measure_in_memory
from etl_assets.streams.base import Agreement, Categories, MeanDrift, NullShare, Outliers

AUDITS = (
    NullShare("name", maximum=0.5),
    NullShare("price", maximum=0.5),
    MeanDrift("price"),
    MeanDrift("pieces"),
    Outliers("price", maximum_share=0.1, threshold=3.0),
    Outliers("weight", maximum_share=0.1),
    Categories("name", drift=0.2),
    Categories("paid", drift=0.2),
    Categories("pieces", drift=0.2),
    Agreement(key="name", total="price", stream="shop/orders", stream_key="name", stream_total="price"),
)
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("price", pa.decimal128(18, 3)),
        ("pieces", pa.int64()),
        ("weight", pa.float64()),
        ("paid", pa.bool_()),
        ("sold_at", pa.timestamp("us")),
        ("_row", pa.int64()),
    ]
)
few = st.sampled_from([Decimal("0.100"), Decimal("0.300"), Decimal("2.950"), Decimal("1000.000")])
rows = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["", "a", "A", "ä", "z", "🙂", "a'b"]) | st.text(max_size=3),
        st.none() | few | st.decimals(-(10**6), 10**6, places=3),
        st.none() | st.integers(-5, 5) | st.integers(-(2**53), 2**53),
        st.none() | st.floats(-1e9, 1e9) | st.sampled_from([0.1, 0.2, 0.3]),
        st.none() | st.booleans(),
        st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    ),
    min_size=1,
    max_size=40,
)


def table_of(made: list[tuple[Any, ...]]) -> pa.Table:
    numbered = [(*row, number) for number, row in enumerate(made)]
    columns = [
        pa.array(list(column), field.type)
        for column, field in zip(zip(*numbered, strict=True), SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def file_of(folder: Path, table: pa.Table) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(table, path)
    return path


@given(made=rows)
@settings(deadline=None)
def test_measuring_in_memory_says_the_same_as_measuring_the_file(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[Any, ...]]
) -> None:
    table = table_of(made)
    path = file_of(tmp_path_factory.mktemp("day"), table)
    expected = measure(path, AUDITS, table.num_rows, "sold_at").as_json()
    found = measure_in_memory(table, AUDITS, "sold_at")
    assert found is not None
    said = found.as_json()
    for name, mean in expected.pop("means").items():
        assert said["means"][name] == (mean if mean is None else pytest.approx(mean, rel=1e-9, abs=1e-6))
    for check, numbers in expected.pop("outliers").items():
        assert said["outliers"][check] == pytest.approx(numbers)
    assert {name: said[name] for name in expected} == expected


def test_rare_values_are_counted_together() -> None:
    table = pa.table({"name": [f"value {number}" for number in range(MOST_VALUES + 7)] + ["value 1"]})
    found = measure_in_memory(table, [Categories("name", drift=0.2)])
    assert found is not None
    assert found.values["name"]["value 1"] == 2
    assert found.values["name"][OTHER] == 7
    assert len(found.values["name"]) == MOST_VALUES + 1


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_left_to_the_engine(odd: float) -> None:
    assert measure_in_memory(pa.table({"weight": [1.0, odd]}), [MeanDrift("weight")]) is None


def test_values_with_more_than_one_spelling_are_left_to_the_engine() -> None:
    days = pa.table({"on": [date(2024, 1, 1)]})
    assert measure_in_memory(days, [Categories("on", drift=0.2)]) is None
