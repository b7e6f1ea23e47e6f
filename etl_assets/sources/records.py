"""From the bytes of an answer to its records.

What belongs here: decoding JSON, and finding the array of records in it. What does not: requests, paging, and
what a record means.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import structlog

from etl_assets.failures import EtlError, FailureClass
from etl_assets.streams.fields import field_at

log = structlog.get_logger(__name__)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class NotJsonError(EtlError):
    """An answer is not JSON: a proxy's page, or cut off. Another attempt may get the real one."""

    failure_class = FailureClass.TRANSIENT


class EnvelopeError(EtlError):
    """An answer is JSON, but the records are not where they should be."""


def parse_body(body: bytes) -> Any:
    """Decode the JSON of an answer.

    What strict JSON forbids but sources do send costs a row, not the page: `NaN`, `Infinity` and numbers
    beyond a double (`1e400`) become text, and bytes or escapes that are no Unicode become visible escapes, so
    that the contract can quarantine such a row.

    Args:
        body: The body as it came, decompressed.

    Raises:
        NotJsonError: If it is not JSON, or is cut off.
        EnvelopeError: If it is nested too deeply to be read.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        value = parse_leniently(body)
    log.warning("answer_read_leniently", bytes=len(body))
    return value


def select_records(body: Any, field: str | None) -> list[Any]:
    """Find the records in a decoded answer.

    Args:
        body: The decoded answer.
        field: Dotted path of the field that holds them; None when the answer is the array itself.

    Raises:
        EnvelopeError: If there is no such array.
    """
    if field is None:
        if not isinstance(body, list):
            raise EnvelopeError(f"the answer should be an array of records, but is {_kind(body)}")
        return body
    if not isinstance(body, dict):
        raise EnvelopeError(f"the answer should be an object with the field {field!r}, but is {_kind(body)}")
    try:
        records = field_at(body, field)
    except LookupError:
        raise EnvelopeError(f"the answer lacks the field {field!r} that should hold the records") from None
    if not isinstance(records, list):
        raise EnvelopeError(f"the answer's field {field!r} should be an array, but is {_kind(records)}")
    return records


def parse_leniently(body: bytes) -> Any:
    """Decode what strict JSON forbids but sources do send; see `parse_body`."""
    text = body.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", errors="surrogateescape")
    try:
        value = json.loads(text, parse_constant=str, parse_float=_float_or_text)
        value = _without_surrogates(value)
    except RecursionError as error:
        raise EnvelopeError("the answer is nested too deeply to be read") from error
    except ValueError as error:
        raise NotJsonError("the answer is not JSON, or was cut off") from error
    return value


def _float_or_text(number: str) -> float | str:
    value = float(number)
    return value if math.isfinite(value) else number


def _without_surrogates(value: Any) -> Any:
    """Replace lone surrogates by escapes: no database and no file format can hold them."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return value


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
