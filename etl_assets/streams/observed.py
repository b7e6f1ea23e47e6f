"""What the records of a day were seen to have: fields that came, that stayed away, and of which kind values are.

What belongs here: plain values that staging hands to the commit by way of the staged manifest, and the one spelling of
a value whose type may widen. What does not: looking at records (`etl_assets.quality.observed`), and the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

OTHERS = "*"
"""Stands for all fields beyond those that are named one by one."""

EVOLVED_COLUMN = "_evolved"
"""Of staged files: values of columns that the contract does not know, by name."""

EXACT = 2**53
"""Up to here every integer is a double of its own."""

_INT64 = 2**63


class Kind(StrEnum):
    """Of which kind a value is, as far as the type of a column depends on it."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    """A whole number that a double holds exactly."""
    LARGE_INTEGER = "large_integer"
    """A whole number of 64 bits that a double may not hold."""
    NUMBER = "number"
    TEXT = "text"
    """Text, or what is kept as such: objects, lists, whole numbers beyond 64 bits."""


@dataclass(frozen=True, slots=True)
class ObservedField:
    """A raw field that the contract does not know.

    Attributes:
        rows: Records in which it has a value.
        kinds: Kinds of its values in rows that keep the contract.
        reason: Why it cannot become a column; empty where it can.
    """

    rows: int
    kinds: frozenset[Kind] = frozenset()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SetAside:
    """What one record has in fields that are not loaded: JSON text, personal data taken out."""

    row_number: int
    payload: str


@dataclass(frozen=True, slots=True)
class ObservedFields:
    """What a day's records have.

    Attributes:
        records: How many there are; nothing follows from none.
        absent: Fields that the contract reads and that no record has.
        unknown: Fields that the contract does not know and that are not ignored, by name; also such as never have a
            value. A name that does not look like one is masked.
        set_aside: The unknown fields of the first rows that have any, where they are not loaded.
    """

    records: int = 0
    absent: tuple[str, ...] = ()
    unknown: Mapping[str, ObservedField] = field(default_factory=dict)
    set_aside: tuple[SetAside, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give it as plain values."""
        return {
            "records": self.records,
            "absent": list(self.absent),
            "unknown": {
                name: {"rows": one.rows, "kinds": sorted(one.kinds), "reason": one.reason}
                for name, one in self.unknown.items()
            },
            "set_aside": [[one.row_number, one.payload] for one in self.set_aside],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ObservedFields:
        """Read what was written as JSON.

        Raises:
            KeyError, TypeError, ValueError: If it is damaged.
        """
        return cls(
            records=int(value["records"]),
            absent=tuple(value["absent"]),
            unknown={
                str(name): ObservedField(
                    int(one["rows"]), frozenset(map(Kind, one["kinds"])), str(one["reason"])
                )
                for name, one in value["unknown"].items()
            },
            set_aside=tuple(SetAside(int(number), str(payload)) for number, payload in value["set_aside"]),
        )


def is_blank(value: Any) -> bool:
    """Whether a raw value is missing: null, or text without anything in it."""
    return value is None or (isinstance(value, str) and not value.strip())


def kinds_of(values: Iterable[Any]) -> frozenset[Kind]:
    """Give the kinds of values, none of which is missing."""
    given = list(values)
    kinds = {_KINDS.get(kind, Kind.TEXT) for kind in set(map(type, given))}
    if Kind.INTEGER in kinds:
        integers = [value for value in given if type(value) is int]
        low, high = min(integers), max(integers)
        if low < -_INT64 or high >= _INT64:
            kinds.add(Kind.TEXT)
        if low < -EXACT or high > EXACT:
            kinds.add(Kind.LARGE_INTEGER)
    return frozenset(kinds)


_KINDS = {bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.NUMBER}


def text_of(value: Any) -> str:
    """Spell a value that is not missing, the same whether its column holds booleans, integers, doubles or text.

    A double without a fraction is spelled as the integer that it equals, because a column of doubles cannot tell the
    two apart; `etl_assets.warehouse.types.canonical_text` spells stored values alike.
    """
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return str(int(value)) if value.is_integer() and abs(value) <= EXACT else repr(value)
    if kind is int:
        return str(value)
    return _json(value)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, ValueError):
        pass
    try:
        # Integers beyond 64 bits, which orjson does not write.
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return '"nested too deeply to be kept here; see the landed answer"'
