"""Columns of Arrow, as ADBC's driver of PostgreSQL gives them, spelled like the values that psycopg gives.

What belongs here: one entry per type of PostgreSQL's for which the two are equal to the byte. What does not: types that
ADBC shortens or encodes otherwise (24:00 as a `time`, four-byte floats, arrays, enumerations, networks): who finds no
entry reads with psycopg.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.sources.values import json_value, json_values

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_NUMERIC_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""What the driver calls the numerics that have no digits, and what PostgreSQL and Python's decimals call them."""


class UnreadableValueError(ValueError):
    """A value that Python has no equal of; psycopg refuses it as well."""


class Kind(NamedTuple):
    """How a type of the database is read.

    Attributes:
        read: From Arrow to values of Python.
        spell: From there to values that orjson holds, a whole column at once.
        key: From a value that was read to the one that psycopg gives; not asked about NULL.
    """

    read: Callable[[pa.Array], list[Any]]
    spell: Callable[[list[Any]], Any] = lambda values: values
    key: Callable[[Any], Any] = lambda value: value


def kind_of(field: pa.Field) -> Kind | None:
    """Find how a column is read; None if its type is not among those whose values come out equal."""
    name: bytes = (field.metadata or {}).get(b"POSTGRESQL:type", b"")
    return _KINDS.get(name.decode())


def _plain(column: pa.Array) -> list[Any]:
    values: list[Any] = (column.storage if hasattr(column, "storage") else column).to_pylist()
    return values


def _moments(column: pa.Array) -> list[Any]:
    """Give dates or times, those with a zone in UTC but without saying so, as numpy does much faster than Arrow."""
    ends = pc.min_max(column.cast(pa.int64() if pa.types.is_timestamp(column.type) else pa.int32()))
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low is not None:
        in_microseconds = 1 if pa.types.is_timestamp(column.type) else 86_400_000_000
        first, last = (_microseconds(moment) for moment in (_FIRST, _LAST))
        if low * in_microseconds < first or high * in_microseconds > last:
            raise UnreadableValueError("a time that is not in the years 1 to 9999")
    values: list[Any] = column.to_numpy(zero_copy_only=False).astype(object).tolist()
    return values


def _microseconds(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _numerics(column: pa.Array) -> list[Any]:
    return [_NUMERIC_WORDS.get(value, value) for value in _plain(column)]


def _documents(values: list[Any]) -> list[Any]:
    return [None if value is None else json_value(json.loads(value)) for value in values]


def _identifiers(values: list[Any]) -> list[Any]:
    return [None if value is None else _identifier(value.hex()) for value in values]


def _identifier(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("bool", "int2", "int4", "int8", "text", "varchar", "bpchar", "name"), Kind(_plain)),
    "float8": Kind(_plain, json_values),
    "numeric": Kind(_numerics, key=Decimal),
    "date": Kind(_moments),
    "timestamp": Kind(_moments),
    "timestamptz": Kind(_moments, key=lambda value: value.replace(tzinfo=UTC)),
    "bytea": Kind(_plain, json_values),
    "uuid": Kind(_plain, _identifiers, key=lambda value: UUID(bytes=value)),
    "json": Kind(_plain, _documents, key=json.loads),
    "jsonb": Kind(_plain, _documents, key=json.loads),
}
