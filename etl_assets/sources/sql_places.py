"""The place in a table where reading stopped, as text: the key of the last row that was read.

Values come back as the very values that the driver gave, so that the comparison with the key stays what it was. What
belongs here: writing and reading such a place. What does not: how values are spelled in a page
(`etl_assets.sources.values`).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import orjson


class SqlPlace(NamedTuple):
    """Where reading goes on.

    Attributes:
        page: Number of the last page that was read, from 1.
        key: Key of its last row; None before the first.
    """

    page: int
    key: tuple[Any, ...] | None


_KINDS: dict[type, tuple[str, Callable[[Any], str], Callable[[str], Any]]] = {
    int: ("int", str, int),
    str: ("text", str, str),
    float: ("float", float.hex, float.fromhex),
    Decimal: ("decimal", str, Decimal),
    datetime: ("timestamp", datetime.isoformat, datetime.fromisoformat),
    date: ("date", date.isoformat, date.fromisoformat),
    UUID: ("uuid", str, UUID),
    bytes: ("bytes", lambda value: b64encode(value).decode(), b64decode),
}
_READ = {name: read for name, _, read in _KINDS.values()}


def write_place(page: int, key: Sequence[Any]) -> str | None:
    """Write a place down; None if a value of the key is of a type that would not come back as it was.

    Args:
        page: Number of the page that ends there.
        key: Key of its last row.
    """
    values = []
    for value in key:
        kind = _KINDS.get(type(value))
        if kind is None:
            return None
        name, write, _ = kind
        values.append([name, write(value)])
    return orjson.dumps([page, values]).decode()


def read_place(text: str) -> SqlPlace:
    """Read what `write_place` wrote."""
    page, values = orjson.loads(text)
    return SqlPlace(page, tuple(_READ[name](value) for name, value in values))
