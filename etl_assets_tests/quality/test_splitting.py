"""Splitting by any contract: every kind of rule and column type, and transforms that break their promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.failures import TransformError
from etl_assets.quality.frame import field_names, raw_frame, separate_objects
from etl_assets.quality.rules import compile_contract
from etl_assets.quality.split import Split, split_rows
from etl_assets.streams.base import Contract, Date, Decimal2, Field, Timestamp, Window, row_rule, rule

DAY = Window.of_day(date(2025, 3, 10))
NOON = "2025-03-10T12:00:00Z"


class EveryRule(Contract):
    """One column for each keyword of a field."""

    at: Timestamp = Field()
    eq: int = Field(eq=1, missing="allow")
    ne: int = Field(ne=1, missing="allow")
    gt: float = Field(gt=1, missing="allow")
    ge: int = Field(ge=1, missing="allow")
    lt: Decimal2 = Field(lt=Decimal(1), missing="allow")
    le: int = Field(le=1, missing="allow")
    isin: str = Field(isin=["a", "b"], missing="allow")
    str_matches: str = Field(str_matches=r"^[a-z]+$", missing="allow")
    str_length: str = Field(str_length={"min_value": 2, "max_value": 3}, missing="allow")
    own: str = Field(missing="allow")
    doubtful: str = Field(missing="allow")
    other: str = Field(missing="allow")

    @rule("own", reason="own is odd")
    def odd(cls, values: pd.Series[Any]) -> pd.Series[Any]:
        return values != "odd"

    @rule("doubtful", severity="warn", reason="doubtful is odd")
    def doubt(cls, values: pd.Series[Any]) -> pd.Series[Any]:
        return values != "odd"

    @row_rule(reason="own and other differ")
    def agree(cls, rows: pd.DataFrame) -> pd.Series[Any]:
        return ~(rows["own"].notna() & rows["other"].notna() & (rows["own"] != rows["other"]))

    @row_rule(severity="warn", reason="doubtful and other are the same")
    def same(cls, rows: pd.DataFrame) -> pd.Series[Any]:
        return ~(rows["doubtful"].notna() & (rows["doubtful"] == rows["other"]))


GOOD: dict[str, Any] = {
    "at": NOON,
    "eq": 1,
    "ne": 2,
    "gt": 1.5,
    "ge": 1,
    "lt": "0.99",
    "le": 1,
    "isin": "a",
    "str_matches": "abc",
    "str_length": "ab",
    "own": "x",
    "doubtful": "y",
    "other": "x",
}


def split(contract: type[Contract], records: Sequence[Mapping[str, Any]], cleaned: Any = None) -> Split:
    """Split records by a contract, whose columns the records hold already, unless cleaned rows are given."""
    compiled = compile_contract(contract)
    raw = raw_frame([dict(record) for record in records], compiled.raw_fields)
    return split_rows(
        compiled,
        raw,
        raw[[column.name for column in compiled.columns]] if cleaned is None else cleaned,
        window=DAY,
        window_column="at",
    )


def reasons(result: Split) -> dict[int, dict[str, str]]:
    """Give reasons by rule, by position."""
    return {
        row["position"]: dict(zip(row["rule_list"], row["reason_list"], strict=True))
        for row in result.bad.to_pylist()
    }


@pytest.mark.parametrize(
    ("field", "value", "name", "reason"),
    [
        ("eq", 2, "eq.equal_to", "eq must be 1"),
        ("ne", 1, "ne.not_equal_to", "ne must not be 1"),
        ("gt", 1.0, "gt.greater_than", "gt must be greater than 1"),
        ("ge", 0, "ge.greater_than_or_equal_to", "ge must be at least 1"),
        ("lt", "1.00", "lt.less_than", "lt must be less than 1"),
        ("le", 2, "le.less_than_or_equal_to", "le must be at most 1"),
        ("isin", "c", "isin.isin", "isin must be one of a, b"),
        ("str_matches", "a1", "str_matches.str_matches", "str_matches must match ^[a-z]+$"),
        ("str_length", "a", "str_length.str_length", "str_length must be 2 to 3 characters long"),
        ("str_length", "abcd", "str_length.str_length", "str_length must be 2 to 3 characters long"),
        ("own", "odd", "own.odd", "own is odd"),
        ("at", "2025-03-11T00:00:00Z", "at.window", "at is outside the window that was asked for"),
    ],
)
def test_every_kind_of_rule(field: str, value: Any, name: str, reason: str) -> None:
    bad = GOOD | {field: value} | ({"other": "odd"} if field == "own" else {})
    result = split(EveryRule, [GOOD, bad, GOOD])
    assert reasons(result) == {1: {name: reason}}
    assert result.good_positions.tolist() == [0, 2]
    assert result.warnings == {}


def test_rule_over_rows() -> None:
    result = split(EveryRule, [GOOD, GOOD | {"own": "x", "other": "z"}])
    assert reasons(result) == {1: {"agree": "own and other differ"}}


def test_warnings_are_counted_and_cost_nothing() -> None:
    records = [GOOD, GOOD | {"doubtful": "odd"}, GOOD | {"doubtful": "x"}]
    result = split(EveryRule, records)
    assert result.good_positions.tolist() == [0, 1, 2]
    assert result.warnings == {"doubtful.doubt": 1, "same": 1}
    assert result.warned == 2


def test_warned_rows_are_counted_even_when_another_rule_quarantines_them() -> None:
    result = split(EveryRule, [GOOD | {"doubtful": "odd", "eq": 2}])
    assert (result.good.num_rows, result.warnings, result.warned) == (0, {"doubtful.doubt": 1}, 1)


def test_missing_values_break_no_other_rule() -> None:
    result = split(EveryRule, [{"at": NOON}] * 3)
    assert reasons(result) == {}
    assert result.good.num_rows == 3


class EveryType(Contract):
    """One column of each type, none of which may be missing."""

    at: Timestamp = Field()
    text: str = Field()
    whole: int = Field()
    fraction: float = Field()
    flag: bool = Field()
    money: Decimal2 = Field()
    day: Date = Field()


TYPED = {
    "at": NOON,
    "text": "a",
    "whole": 7,
    "fraction": 0.5,
    "flag": True,
    "money": "1.25",
    "day": date(2025, 3, 10),
}


def test_types_are_settled_whatever_the_transform_gives() -> None:
    other = TYPED | {"text": 5, "whole": "8", "money": 1.5, "day": "2025-03-09"}
    result = split(EveryType, [TYPED, other])
    assert result.good.to_pylist() == [
        TYPED | {"at": datetime(2025, 3, 10, 12), "money": Decimal("1.25")},
        TYPED
        | {
            "at": datetime(2025, 3, 10, 12),
            "text": "5",
            "whole": 8,
            "money": Decimal("1.50"),
            "day": date(2025, 3, 9),
        },
    ]
    assert result.good.schema == compile_contract(EveryType).schema


@pytest.mark.parametrize("name", ["text", "whole", "fraction", "flag", "money", "day"])
def test_any_type_may_be_missing_from_a_row(name: str) -> None:
    result = split(EveryType, [TYPED, TYPED | {name: None}])
    assert reasons(result) == {1: {f"{name}.missing": f"{name} is missing"}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("whole", value) for value in ("x", 1.5, True, 2**64, [1])),
        *(("money", value) for value in ("x", True, "1e99")),
        *(("at", value) for value in ("x", 1741608000, 1.5)),
        *(("day", value) for value in ("x", 20157, True)),
    ],
)
def test_value_that_cannot_be_read_costs_its_row(name: str, value: Any) -> None:
    result = split(EveryType, [TYPED, TYPED | {name: value}])
    assert list(reasons(result)) == [1]
    assert f"{name}.parse" in reasons(result)[1]


@pytest.mark.parametrize("name", ["fraction", "flag"])
def test_type_without_a_parser_is_the_transforms_own_work(name: str) -> None:
    with pytest.raises(TransformError, match=f"column '{name}' does not hold values of type"):
        split(EveryType, [TYPED | {name: "x"}])


def test_large_integers_stay_exact_beside_missing_ones() -> None:
    result = split(EveryRule, [GOOD | {"ge": 2**62 + 1}, GOOD | {"ge": None}])
    assert result.good.column("ge").to_pylist() == [2**62 + 1, None]


def test_rows_may_come_back_in_another_order() -> None:
    records = [GOOD | {"ge": 5}, GOOD | {"ge": 0}, GOOD | {"ge": 7}]
    result = split(EveryRule, records, raw_frame(records, GOOD).iloc[::-1])
    assert list(reasons(result)) == [1]
    assert result.good.column("ge").to_pylist() == [5, 7]


def cleaned_rows() -> pd.DataFrame:
    """Give two good rows."""
    return raw_frame([GOOD, GOOD], GOOD)


@pytest.mark.parametrize(
    ("cleaned", "message"),
    [
        (cleaned_rows().iloc[:1], "the transform made 1 rows of 2"),
        (pd.concat([cleaned_rows()] * 2), "the transform made 4 rows of 2"),
        (cleaned_rows().set_index(pd.Index([5, 6])), "the transform made 2 rows of 2"),
        (cleaned_rows().set_index(pd.Index([0, 0])), "the transform made 2 rows of 2"),
        (cleaned_rows().drop(columns=["own", "other"]), "the transform's result misses own, other"),
        (cleaned_rows().assign(more=1), "the transform's result adds more"),
        ([GOOD, GOOD], "the transform returned list"),
    ],
)
def test_transform_that_breaks_its_promises(cleaned: Any, message: str) -> None:
    with pytest.raises(TransformError) as caught:
        split(EveryRule, [GOOD, GOOD], cleaned)
    assert caught.value.message == message
    assert caught.value.hint
    assert "\n" not in str(caught.value)


class Broken(Contract):
    """A rule that cannot be evaluated."""

    at: Timestamp = Field()
    name: str = Field()

    @rule("name", reason="never said")
    def fails(cls, names: pd.Series[Any]) -> pd.Series[Any]:
        raise ValueError(f"cannot judge {names.iloc[0]!r}")


def test_rule_that_fails_is_named_without_the_values() -> None:
    with pytest.raises(TransformError, match=r"^rule name\.fails cannot be evaluated: ") as caught:
        split(Broken, [{"at": NOON, "name": "Ada Lovelace"}])
    assert "Ada" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_raw_frame_has_every_field_that_any_record_has() -> None:
    frame = raw_frame([{"a": 1}, {"b": [1, 2]}, {"a": None, "c": {}}], ["z", "a"])
    assert list(frame.columns) == ["z", "a", "b", "c"]
    assert frame["a"].tolist() == [1, None, None]
    assert frame["b"].tolist() == [None, [1, 2], None]
    assert {str(kind) for kind in frame.dtypes} == {"object"}


VALUES = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
FIELDS = st.sampled_from("abcd")


@settings(deadline=None)
@given(
    records=st.lists(st.dictionaries(FIELDS, VALUES), max_size=5)
    | st.lists(st.fixed_dictionaries({"b": VALUES, "a": VALUES}), max_size=5),
    fields=st.lists(FIELDS, unique=True),
)
def test_raw_frame_is_the_same_whether_or_not_records_are_alike(
    records: list[dict[str, Any]], fields: list[str]
) -> None:
    frame = raw_frame(records, fields)
    names = list(dict.fromkeys([*fields, *(name for record in records for name in record)]))
    assert list(frame.columns) == names
    assert field_names(records) == tuple(dict.fromkeys(name for record in records for name in record))
    assert [list(row) for row in frame.itertuples(index=False)] == [
        [record.get(name) for name in names] for record in records
    ]
    assert {str(kind) for kind in frame.dtypes} <= {"object"}
    assert frame.index.equals(pd.RangeIndex(len(records)))


def test_records_that_are_no_objects_are_told_apart() -> None:
    records: list[Any] = [{"a": 1}, None, [], "x", {}, 5]
    assert separate_objects(records) == ([{"a": 1}, {}], [0, 4], [1, 2, 3, 5])


def test_version_of_a_contract_changes_with_its_rules() -> None:
    def version(**changes: Any) -> str:
        class Made(Contract):
            name: str = Field(**changes)

        return compile_contract(Made).version

    variants: list[dict[str, Any]] = [
        {},
        {"missing": "warn"},
        {"unique": True},
        {"raw": "Name"},
        {"default": "x"},
        {"isin": ["a"]},
        {"isin": ["a", "b"]},
        {"str_matches": "^a"},
    ]
    assert len({version(**variant) for variant in variants}) == len(variants)
    assert version() == version()


def test_schema_holds_times_as_utc_without_a_zone() -> None:
    assert compile_contract(EveryType).schema.field("at").type == pa.timestamp("us")
