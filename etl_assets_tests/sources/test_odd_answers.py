"""Answers that are good but odd: they must come through byte for byte, and neither a page nor a record may be lost."""

from __future__ import annotations

import gzip
import json
from datetime import date

import pytest

from etl_assets.sources.records import parse_body
from etl_assets.sources.rest import extract_pages
from etl_assets.streams.base import Cursor, Rest, Window, WindowParameters
from etl_assets_tests.sources.clients import open_client
from etl_assets_tests.sources.scripted import Reply, in_turn, scripted_server

DAY = Window.of_day(date(2025, 1, 1))
REST = Rest(path="/v1/rows", window=WindowParameters("from", "to"), paginator=Cursor(), records="data")
END = b'], "next_cursor": null}'
START = b'{"data": ['

ODD = {
    "a string of 1 MB": START + b'"' + b"x" * 1_000_000 + b'"' + END,
    "1 MB of what needs escapes": START + json.dumps('\\"\n\t' * 250_000).encode() + END,
    "1 MB of what takes four bytes each": START
    + json.dumps("\U0001f9ea" * 250_000, ensure_ascii=False).encode()
    + END,
    "right to left, combining, joined": START + '"\u202e\u0301\u200d\ufeff"'.encode() + END,
    "a null character": START + rb'"a\u0000b"' + END,
    "half of a surrogate pair": START + rb'"\ud800"' + END,
    "bytes that are no Unicode": START + b'"caf\xe9"' + END,
    "a byte order mark": b"\xef\xbb\xbf" + START + b"1" + END,
    "not a number": START + b'{"price": NaN}' + END,
    "endless": START + b'{"price": -Infinity}' + END,
    "beyond a double": START + b'{"price": 1e400}' + END,
    "a whole number of 400 digits": START + b"9" * 400 + END,
    "nested 500 deep": START + b"[" * 500 + b"]" * 500 + END,
    "a field twice": START + b'{"a": 1, "a": 2}' + END,
    "records that are no objects": START + b'null, 7, "text", []' + END,
    "spaces and line breaks": b" \r\n" + START + b"\n\t1 \n" + END + b"\n\n",
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
def test_an_odd_answer_is_kept_as_it_came(body: bytes, packed: bool) -> None:
    reply = Reply(gzip.compress(body), headers={"Content-Encoding": "gzip"}) if packed else Reply(body)
    with (
        scripted_server(in_turn(reply)) as server,
        open_client(server.url, maximum_body_bytes=4_000_000) as client,
    ):
        (page,) = extract_pages(client, REST, DAY)
    assert page.body == body
    assert page.records == len(parse_body(body)["data"]) >= 1
    assert len(server.asked) == 1


def test_a_record_that_comes_on_two_pages_is_kept_on_both() -> None:
    """Which one counts is for the contract and the merge to say; landing keeps what came."""
    replies = in_turn(
        Reply(b'{"data": [{"id": 1}, {"id": 2}], "next_cursor": "a"}'),
        Reply(b'{"data": [{"id": 2}, {"id": 3}], "next_cursor": null}'),
    )
    with scripted_server(replies) as server, open_client(server.url) as client:
        pages = list(extract_pages(client, REST, DAY))
    assert [page.records for page in pages] == [2, 2]
