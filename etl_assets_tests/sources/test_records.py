"""From bytes to records: what strict JSON forbids costs a row at most."""

from __future__ import annotations

from typing import Any

import pytest

from etl_assets.failures import FailureClass
from etl_assets.sources.records import EnvelopeError, NotJsonError, parse_body, select_records


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'[1, "a", null, true, 1.5]', [1, "a", None, True, 1.5]),
        (b"[NaN, Infinity, -Infinity]", ["NaN", "Infinity", "-Infinity"]),
        (b"[1e400, -1e400, 1e3]", ["1e400", "-1e400", 1000.0]),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'["caf\xe9", "caf\xc3\xa9"]', ["caf\\udce9", "café"]),
        (b'["\\ud800", "\\ud83d\\ude00"]', ["\\ud800", "\U0001f600"]),
        (b'[NaN, {"caf\xe9": ["\\udfff"]}]', ["NaN", {"caf\\udce9": ["\\udfff"]}]),
    ],
)
def test_bodies_are_read(body: bytes, value: Any) -> None:
    assert parse_body(body) == value


@pytest.mark.parametrize(
    "body", [b"", b"<html></html>", b'{"data": [1, 2', b"[1] [2]", b"\x00\xff", b"{'a': 1}", b"nan"]
)
def test_what_is_no_json_may_pass_by_itself(body: bytes) -> None:
    with pytest.raises(NotJsonError) as caught:
        parse_body(body)
    assert caught.value.failure_class is FailureClass.TRANSIENT


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="too deeply"):
        parse_body(b"[" * 200_000 + b"]" * 200_000)


def test_records_are_found() -> None:
    assert select_records([1, 2], None) == [1, 2]
    assert select_records({"data": [1], "other": 2}, "data") == [1]


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, None), ([], "data"), ({}, "data"), ({"data": {}}, "data"), (None, "data"), (True, None)],
)
def test_records_that_are_not_there_are_an_error(body: Any, field: str | None) -> None:
    with pytest.raises(EnvelopeError) as caught:
        select_records(body, field)
    assert caught.value.failure_class is FailureClass.PERMANENT
