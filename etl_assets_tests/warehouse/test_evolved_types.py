"""Types of columns that follow from values: the same, with the same values in them, in whichever order days come."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from etl_assets.streams.base import SchemaPolicy
from etl_assets.streams.observed import EXACT, Kind, ObservedFields, is_blank, kinds_of, text_of
from etl_assets.warehouse.types import canonical_text, is_wider, type_of
from etl_assets_tests.warehouse.evolving import request_with, session_in_memory
from etl_assets_tests.warehouse.samples import ORDERS, Stager, at, order, select

EVOLVING = replace(ORDERS, schema_changes=SchemaPolicy.EVOLVE)
INTEGERS = st.one_of(
    st.integers(-3, 3), st.integers(EXACT - 2, EXACT + 2), st.integers(-(2**63) - 1, 2**64), st.integers()
)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
WHOLE_DOUBLES = st.integers(-(2**60), 2**60).map(float)
TEXTS = st.one_of(st.text(max_size=4), st.sampled_from(["1", "1.0", "true", "1e5", "", " "]))
VALUES = st.one_of(
    st.none(), st.booleans(), INTEGERS, DOUBLES, WHOLE_DOUBLES, TEXTS, st.lists(st.integers(), max_size=2)
)
DAYS = st.lists(st.lists(VALUES, max_size=3), min_size=1, max_size=4)
KINDS = st.frozensets(st.sampled_from(list(Kind)))
TYPE = "SELECT data_type FROM information_schema.columns WHERE table_schema = 'shop' AND column_name = 'x'"


def loaded(stager: Stager, days: Sequence[tuple[int, Sequence[Any]]]) -> tuple[list[Any], dict[str, Any]]:
    """Load days of values, in the order given; give the column's type, and its values by row."""
    with session_in_memory() as session:
        for number, values in days:
            rows = [order(f"{number}-{place}", at(number)) for place in range(len(values))]
            session.commit(request_with(stager, EVOLVING, number, rows, [{"x": value} for value in values]))
        found = select(session.connection, TYPE)
        if not found:
            return [], {}
        return found, dict(select(session.connection, "SELECT order_id, x FROM shop.orders"))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(days=DAYS, data=st.data())
def test_type_and_values_are_the_same_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[Any]], data: st.DataObject
) -> None:
    stager = Stager(tmp_path_factory.getbasetemp() / "evolved_types")
    numbered = list(enumerate(days))
    first = loaded(stager, numbered)
    assert loaded(stager, data.draw(st.permutations(numbered), label="order")) == first
    kinds = kinds_of(value for values in days for value in values if not is_blank(value))
    assert first[0] == ([(type_of(kinds),)] if kinds else [])
    for number, values in numbered if kinds else ():
        for place, value in enumerate(values):
            stored = first[1][f"{number}-{place}"]
            assert (stored is None) == is_blank(value)
            assert stored is None or text_of(stored) == text_of(value)


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.one_of(DOUBLES, WHOLE_DOUBLES), min_size=1, max_size=50))
@example(values=[-0.0, 1e16, 1e15 + 0.5, 5e-324, math.pi, float(EXACT), float(EXACT + 2), 1e22, 1e-5])
def test_the_database_spells_doubles_as_we_do(values: list[float]) -> None:
    text = canonical_text("v", "DOUBLE")
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT v, {text}, CAST({text} AS DOUBLE) FROM (SELECT unnest(CAST(? AS DOUBLE[])) AS v)",
            [values],
        ).fetchall()
    assert [spelled for _, spelled, _ in rows] == [text_of(value) for value in values]
    assert all(back == value for value, _, back in rows)


@given(values=st.lists(VALUES))
def test_spelled_values_fit_the_type_of_their_kinds(values: list[Any]) -> None:
    present = [value for value in values if not is_blank(value)]
    match type_of(kinds_of(present)):
        case "BIGINT":
            assert all(-(2**63) <= int(text_of(value)) < 2**63 for value in present)
        case "DOUBLE":
            assert all(float(text_of(value)) == value for value in present)
        case "BOOLEAN":
            assert {text_of(value) for value in present} <= {"true", "false"}
        case other:
            assert other == ("VARCHAR" if present else None)


@given(one=KINDS, other=KINDS)
def test_more_kinds_never_make_a_type_narrower(one: frozenset[Kind], other: frozenset[Kind]) -> None:
    before, after = type_of(one), type_of(one | other)
    assert before is None or after == before or (after is not None and is_wider(after, before))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("VARCHAR", "BOOLEAN"),
        ("DOUBLE", "BIGINT"),
        ("DOUBLE", "DECIMAL(18,3)"),
        ("DECIMAL(18,2)", "BIGINT"),
        ("DECIMAL(18,3)", "DECIMAL(18,2)"),
        ("TIMESTAMP", "DATE"),
    ],
)
def test_wider_types(wide: str, narrow: str) -> None:
    assert is_wider(wide, narrow)
    assert not is_wider(narrow, wide)
    assert not is_wider(wide, wide)


@pytest.mark.parametrize(
    ("one", "other"),
    [("DATE", "BIGINT"), ("BOOLEAN", "BIGINT"), ("TIMESTAMP", "DOUBLE"), ("DATE", "DECIMAL(18,2)")],
)
def test_types_that_do_not_go_together(one: str, other: str) -> None:
    assert not is_wider(one, other)
    assert not is_wider(other, one)


@given(
    records=st.integers(0, 9),
    values=st.dictionaries(st.text(), st.lists(VALUES.filter(lambda value: not is_blank(value))), max_size=3),
    absent=st.lists(st.text(), max_size=2),
)
def test_what_was_observed_survives_the_manifest(
    records: int, values: dict[str, list[Any]], absent: list[str]
) -> None:
    given_json = {
        "records": records,
        "absent": absent,
        "unknown": {
            name: {"rows": len(found), "kinds": sorted(kinds_of(found)), "reason": ""}
            for name, found in values.items()
        },
        "set_aside": [[1, text_of({"a": 1})]],
    }
    observed = ObservedFields.from_json(json.loads(json.dumps(given_json)))
    assert observed.as_json() == given_json
