"""Declarations that do not make sense are refused at once, in one line that says what is wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.streams.base import (
    Append,
    Breaker,
    Contract,
    Cursor,
    Date,
    Decimal2,
    ErrorBudget,
    Field,
    Merge,
    Personal,
    ReplacePartition,
    Rest,
    RestSource,
    SchemaPolicy,
    Severity,
    Snapshot,
    Stream,
    Timestamp,
    Window,
    WindowParameters,
)
from etl_assets.streams.contract import FieldNotes
from etl_assets.streams.discovery import discover_streams

STREAMS = discover_streams()


class Sales(Contract):
    """Columns of every use."""

    sale_id: str = Field()
    place: str = Field(missing="allow")
    amount: Decimal2 = Field()
    day: Date = Field()
    sold_at: Timestamp = Field()
    changed_at: Timestamp = Field(missing="warn")


class Shouting(Contract):
    """A column that is no identifier."""

    SOLD: Timestamp = Field()


def unchanged(raw: pd.DataFrame) -> pd.DataFrame:
    """Give the rows as they are."""
    return raw


def rest(path: str = "/v1/sales") -> Rest:
    """Declare an extraction."""
    return Rest(path=path, window=WindowParameters("from", "to"), paginator=Cursor())


def stream(**changes: Any) -> Stream:
    """Declare a stream that makes sense, or does not."""
    parts: dict[str, Any] = {
        "source": RestSource(name="till"),
        "name": "sales",
        "owner": "team:sales",
        "extract": rest(),
        "contract": Sales,
        "transform": unchanged,
        "write": Merge(key="sale_id", version="sold_at"),
        "window_column": "sold_at",
        "business_date": "day",
    }
    return Stream(**(parts | changes))


def test_stream_that_makes_sense() -> None:
    assert stream().id == "till/sales"
    assert stream(write=ReplacePartition(), business_date="sold_at").budget == ErrorBudget()
    both = Merge(key=("sale_id", "day"), version="sold_at")
    assert stream(write=both).write == both
    assert both.key_columns == ("sale_id", "day")
    assert Merge(key="sale_id", version="sold_at").key_columns == ("sale_id",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Sales"}, "stream name 'Sales' must be lower-case letters, digits and underscores"),
        ({"name": ""}, "stream name '' must be"),
        ({"name": "1st"}, "stream name '1st' must be"),
        ({"name": "a-b"}, "stream name 'a-b' must be"),
        ({"name": "a/b"}, "stream name 'a/b' must be"),
        ({"name": 'x"; drop table y'}, "stream name"),
        ({"name": "a" * 64}, "stream name"),
        ({"source": RestSource(name="Till")}, "source name 'Till' must be"),
        ({"source": RestSource(name="../up")}, "source name '../up' must be"),
        ({"source": RestSource(name="etl")}, "source name 'etl' is reserved; choose another"),
        ({"source": RestSource(name="marts")}, "source name 'marts' is reserved"),
        ({"source": RestSource(name="main")}, "source name 'main' is reserved"),
        ({"extract": rest("v1/sales")}, "till/sales: path 'v1/sales' must start with one slash"),
        (
            {"extract": rest("//other.host/v1")},
            "till/sales: path '//other.host/v1' must start with one slash",
        ),
        ({"extract": rest("")}, "till/sales: path '' must start with one slash"),
        (
            {"budget": ErrorBudget(warn=0.2, fail=0.1)},
            "till/sales: error budget must be 0 <= warn <= fail <= 1",
        ),
        ({"budget": ErrorBudget(warn=-0.1)}, "till/sales: error budget"),
        ({"budget": ErrorBudget(fail=1.5)}, "till/sales: error budget"),
        ({"budget": ErrorBudget(fail=float("nan"))}, "till/sales: error budget"),
        (
            {"window_column": "when"},
            "till/sales: window_column names 'when', which its contract does not have",
        ),
        ({"window_column": "day"}, "till/sales: window_column 'day' must be a timestamp"),
        (
            {"window_column": "changed_at"},
            "till/sales: window_column column 'changed_at' must not allow missing",
        ),
        ({"business_date": "when"}, "till/sales: business_date names 'when'"),
        ({"business_date": "amount"}, "till/sales: business_date 'amount' must be a timestamp or a date"),
        (
            {"business_date": "changed_at"},
            "till/sales: business_date column 'changed_at' must not allow missing",
        ),
        (
            {"write": Merge(key="id", version="sold_at")},
            "till/sales: key names 'id', which its contract does not",
        ),
        (
            {"write": Merge(key="place", version="sold_at")},
            "till/sales: key column 'place' must not allow missing",
        ),
        ({"write": Merge(key=(), version="sold_at")}, "till/sales: merge needs a key"),
        ({"write": Merge(key="sale_id", version="rev")}, "till/sales: version names 'rev'"),
        (
            {"write": Merge(key="sale_id", version="changed_at")},
            "till/sales: version column 'changed_at' must not allow missing values",
        ),
        (
            {"contract": Shouting, "window_column": "SOLD", "business_date": "SOLD"},
            "till/sales: column 'SOLD' must be lower-case letters, digits, underscores",
        ),
    ],
)
def test_misdeclared_stream_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        stream(**changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


PRESENT = {"extract": Rest(path="/v1/sales", paginator=Cursor()), "window_column": None}
KEPT = Snapshot(key="sale_id")


@pytest.mark.parametrize(
    "changes",
    [
        {"write": KEPT, "business_date": None},
        {"write": KEPT},
        {"write": ReplacePartition(), "business_date": "day"},
    ],
)
def test_the_whole_present_makes_sense(changes: dict[str, Any]) -> None:
    declared = stream(**PRESENT | changes)
    day = date(2025, 1, 31)
    assert declared.extract.window_of(day) == Window.of_day(day)
    assert declared.extract.askable(day) == Window(
        datetime(2025, 1, 31, tzinfo=UTC), datetime(2025, 2, 2, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "till/sales: the whole present is written with Snapshot or ReplacePartition, not with Merge"),
        ({"write": Append()}, "till/sales: the whole present is written with .*, not with Append"),
        ({"write": KEPT, "window_column": "sold_at"}, "till/sales: window_column is given, but the whole"),
        ({"write": ReplacePartition(), "business_date": None}, "till/sales: business_date is missing"),
    ],
)
def test_what_does_not_go_with_the_whole_present(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        stream(**PRESENT | changes)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"overlap": timedelta(minutes=5)}, "without a window can have neither overlap nor lag"),
        ({"lag": timedelta(hours=1)}, "without a window can have neither overlap nor lag"),
        ({"present_until": timedelta(hours=-1)}, "present_until must not be negative"),
    ],
)
def test_an_extraction_that_makes_no_sense(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^path '/v1/sales'.*{message}"):
        Rest(path="/v1/sales", paginator=Cursor(), **parts)


def test_a_window_can_be_asked_for_at_any_time() -> None:
    assert rest().askable(date(2025, 1, 31)) is None


def test_column_of_a_type_that_cannot_be_loaded_is_refused() -> None:
    class Odd(Contract):
        sold_at: Timestamp = Field()
        lasted: pd.Timedelta = Field()

    with pytest.raises(
        ConfigurationError, match=r"^contract Odd: column 'lasted' has type .* \(use str, int"
    ):
        stream(contract=Odd, write=ReplacePartition(), window_column="sold_at", business_date="sold_at")


@pytest.mark.parametrize(
    "changes", [{"missing": "maybe"}, {"personal": "hide"}], ids=["severity", "personal"]
)
def test_unknown_words_in_a_field_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        Field(**changes)


def test_notes_of_a_field_survive_pandera() -> None:
    notes = FieldNotes(Severity.WARN, "Raw", "x", Personal.MASK)
    assert FieldNotes.from_metadata(notes.as_metadata()) == notes
    assert FieldNotes.from_metadata(None) == FieldNotes()


def test_window_is_the_utc_day_and_may_reach_back() -> None:
    day = date(2024, 2, 29)
    start = datetime(2024, 2, 29, tzinfo=UTC)
    assert Window.of_day(day) == Window(start, start + timedelta(days=1))
    assert Window.of_day(day).widened(timedelta(minutes=5)).start == start - timedelta(minutes=5)


@pytest.mark.parametrize("one", STREAMS.values(), ids=list(STREAMS))
def test_every_stream_says_what_it_holds(one: Stream) -> None:
    assert one.owner
    assert one.description.endswith(".")
    described = {name: column.description for name, column in one.contract.to_schema().columns.items()}
    assert [name for name, text in described.items() if not text] == []


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"failures": -1}, {"open_seconds": -0.1}])
def test_a_breaker_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="Breaker needs"):
        Breaker(**wrong)  # type: ignore[arg-type]


def test_unknown_fields_are_set_aside_unless_said_otherwise() -> None:
    assert stream().schema_changes is SchemaPolicy.FREEZE
    assert stream().ignored_fields == ()


class Buyers(Sales):
    """With somebody's name."""

    buyer: str = Field(missing="allow", personal="mask", raw="buyer_name")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_changes": "adapt"}, "schema_changes must be one of evolve, freeze, strict, not 'adapt'"),
        (
            {"schema_changes": SchemaPolicy.EVOLVE, "contract": Buyers},
            "would write new fields in clear beside personal data (buyer)",
        ),
        ({"ignored_fields": "etag"}, "ignored_fields must be names of raw fields"),
        ({"ignored_fields": ("etag", "")}, "ignored_fields must be names of raw fields"),
        ({"ignored_fields": ("etag", 5)}, "ignored_fields must be names of raw fields"),
        ({"ignored_fields": ("etag", "etag")}, "ignored_fields names 'etag' twice"),
        ({"ignored_fields": ("place",)}, "names 'place', which the contract reads for place"),
        (
            {"ignored_fields": ("buyer_name",), "contract": Buyers},
            "names 'buyer_name', which the contract reads for buyer",
        ),
    ],
)
def test_what_is_said_of_unknown_fields_must_make_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        stream(**changes)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_changes": SchemaPolicy.EVOLVE},
        {"schema_changes": SchemaPolicy.STRICT, "contract": Buyers},
        {"schema_changes": SchemaPolicy.FREEZE, "contract": Buyers, "ignored_fields": ("buyer", "e tag")},
    ],
    ids=["evolve", "strict", "ignored"],
)
def test_what_makes_sense_is_taken(changes: dict[str, Any]) -> None:
    assert stream(**changes).schema_changes is changes["schema_changes"]
