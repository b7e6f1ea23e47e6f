"""What records have beside the contract, and what they lack of it, however they are cut into chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from etl_assets.quality import observed
from etl_assets.quality.frame import raw_frame
from etl_assets.quality.observed import MOST_NAMES, MOST_SET_ASIDE, FieldWatch
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.preview import MASK
from etl_assets.quality.rules import compile_contract
from etl_assets.streams.base import SchemaPolicy, Stream
from etl_assets.streams.observed import OTHERS, Kind, ObservedField, ObservedFields
from etl_assets_tests.quality import people
from etl_assets_tests.quality.samples import (
    CUSTOMERS,
    FX_RATES,
    ORDER_LINES,
    ORDERS,
    PRODUCTS,
    STOCK_LEVELS,
    Record,
    change,
    customer,
    line,
    order,
    posting,
    rate,
    without,
)

EVOLVING = replace(ORDER_LINES, schema_changes=SchemaPolicy.EVOLVE)
USUAL = {
    "lines": (ORDER_LINES, line()),
    "orders": (ORDERS, order()),
    "products": (PRODUCTS, change()),
    "customers": (CUSTOMERS, customer()),
    "rates": (FX_RATES, rate()),
    "postings": (STOCK_LEVELS, posting()),
}


def watch(
    stream: Stream, *chunks: Sequence[Record], bad: Sequence[int] = ()
) -> tuple[ObservedFields, list[Any]]:
    """Look at chunks; gives what was seen, and the values of new columns.

    Args:
        stream: The stream.
        chunks: The records.
        bad: Positions of records that break the contract.
    """
    contract = compile_contract(stream.contract)
    looking = FieldWatch(stream, Pseudonymiser(contract, people.KEY))
    evolved: list[Any] = []
    first = 0
    for chunk in chunks:
        numbers = np.arange(first, first + len(chunk), dtype=np.int64)
        good = np.array([number - first for number in numbers if number not in bad], dtype=np.int64)
        found = looking.look(raw_frame(chunk, contract.raw_fields), chunk, good, numbers)
        assert (found is None) == (stream.schema_changes != SchemaPolicy.EVOLVE)
        evolved += [] if found is None else found.to_pylist()
        first += len(chunk)
    return looking.result(), evolved


@pytest.mark.parametrize("name", USUAL)
def test_usual_records_have_nothing_unknown_and_each_lacked_field_is_seen(name: str) -> None:
    stream, record = USUAL[name]
    seen, _ = watch(stream, [record, record])
    derived = {column.raw_field for column in compile_contract(stream.contract).columns} - record.keys()
    assert (seen.records, seen.unknown, seen.set_aside) == (2, {}, ())
    assert set(seen.absent) == derived
    for lacked in record:
        assert set(watch(stream, [without(record, lacked)])[0].absent) == derived | {lacked}


def test_a_field_that_one_record_has_is_there() -> None:
    bare = without(line(), "country")
    assert "country" not in watch(ORDER_LINES, [bare, bare, line()])[0].absent
    assert "country" not in watch(ORDER_LINES, [bare], [line(country=None)], [bare])[0].absent
    assert "country" in watch(ORDER_LINES, [bare], [bare])[0].absent


def test_no_records_say_nothing() -> None:
    assert watch(ORDER_LINES, [])[0] == ObservedFields()


@pytest.mark.parametrize("cuts", [(), (1,), (2,), (1, 2, 3)], ids=str)
def test_chunks_make_no_difference(cuts: tuple[int, ...]) -> None:
    records = [
        line("a", tier=1, gone=None),
        line("b", tier=2**60),
        line("c", tier=2.5, note=" "),
        line("d", tier="bad row"),
    ]
    ends = [0, *cuts, len(records)]
    chunks = [records[start:end] for start, end in pairwise(ends)]
    seen, evolved = watch(EVOLVING, *chunks, bad=[3])
    assert seen.unknown == {
        "tier": ObservedField(4, frozenset({Kind.INTEGER, Kind.LARGE_INTEGER, Kind.NUMBER})),
        "gone": ObservedField(0),
        "note": ObservedField(0),
    }
    assert evolved == [[("tier", "1")], [("tier", str(2**60))], [("tier", "2.5")]]
    frozen, _ = watch(ORDER_LINES, *chunks, bad=[3])
    assert frozen.unknown == seen.unknown
    assert [(row.row_number, json.loads(row.payload)) for row in frozen.set_aside] == [
        (0, {"tier": 1}),
        (1, {"tier": 2**60}),
        (2, {"tier": 2.5}),
    ]


def test_ignored_fields_are_not_seen() -> None:
    stream = replace(ORDER_LINES, ignored_fields=("tier", "etag"))
    assert watch(stream, [line(tier=1, etag="x")])[0].unknown == {}
    assert set(watch(stream, [line(tier=1, other=2)])[0].unknown) == {"other"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("loyaltyTier", "its name is not one of lower-case letters, digits and underscores"),
        ("a-b", "its name is not one of lower-case letters, digits and underscores"),
        ("_partition", "its name is not one of lower-case letters, digits and underscores"),
        ("total_amount", "the contract has a column of that name"),
    ],
)
def test_what_cannot_be_a_column_is_kept_aside_where_others_evolve(name: str, reason: str) -> None:
    stream = replace(ORDERS, schema_changes=SchemaPolicy.EVOLVE)
    seen, evolved = watch(stream, [order(**{name: 1, "tier": 2})])
    assert {field: one.reason for field, one in seen.unknown.items()} == {name: reason, "tier": ""}
    assert evolved == [[("tier", "2")]]
    assert [json.loads(row.payload) for row in seen.set_aside] == [{name: 1}]


def test_many_names_and_many_rows_are_bounded() -> None:
    records = [line(str(number), **{f"x{number}": number}) for number in range(MOST_NAMES + 50)]
    seen, _ = watch(ORDER_LINES, records)
    assert len(seen.unknown) == MOST_NAMES + 1
    assert seen.unknown[OTHERS].rows == 50
    assert len(seen.set_aside) == MOST_SET_ASIDE


@pytest.mark.parametrize("stream", [people.PEOPLE, ORDER_LINES], ids=["personal", "other"])
def test_names_that_may_be_values_are_not_told(stream: Stream) -> None:
    seen, _ = watch(stream, [{"ada@example.com\n": 1, "x" * 80: 2, "": 3, "mail": "ada@example.com"}])
    assert set(seen.unknown) == {MASK, "mail"}
    assert seen.unknown[MASK].rows == 3


def test_values_beside_personal_fields_are_masked() -> None:
    seen, _ = watch(
        people.PEOPLE, [{"person_id": "1", "mail": "ada@example.com", "vip": True, "x": {"y": 1}}]
    )
    assert [json.loads(row.payload) for row in seen.set_aside] == [{"mail": MASK, "vip": True, "x": MASK}]


def test_a_chunk_without_new_fields_costs_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "text_of", None)
    found = watch(EVOLVING, [line(), line()])[1]
    assert found == [None, None]
    assert pa.nulls(2, observed.EVOLVED_TYPE).to_pylist() == found
