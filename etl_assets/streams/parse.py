"""Turning raw fields into typed columns, for use in a stream's transform.

Every function takes a raw column (object values as in the source's JSON) and gives a typed one with the same index.
What cannot be parsed becomes missing; the platform sees that the raw field was there and quarantines the row with the
rule `parse`. All of them are vectorised.

What belongs here: parsing that any stream may need. What does not: rules (they are the contract's).
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_PLAIN_INTEGER = r"^[+-]?\d{1,19}$"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)
_PLAIN_INSTANT = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$"
# pandas reads more as a time than a source can mean by it, such as `2025`, `20250101` and `now`.
_INSTANT = (
    r"^(\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}([.,]\d+)?)?)?|$)|\d{8}T\d{6}([.,]\d+)?)"
    r" ?(Z|[+-]\d{2}(:?\d{2})?)?$"
)
_FRACTION = r"[.,](\d{1,6})\d*"
_FIRST_INSTANT, _LAST_INSTANT = (pd.Timestamp(f"{end}+00:00") for end in (datetime.min, datetime.max))
DIGITS = 18
"""Of the numbers that the project loads: as many as fit into 64 bits."""


def _strings(column: pd.Series[Any], *, strip: bool = True) -> pa.Array:
    """Give the column as Arrow strings; blank text is missing, other JSON values are spelled out."""
    try:
        strings = pa.Array.from_pandas(column, type=pa.string())
    except (pa.ArrowTypeError, pa.ArrowInvalid, UnicodeError):
        spelled = [None if _is_missing(value) else spell(value) for value in column]
        strings = pa.array(spelled, type=pa.string())
    strings = _in_one_piece(strings)
    trimmed = pc.utf8_trim_whitespace(strings)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed if strip else strings)


def _in_one_piece(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Give what pandas may have kept in several pieces as one."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def spell(value: object) -> str | None:
    """Write one value as text: a JSON value as in JSON, a lone surrogate, which UTF-8 does not have, as an escape.

    Returns:
        None for what cannot be written.
    """
    try:
        if isinstance(value, bool | dict | list):
            return json.dumps(value)
        text = str(value)
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
    except (TypeError, ValueError, RecursionError):
        return None


def _series(values: pa.Array, like: pd.Series[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype=pd.ArrowDtype(values.type), index=like.index, name=like.name)


def _nullable_integers(values: pa.Array) -> pd.api.extensions.ExtensionArray:
    """Give 64-bit integers as pandas' own, exactly.

    Where some are missing, pandas itself would go by way of floats and lose digits.
    """
    numbers = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    return pd.arrays.IntegerArray(numbers.copy(), pc.is_null(values).to_numpy(zero_copy_only=False))


def member(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Take one field out of a column of JSON objects, as a raw column.

    Args:
        column: Raw values; what is no object has no fields.
        name: Name of the field; where it is absent, the value is missing.
    """
    values = [value.get(name) if isinstance(value, dict) else None for value in column]
    return pd.Series(values, index=column.index, name=name, dtype=object)


def text(column: pd.Series[Any], *, strip: bool = True) -> pd.Series[Any]:
    """Parse text.

    Args:
        column: Raw values.
        strip: Whether white space around the text is dropped. Blank text is missing in any case.
    """
    return _text_series(_strings(column, strip=strip), column)


def _text_series(strings: pa.Array, like: pd.Series[Any]) -> pd.Series[Any]:
    values = strings.to_pandas()
    return pd.Series(values.array, index=like.index, name=like.name, dtype="str")


def integers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Parse whole numbers of 64 bits; `12`, `"12"` and `12.0` are fine, `12.5` is not."""
    plain_numbers = _plain_integers(column)
    if plain_numbers is not None:
        return pd.Series(_nullable_integers(plain_numbers), index=column.index, name=column.name)
    strings = _strings(column)
    strings = pc.replace_substring_regex(strings, r"^([+-]?\d+)\.0*$", r"\1")
    plain = pc.fill_null(pc.match_substring_regex(strings, _PLAIN_INTEGER), False)
    strings = pc.if_else(plain, strings, pa.scalar(None, pa.string()))
    longest = pc.match_substring_regex(strings, r"\d{19}")
    if pc.any(longest).as_py():
        strings = pc.if_else(_within_64_bits(strings), strings, pa.scalar(None, pa.string()))
    numbers = _nullable_integers(pc.cast(pc.replace_substring_regex(strings, r"^\+", ""), pa.int64()))
    return pd.Series(numbers, index=column.index, name=column.name)


def _plain_integers(column: pd.Series[Any]) -> pa.Array | None:
    """Give a column of nothing but JSON's whole numbers, which need not be spelled and read again; else None."""
    if pd.api.types.infer_dtype(column, skipna=True) != "integer":
        return None
    try:
        values = pa.Array.from_pandas(column, type=pa.int64())
    except (OverflowError, pa.ArrowInvalid):
        return None
    return _in_one_piece(values)


def _within_64_bits(digits: pa.Array) -> pa.Array:
    values = pc.cast(digits, pa.decimal128(19, 0))
    lowest, highest = (pa.scalar(Decimal(end), values.type) for end in (-(2**63), 2**63 - 1))
    return pc.and_(pc.greater_equal(values, lowest), pc.less_equal(values, highest))


