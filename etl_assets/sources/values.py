"""Values of databases and typed files as JSON, without loss.

What belongs here: one spelling per type. What does not: reading or interpreting anything.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**64 - 1


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
