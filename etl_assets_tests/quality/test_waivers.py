"""Which rules can be waived: those of the contract's author, unless the table tells rows apart by the column."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etl_assets.quality.rules import compile_contract
from etl_assets.quality.waivers import why_not_waivable
from etl_assets.streams.base import Contract, Field, Stream, Timestamp
from etl_assets_tests.quality.people import PEOPLE
from etl_assets_tests.quality.samples import PRODUCTS, STREAMS


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("age.greater_than_or_equal_to", None),
        ("phone.no_premium_number", None),
        ("not_the_name", None),
        ("age.parse", "the value would be lost"),
        ("age.missing", "the table needs the value"),
        ("person_id.unique", "another row of the day has the value"),
        ("changed_at.window", "the row belongs to another day"),
        ("record.object", "it is no record"),
        ("age.less_than", "the contract has no such rule any more; replay the row"),
    ],
)
def test_the_authors_rules_can_be_waived(rule: str, why: str | None) -> None:
    assert why_not_waivable(PEOPLE, rule) == why


class Guarded(Contract):
    """Rules of the columns by which rows and versions are told apart."""

    person_id: str = Field(str_matches="p-")
    age: int = Field(ge=0)
    changed_at: Timestamp = Field(le="2030-01-01T00:00:00Z")


def test_rules_of_keys_and_versions_cannot_be_waived() -> None:
    stream = replace(PEOPLE, contract=Guarded)
    said = {
        rule.name: why_not_waivable(stream, rule.name)
        for c in compile_contract(Guarded).columns
        for rule in c.checks
    }
    apart = "the table tells rows apart by that column"
    assert said == {
        "person_id.str_matches": apart,
        "age.greater_than_or_equal_to": None,
        "changed_at.less_than_or_equal_to": apart,
    }


def test_the_operation_of_a_change_feed_cannot_be_waived() -> None:
    (operation,) = (column for column in compile_contract(PRODUCTS.contract).columns if column.name == "op")
    assert operation.checks
    for rule in operation.checks:
        assert why_not_waivable(PRODUCTS, rule.name) == "the table tells rows apart by that column"


@pytest.mark.parametrize("stream", STREAMS.values(), ids=list(STREAMS))
def test_no_rule_of_the_platform_can_be_waived(stream: Stream) -> None:
    for column in compile_contract(stream.contract).columns:
        for kind in ("parse", "missing", "unique"):
            assert why_not_waivable(stream, f"{column.name}.{kind}")