def decimals(column: pd.Series[Any], *, places: int) -> pd.Series[Any]:
    """Parse decimal numbers exactly, rounding half to even when there are more places than asked for.

    Args:
        column: Raw values: decimal strings, or JSON numbers.
        places: Digits after the point; the result is an Arrow decimal of 18 digits.
    """
    strings = _strings(column)
    target = pa.decimal128(DIGITS, places)
    missing = pa.scalar(None, pa.string())
    fraction = rf"(\.\d{{1,{places}}})?" if places else ""
    fits = pc.match_substring_regex(strings, rf"^[+-]?\d{{1,{DIGITS - places}}}{fraction}$")
    fits = pc.fill_null(fits, False)
    parsed = pc.cast(pc.if_else(fits, strings, missing), target)
    rest = pc.and_(pc.is_valid(strings), pc.invert(fits))
    if pc.any(rest).as_py():
        # Exponents and surplus digits are rare, so that exactness may cost a Python loop over these rows only.
        slow = pa.array(
            [
                _exact(value, places) if odd else None
                for value, odd in zip(strings.to_pylist(), rest.to_pylist(), strict=True)
            ],
            type=target,
        )
        parsed = pc.coalesce(parsed, slow)
    return _series(parsed, column)


def _exact(value: str, places: int) -> Decimal | None:
    if not _NUMBER.fullmatch(value):
        return None
    try:
        # The context refuses what has more digits once it is rounded.
        return Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN, Context(DIGITS))
    except InvalidOperation:
        return None


def timestamps(column: pd.Series[Any]) -> pd.Series[Any]:
    """Parse RFC 3339 and other full ISO 8601 times into UTC; a time without a zone is read as UTC.

    Years are 1 to 9999. Digits beyond microseconds are cut off.
    """
    strings = _strings(column)
    if pc.all(pc.match_substring_regex(strings, _PLAIN_INSTANT)).as_py():
        parsed = _plainly_read(strings)
        if parsed is not None:
            return pd.Series(parsed, index=column.index, name=column.name)
    else:
        strings = _plain_instants(strings)
    parsed = pd.to_datetime(strings.to_pandas(), format="ISO8601", utc=True, errors="coerce")
    parsed = parsed.dt.as_unit("us")
    if parsed.min() < _FIRST_INSTANT or parsed.max() > _LAST_INSTANT:
        parsed = parsed.where(parsed.between(_FIRST_INSTANT, _LAST_INSTANT))
    return pd.Series(parsed.array, index=column.index, name=column.name)


def _plainly_read(strings: pa.Array) -> pd.api.extensions.ExtensionArray | None:
    """Read times that are written in the plainest way; None if one is no time, such as 30 February."""
    try:
        instants = pc.cast(pc.cast(strings, pa.timestamp("us", "UTC")), pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    if pc.any(pc.less(instants, pa.scalar(datetime.min, instants.type))).as_py():
        return None
    return pd.DatetimeIndex(instants.to_numpy(zero_copy_only=False)).tz_localize("UTC").array


def _plain_instants(strings: pa.Array) -> pa.Array:
    """Leave out what is no time, and write the rest in the one way that pandas reads well."""
    strings = pc.ascii_upper(strings)
    readable = pc.fill_null(pc.match_substring_regex(strings, _INSTANT), False)
    # Nanoseconds in one row would leave all others of the column the years 1677 to 2262 only.
    strings = pc.replace_substring_regex(strings, _FRACTION, r".\1")
    return pc.if_else(readable, strings, pa.scalar(None, pa.string()))


def days_of(column: pd.Series[Any]) -> pd.Series[Any]:
    """Give the UTC day of each timestamp."""
    instants = pa.Array.from_pandas(column)
    return _series(pc.cast(pc.cast(instants, pa.timestamp("us")), pa.date32(), safe=False), column)


def months_of(column: pd.Series[Any]) -> pd.Series[Any]:
    """Give the UTC month of each timestamp as text, `YYYY-MM`."""
    days = pc.cast(pa.Array.from_pandas(days_of(column)), pa.string())
    return _text_series(pc.utf8_slice_codeunits(days, 0, 7), column)


def product(left: pd.Series[Any], right: pd.Series[Any], *, places: int) -> pd.Series[Any]:
    """Multiply two numeric columns exactly into a decimal of 18 digits.

    Args:
        left: Integers or decimals.
        right: Integers or decimals.
        places: Digits after the point of the result; surplus digits are rounded half to even.

    A product that does not fit into 18 digits is missing.
    """
    factors = [pa.Array.from_pandas(factor) for factor in (left, right)]
    # The product of any two 64-bit integers needs more than 128 bits for its decimal digits.
    wide = all(pa.types.is_integer(factor.type) for factor in factors)
    exact = pc.multiply(*(_as_decimal(factor, wide=wide) for factor in factors))
    rounded = (
        pc.round(exact, ndigits=places, round_mode="half_to_even") if exact.type.scale > places else exact
    )
    limit = pa.scalar(Decimal(10) ** (DIGITS - places), rounded.type)
    fits = pc.less(pc.abs(rounded), limit)
    kept = pc.if_else(fits, rounded, pa.scalar(None, rounded.type))
    return _series(pc.cast(kept, pa.decimal128(DIGITS, places), safe=False), left)


def _as_decimal(values: pa.Array, *, wide: bool) -> pa.Array:
    values = _in_one_piece(values)
    if pa.types.is_decimal(values.type):
        return values
    return pc.cast(values, pa.decimal256(19, 0) if wide else pa.decimal128(19, 0))
