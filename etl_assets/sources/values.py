"""Values of databases and typed files as JSON, without loss.

What belongs here: one spelling per type. What does not: reading or interpreting anything.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**64 - 1


def json_values(column: Sequence[Any]) -> Sequence[Any]:
    """Give the values of a column as `json_value` gives each, without a call for each where all are plain already."""
    present = [value for value in column if value is not None] if None in column else column
    kinds = set(map(type, present))
    are_plain = _ARE_PLAIN.get(kinds.pop()) if len(kinds) == 1 else None
    if not present or (are_plain is not None and are_plain(present)):
        return column
    return [json_value(value) for value in column]


def json_value(value: Any) -> Any:
    """Give a value as JSON can hold it exactly.

    Decimals become plain text, instants RFC 3339 in UTC (one without a zone is taken to be in UTC), days and times
    ISO 8601, bytes base64. Numbers that JSON readers would bend (whole ones beyond 64 bits, not-a-number and
    infinity) become text, as does every type that is not known.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if kind is int:
        return value if _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER else str(value)
    if kind is float:
        return value if math.isfinite(value) else str(value)
    return _json_value_of_object(value)


def _json_value_of_object(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_value(item) for item in value]
    return json_value(str(value))


def instant(moment: datetime) -> str:
    """Write an instant as RFC 3339 in UTC; one without a zone is taken to be in UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _are_short_integers(values: Collection[int]) -> bool:
    return min(values) >= _SMALLEST_INTEGER and max(values) <= _LARGEST_INTEGER


def _are_finite(values: Collection[float]) -> bool:
    return all(map(math.isfinite, values))


def _are_unicode(values: Collection[str]) -> bool:
    """Tell whether texts are free of lone surrogates."""
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return False
    return True


_ARE_PLAIN: Mapping[type, Callable[[Any], bool]] = {
    bool: lambda values: True,
    int: _are_short_integers,
    float: _are_finite,
    str: _are_unicode,
}
"""Per type, whether values of it are spelled as they are."""
