"""Parsing: exact against Python's own decimal and datetime, and missing rather than wrong."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl_assets.streams import parse

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)
NUMBERS = st.from_regex(r"\A[ ]?[+-]?[0-9]{0,20}\.?[0-9]{0,20}([eE][+-]?[0-9]{1,2})?[ ]?\Z")
TEXTS = st.text(max_size=12) | st.text("0123456789.+-eE _,", max_size=24) | NUMBERS


def raw(*values: Any) -> pd.Series[Any]:
    """Make a raw column, with an index that is not the usual one."""
    return pd.Series(list(values), dtype=object, index=range(7, 7 + len(values)), name="field")


def plain(column: pd.Series[Any]) -> list[Any]:
    """Give values as Python has them, missing ones as None."""
    return [None if pd.isna(value) else value for value in column]


def test_member_takes_a_field_out_of_objects() -> None:
    column = raw({"a": 1, "b": 2}, {"b": 2}, {"a": None}, None, "a", ["a"], {"a": {"a": 3}})
    found = parse.member(column, "a")
    assert found.tolist() == [1, None, None, None, None, None, {"a": 3}]
    assert (str(found.dtype), found.name, list(found.index)) == ("object", "a", list(column.index))


def exact_decimal(text: str, places: int) -> Decimal | None:
    """Read a decimal as Python does, as far as it fits into 18 digits."""
    text = text.strip()
    if not NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    if number and abs(number.adjusted()) > 60:
        return None if number.adjusted() > 0 else Decimal(0)
    return fitting(Fraction(number), places)


def fitting(number: Fraction, places: int) -> Decimal | None:
    """Round half to even, as fractions do; None when there are more than 18 digits then."""
    units = round(number * 10**places)
    return Decimal(units).scaleb(-places) if abs(units) < 10**18 else None


@given(values=st.lists(TEXTS, max_size=8), places=st.integers(0, 6))
@example(values=["999999999999999.9996", "999999999999999.9994"], places=3)
@example(values=["1_000", "\uff11", "NaN", "Infinity", "0e999", "1e-999999999", "1e999999999"], places=2)
@settings(deadline=None)
def test_decimals_are_exact(values: list[str], places: int) -> None:
    assert plain(parse.decimals(raw(*values), places=places)) == [
        exact_decimal(value, places) for value in values
    ]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(), max_size=8))
@settings(deadline=None)
def test_json_numbers_are_read_as_they_are_written(values: list[float]) -> None:
    found = plain(parse.decimals(raw(*values), places=3))
    assert found == [exact_decimal(str(value), 3) for value in values]


@given(values=st.lists(TEXTS | st.integers().map(str), max_size=8))
@example(values=["12.0", "12.", "12.5", "+12", "-0", "1e3", "1_0", "\u0663", "9" * 18, "9" * 19])
@example(values=[str(2**63 - 1), str(2**63), str(-(2**63)), str(-(2**63) - 1), "x"])
@settings(deadline=None)
def test_integers(values: list[str]) -> None:
    def expected(text: str) -> int | None:
        match = re.fullmatch(r"([+-]?\d{1,19})(\.0*)?", text.strip(), re.ASCII)
        return int(match[1]) if match and -(2**63) <= int(match[1]) < 2**63 else None

    assert plain(parse.integers(raw(*values))) == [expected(value) for value in values]


@given(st.lists(st.none() | st.integers() | st.integers(-(2**63), 2**63 - 1), max_size=8))
@example([2**63 - 1, -(2**63), None])
@example([2**63, 1])
@settings(deadline=None)
def test_json_integers(values: list[int | None]) -> None:
    expected = [value if value is None or -(2**63) <= value < 2**63 else None for value in values]
    assert plain(parse.integers(raw(*values))) == expected


@pytest.mark.parametrize("value", [True, False, [1], {"a": 1}, "", " ", None, float("nan"), 12.5, 1e300])
def test_what_is_no_integer_is_missing(value: Any) -> None:
    assert plain(parse.integers(raw(value, 1))) == [None, 1]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("2025-03-10T08:26:00Z", datetime(2025, 3, 10, 8, 26)),
        ("2025-03-10t08:26:00z", datetime(2025, 3, 10, 8, 26)),
        (" 2025-03-10T08:26:00Z ", datetime(2025, 3, 10, 8, 26)),
        ("2025-03-10 08:26:00+00:00", datetime(2025, 3, 10, 8, 26)),
        ("2025-03-10T08:26:00", datetime(2025, 3, 10, 8, 26)),
        ("2025-03-10T08:26", datetime(2025, 3, 10, 8, 26)),
        ("2025-03-10", datetime(2025, 3, 10)),
        ("20250310T082600Z", datetime(2025, 3, 10, 8, 26)),
        ("2025-03-10T01:00:00+02:30", datetime(2025, 3, 9, 22, 30)),
        ("2025-03-10T01:00:00-0500", datetime(2025, 3, 10, 6)),
        ("2025-03-10T08:26:00.5Z", datetime(2025, 3, 10, 8, 26, 0, 500000)),
        ("2025-03-10T08:26:00,25Z", datetime(2025, 3, 10, 8, 26, 0, 250000)),
        ("2025-03-10T08:26:00.123456789Z", datetime(2025, 3, 10, 8, 26, 0, 123456)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ],
)
def test_timestamp_is_read(value: str, wanted: datetime) -> None:
    found = plain(parse.timestamps(raw(value, "2025-03-10T00:00:00Z", "never")))
    assert found == [wanted.replace(tzinfo=UTC), datetime(2025, 3, 10, tzinfo=UTC), None]


@pytest.mark.parametrize(
    "value",
    [
        *("now", "today", "NaT", "never", "2025", "2025-03", "20250310", "2025031008", "1741593600"),
        *("10.03.2025", "03/10/2025", "2025-02-30", "2025-13-01", "2025-3-1", "2025-W10-1", "2025-069"),
        *("2025-03-10T24:00:01Z", "2025-03-10T08:60:00Z", "2025-03-10T08:00:00+25:00", "2025-03-10T"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00"),
        *("10000-01-01T00:00:00Z", "-0001-01-01", "2025-03-10T08:00:00Z junk", "\uff12025-03-10"),
        *(1741593600, 20250310, 1741593600.5, True, None, "", [2025, 3, 10]),
    ],
)
def test_what_is_no_time_is_missing(value: Any) -> None:
    assert plain(parse.timestamps(raw(value, "2025-03-10"))) == [None, datetime(2025, 3, 10, tzinfo=UTC)]


@given(
    moments=st.lists(
        st.datetimes(
            timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
        ),
        max_size=6,
    ),
    odd=st.text(max_size=10),
)
@settings(deadline=None)
def test_timestamps_are_exact_whatever_their_neighbours(moments: list[datetime], odd: str) -> None:
    def expected(moment: datetime) -> datetime | None:
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            return None

    values = [moment.isoformat() for moment in moments]
    found = plain(parse.timestamps(raw(*values, "2025-01-01T00:00:00.000000001Z", odd + "?")))
    assert found == [*(expected(moment) for moment in moments), datetime(2025, 1, 1, tzinfo=UTC), None]


@given(st.lists(st.none() | st.datetimes(), max_size=6), st.sampled_from(["seconds", "milliseconds", "auto"]))
@settings(deadline=None)
def test_timestamps_written_plainly_are_exact(moments: list[datetime | None], places: str) -> None:
    texts = [moment and moment.isoformat(timespec=places) + "Z" for moment in moments]
    expected = [text and datetime.fromisoformat(text) for text in texts]
    assert plain(parse.timestamps(raw(*texts))) == expected


@pytest.mark.parametrize("text", ["0000-12-31T23:59:59Z", "2025-02-30T00:00:00Z", "2025-03-10T25:00:00Z"])
def test_what_only_looks_like_a_time_is_missing(text: str) -> None:
    read = datetime(2025, 3, 10, 8, tzinfo=UTC)
    assert plain(parse.timestamps(raw(text, "2025-03-10T08:00:00Z"))) == [None, read]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("  a b ", "a b"),
        ("\u00a0a\u2003", "a"),
        ("", None),
        (" \t\r\n", None),
        (None, None),
        (float("nan"), None),
        ("NaN", "NaN"),
        ("None", "None"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        ([1, None], "[1, null]"),
        ({"a": "b"}, '{"a": "b"}'),
        ("\ud800x", "\\ud800x"),
        ("\x00", "\x00"),
    ],
)
def test_text(value: Any, wanted: str | None) -> None:
    assert plain(parse.text(raw(value, "other"))) == [wanted, "other"]


def test_text_may_keep_its_white_space() -> None:
    assert plain(parse.text(raw("  a ", " ", "\ud800 "), strip=False))[:2] == ["  a ", None]
    assert plain(parse.text(raw("  a ", " ", None), strip=False)) == ["  a ", None, None]


def test_days_and_months_are_those_of_utc() -> None:
    moments = parse.timestamps(
        raw("2025-03-01T00:30:00+01:00", "never", "0001-01-01", "1969-12-31T23:59:59Z")
    )
    assert plain(parse.days_of(moments)) == [date(2025, 2, 28), None, date(1, 1, 1), date(1969, 12, 31)]
    assert plain(parse.months_of(moments)) == ["2025-02", None, "0001-01", "1969-12"]


WHOLE = st.integers(-(2**63), 2**63 - 1)
DECIMALS = st.decimals(-(10**15) + 1, 10**15 - 1, places=3, allow_nan=False)


@given(st.lists(st.tuples(st.integers(-(10**9), 10**9) | WHOLE, DECIMALS), min_size=1, max_size=6))
@example([(1, Decimal("999999999999999.999")), (2, Decimal("500000000000000.000"))])
@settings(deadline=None)
def test_product_of_integers_and_decimals_is_exact(pairs: list[tuple[int, Decimal]]) -> None:
    left = parse.integers(raw(*(whole for whole, _ in pairs)))
    right = parse.decimals(raw(*(str(number) for _, number in pairs)), places=3)
    assert plain(parse.product(left, right, places=3)) == [
        fitting(whole * Fraction(number), 3) for whole, number in pairs
    ]


@given(st.lists(st.tuples(WHOLE, WHOLE | st.integers(-9, 9)), min_size=1, max_size=6))
@settings(deadline=None)
def test_product_of_integers_is_exact(pairs: list[tuple[int, int]]) -> None:
    left, right = (parse.integers(raw(*values)) for values in zip(*pairs, strict=True))
    assert plain(parse.product(left, right, places=0)) == [fitting(Fraction(a * b), 0) for a, b in pairs]


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [("1.005", "0.5", "0.50"), ("1.015", "1", "1.02"), ("1.025", "1", "1.02"), ("-1.015", "1", "-1.02")],
)
def test_product_rounds_half_to_even(left: str, right: str, wanted: str) -> None:
    factors = (parse.decimals(raw(value), places=3) for value in (left, right))
    assert plain(parse.product(*factors, places=2)) == [Decimal(wanted)]


def test_product_of_something_missing_is_missing() -> None:
    whole, number = parse.integers(raw(None, 2, 3)), parse.decimals(raw("1", None, "1.5"), places=3)
    assert plain(parse.product(whole, number, places=3)) == [None, None, Decimal("4.500")]


@pytest.mark.parametrize(
    "parser",
    [
        parse.text,
        parse.integers,
        parse.timestamps,
        lambda column: parse.decimals(column, places=2),
        lambda column: parse.days_of(parse.timestamps(column)),
        lambda column: parse.months_of(parse.timestamps(column)),
        lambda column: parse.product(parse.integers(column), parse.decimals(column, places=3), places=3),
    ],
)
@pytest.mark.parametrize("values", [(), (None,), (None, float("nan"), "")])
def test_columns_without_any_value(parser: Any, values: tuple[Any, ...]) -> None:
    column = raw(*values)
    parsed = parser(column)
    assert plain(parsed) == [None] * len(values)
    assert parsed.index.equals(column.index)
    assert parsed.name == "field"
