"""JSON that tells whether it is still as it was written, by a digest of its own among its fields.

What belongs here: writing and reading it. What does not: what the fields mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

_CHECK = "check"


def to_checked_json(value: Mapping[str, Any]) -> bytes:
    """Write fields, and a digest of them."""
    plain = orjson.loads(orjson.dumps(value))
    return orjson.dumps({**plain, _CHECK: _digest(plain)}, option=orjson.OPT_INDENT_2)


def from_checked_json(content: bytes, *, required: bool = True) -> dict[str, Any]:
    """Read fields back.

    Args:
        content: What `to_checked_json` gave.
        required: Whether fields without a digest, as earlier versions wrote them, are refused.

    Raises:
        ValueError: If they are not as they were written.
    """
    value = orjson.loads(content)
    if not isinstance(value, dict):
        raise ValueError("it holds no fields")  # noqa: TRY004 - to readers, one kind of damage is like another
    check = value.pop(_CHECK, None)
    if check != _digest(value) and (required or check is not None):
        raise ValueError("its check sum differs")
    return value


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(value)).hexdigest()
