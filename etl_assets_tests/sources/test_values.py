"""A column of values is spelled as each of its values is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.sources.values import json_value, json_values

KINDS = [
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=5),
    st.binary(max_size=5),
    st.decimals(),
    st.datetimes(),
]


@settings(max_examples=100, deadline=None)
@given(st.one_of([st.lists(st.none() | kind, max_size=5) for kind in [*KINDS, st.one_of(KINDS)]]))
def test_a_column_is_spelled_as_its_values(column: list[Any]) -> None:
    expected = orjson.dumps([json_value(value) for value in column])
    assert orjson.dumps(list(json_values(column))) == expected


@pytest.mark.parametrize(
    "odd", [2**64, -(2**63) - 1, float("nan"), "\ud800", Decimal("1.0"), b"x"], ids=ascii
)
@pytest.mark.parametrize("plain", [[], [None], [1], [0.5], ["x"], [True]], ids=str)
def test_one_odd_value_is_noticed(plain: list[Any], odd: Any) -> None:
    column = [*plain, odd]
    assert list(json_values(column)) == [json_value(value) for value in column]
    assert json_values(column)[-1] != odd or type(json_values(column)[-1]) is not type(odd)
