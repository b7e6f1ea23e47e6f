"""Extraction of a window, page by page."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from etl_assets.failures import FailureClass, SourceError
from etl_assets.sources.rest import extract_pages
from etl_assets.streams.base import Cursor, LinkHeader, Rest, Window, WindowParameters
from etl_assets_tests.sources.clients import open_client
from etl_assets_tests.sources.scripted import Asked, Reply, in_turn, scripted_server

DAY = Window.of_day(date(2025, 1, 1))
LINES = Rest(
    path="/v1/order-lines",
    window=WindowParameters("from", "to"),
    paginator=Cursor(page_size=2),
    records="data",
    parameters={"expand": "all"},
)
ORDERS = Rest(
    path="/v1/orders",
    window=WindowParameters("updated_from", "updated_to"),
    paginator=LinkHeader(page_size=2),
    overlap=timedelta(minutes=5),
)
ROWS = [{"line_id": str(number)} for number in range(5)]


def cursor_script(asked: Asked, number: int) -> Reply:
    """Serve ROWS two at a time behind an opaque cursor."""
    start = int(asked.parameters.get("cursor", "c0")[1:])
    following = f"c{start + 2}" if start + 2 < len(ROWS) else None
    return Reply(json.dumps({"data": ROWS[start : start + 2], "next_cursor": following}).encode())


def link_reply(records: list[object], address: str | None) -> Reply:
    headers = {"Content-Type": "application/json"}
    if address is not None:
        headers["Link"] = f'<{address}>; rel="next", </v1/orders?page=9>; rel="last"'
    return Reply(json.dumps(records).encode(), headers=headers)


def test_cursor_pages_come_in_order_and_byte_for_byte() -> None:
    with scripted_server(cursor_script) as server, open_client(server.url) as client:
        pages = list(extract_pages(client, LINES, DAY))
    assert [page.records for page in pages] == [2, 2, 1]
    assert [row for page in pages for row in json.loads(page.body)["data"]] == ROWS
    asked = {"expand": "all", "from": "2025-01-01T00:00:00Z", "to": "2025-01-02T00:00:00Z", "limit": "2"}
    assert [request.parameters for request in server.asked] == [
        asked,
        asked | {"cursor": "c2"},
        asked | {"cursor": "c4"},
    ]
    assert "127.0.0.1" not in pages[0].label
    assert pages[2].label.endswith("cursor=c4")


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(
    "address", ["{url}{prefix}/v1/orders?page=2", "{prefix}/v1/orders?page=2", "?page=2", "orders?page=2"]
)
def test_link_pages_are_followed_absolute_and_relative(address: str, prefix: str) -> None:
    def script(asked: Asked, number: int) -> Reply:
        if "page" in asked.parameters:
            return link_reply([3], None)
        return link_reply([1, 2], address.format(url=server.url, prefix=prefix))

    with scripted_server(script) as server, open_client(server.url + prefix) as client:
        pages = list(extract_pages(client, ORDERS, ORDERS.window_of(date(2025, 1, 1))))
    assert [page.records for page in pages] == [2, 1]
    first, second = server.asked
    assert first.parameters == {
        "updated_from": "2024-12-31T23:55:00Z",
        "updated_to": "2025-01-02T00:00:00Z",
        "per_page": "2",
    }
    assert (second.path, second.parameters) == (f"{prefix}/v1/orders", {"page": "2"})


@pytest.mark.parametrize(("rest", "body"), [(LINES, b'{"data": [], "next_cursor": null}'), (ORDERS, b"[]")])
def test_an_empty_answer_is_one_empty_page(rest: Rest, body: bytes) -> None:
    with scripted_server(in_turn(Reply(body))) as server, open_client(server.url) as client:
        assert [(page.body, page.records) for page in extract_pages(client, rest, DAY)] == [(body, 0)]


@pytest.mark.parametrize(
    ("rest", "body"),
    [
        (LINES, b"[]"),
        (LINES, b"{}"),
        (LINES, b'{"data": null}'),
        (LINES, b'{"data": {"0": 1}}'),
        (LINES, b'{"items": []}'),
        (LINES, b'"data"'),
        (LINES, b"null"),
        (LINES, b'{"data": []}'),
        (ORDERS, b"{}"),
        (ORDERS, b'{"data": []}'),
        (ORDERS, b"7"),
    ],
)
def test_another_shape_is_permanent_and_says_what_was_expected(rest: Rest, body: bytes) -> None:
    with (
        scripted_server(in_turn(Reply(body))) as server,
        open_client(server.url) as client,
        pytest.raises(
            SourceError, match=f"GET {rest.path} in another shape: .*(array|lacks|object|next_cursor)"
        ) as caught,
    ):
        list(extract_pages(client, rest, DAY))
    assert caught.value.failure_class is FailureClass.PERMANENT
    assert len(server.asked) == 1


def test_a_repeated_cursor_ends_with_an_error() -> None:
    same = Reply(b'{"data": [1], "next_cursor": "again"}')
    with (
        scripted_server(in_turn(same)) as server,
        open_client(server.url) as client,
        pytest.raises(SourceError, match="in circles") as caught,
    ):
        list(extract_pages(client, LINES, DAY))
    assert caught.value.failure_class is FailureClass.PERMANENT
    assert len(server.asked) == 2


def test_two_pages_that_point_at_each_other_end_with_an_error() -> None:
    replies = [link_reply([1], "/v1/orders?page=2"), link_reply([2], "/v1/orders?page=1")]
    with (
        scripted_server(lambda asked, number: replies[number % 2]) as server,
        open_client(server.url) as client,
        pytest.raises(SourceError, match="in circles"),
    ):
        list(extract_pages(client, ORDERS, DAY))
    assert len(server.asked) <= 4


def test_ever_new_cursors_end_with_an_error() -> None:
    def script(asked: Asked, number: int) -> Reply:
        return Reply(b'{"data": [1], "next_cursor": "c%d"}' % number)

    with (
        scripted_server(script) as server,
        open_client(server.url) as client,
        pytest.raises(SourceError, match="more than 10 pages"),
    ):
        list(extract_pages(client, LINES, DAY, maximum_pages=10))
    assert len(server.asked) == 10


def test_a_next_page_on_another_host_is_refused_and_never_asked() -> None:
    with scripted_server(in_turn(Reply(b"[]"))) as elsewhere:
        astray = link_reply([1], f"{elsewhere.url}/v1/orders?page=2")
        with (
            scripted_server(in_turn(astray)) as server,
            open_client(server.url) as client,
            pytest.raises(SourceError, match="must not see the token") as caught,
        ):
            list(extract_pages(client, ORDERS, DAY))
    assert caught.value.failure_class is FailureClass.PERMANENT
    assert elsewhere.asked == []


def test_a_failure_on_a_later_page_is_repeated_there_alone() -> None:
    def script(asked: Asked, number: int) -> Reply:
        return Reply(status=503) if number == 1 else cursor_script(asked, number)

    with scripted_server(script) as server, open_client(server.url) as client:
        assert sum(page.records for page in extract_pages(client, LINES, DAY)) == 5
    assert [asked.parameters.get("cursor") for asked in server.asked] == [None, "c2", "c2", "c4"]


def test_a_number_that_json_forbids_costs_no_page() -> None:
    body = b'{"data": [{"unit_price": NaN}, {"unit_price": 1e400}, {"unit_price": 1.5}], "next_cursor": null}'
    with scripted_server(in_turn(Reply(body))) as server, open_client(server.url) as client:
        (page,) = extract_pages(client, LINES, DAY)
    assert (page.body, page.records) == (body, 3)
