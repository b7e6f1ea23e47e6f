"""Every way of paging, against a real server that pages that way, and the answers that would cut a day short."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.sources.rest import extract_pages
from etl_assets.streams.base import (
    AfterSequence,
    Cursor,
    LinkHeader,
    NextUrl,
    OffsetLimit,
    PageNumber,
    Rest,
    Window,
    WindowParameters,
)
from etl_assets.streams.paging import AnsweredPage, NextPage, Paginator, PagingError, ShiftedPagesError
from etl_assets_tests.sources.clients import open_client
from etl_assets_tests.sources.scripted import Asked, Reply, Script, in_turn, scripted_server

DAY = Window.of_day(date(2025, 1, 1))
SIZE = 3
ROWS = [{"id": number} for number in range(8)]


def as_json(value: Any, **headers: str) -> Reply:
    return Reply(json.dumps(value).encode(), headers={"Content-Type": "application/json"} | headers)


def rest(paginator: Paginator, records: str | None = "data") -> Rest:
    return Rest(path="/v1/rows", window=WindowParameters("from", "to"), paginator=paginator, records=records)


def read(script: Script, declared: Rest) -> tuple[list[Any], list[Asked]]:
    """Read all records that a server gives."""
    with scripted_server(script) as server, open_client(server.url) as client:
        bodies = [json.loads(page.body) for page in extract_pages(client, declared, DAY)]
    records = [
        row for body in bodies for row in (body if declared.records is None else body[declared.records])
    ]
    return records, server.asked


def page_server(
    rows: list[Any], *, cap: int = 100, total: str | None = None
) -> Callable[[Asked, int], Reply]:
    """Serve rows by page number; `cap` is the largest page that the server is willing to give."""

    def script(asked: Asked, number: int) -> Reply:
        size = min(cap, int(asked.parameters["per_page"]))
        start = (int(asked.parameters["page"]) - 1) * size
        body: dict[str, Any] = {"data": rows[start : start + size]}
        if total is not None:
            body["meta"] = {total: -(-len(rows) // size)}
        return as_json(body)

    return script


def offset_server(rows: list[Any], *, cap: int = 100, total: bool = False) -> Callable[[Asked, int], Reply]:
    """Serve rows by offset."""

    def script(asked: Asked, number: int) -> Reply:
        start = int(asked.parameters["offset"])
        body: dict[str, Any] = {"data": rows[start : start + min(cap, int(asked.parameters["limit"]))]}
        return as_json(body | ({"total": len(rows)} if total else {}))

    return script


def url_server(asked: Asked, number: int) -> Reply:
    start = int(asked.parameters.get("skip", "0"))
    following = f"/v1/rows?skip={start + SIZE}" if start + SIZE < len(ROWS) else None
    return as_json({"data": ROWS[start : start + SIZE], "links": {"next": following}})


def odata_server(asked: Asked, number: int) -> Reply:
    start = int(asked.parameters.get("skip", "0"))
    more = {"@odata.nextLink": f"rows?skip={start + SIZE}"} if start + SIZE < len(ROWS) else {}
    return as_json({"data": ROWS[start : start + SIZE], **more})


def sequence_server(asked: Asked, number: int) -> Reply:
    after = int(asked.parameters.get("after_lsn", "-1"))
    page = [row for row in ROWS if row["id"] > after][: int(asked.parameters["limit"])]
    last = page[-1]["id"] if page else after
    return as_json({"data": page, "last_lsn": last, "has_more": last < ROWS[-1]["id"]})


def cursor_server(asked: Asked, number: int) -> Reply:
    start = int(asked.parameters.get("cursor", "0"))
    following = str(start + SIZE) if start + SIZE < len(ROWS) else None
    return as_json({"data": ROWS[start : start + SIZE], "paging": {"cursors": {"after": following}}})


WAYS: dict[str, tuple[Script, Paginator, int]] = {
    "page number, empty page": (page_server(ROWS), PageNumber(page_size=SIZE), 4),
    "page number, short page": (page_server(ROWS), PageNumber(page_size=SIZE, last="short"), 3),
    "page number, number of pages": (
        page_server(ROWS, total="pages"),
        PageNumber(page_size=SIZE, total_pages="meta.pages"),
        3,
    ),
    "page number, server gives less than asked for": (
        page_server(ROWS, cap=2),
        PageNumber(page_size=SIZE),
        5,
    ),
    "offset, empty page": (offset_server(ROWS), OffsetLimit(page_size=SIZE), 4),
    "offset, short page": (offset_server(ROWS), OffsetLimit(page_size=SIZE, last="short"), 3),
    "offset, total": (offset_server(ROWS, total=True), OffsetLimit(page_size=SIZE, total="total"), 3),
    "offset, server gives less than asked for": (
        offset_server(ROWS, cap=2, total=True),
        OffsetLimit(page_size=SIZE, total="total"),
        4,
    ),
    "next url": (url_server, NextUrl(field="links.next", page_size=SIZE), 3),
    "next url, dots in its name, missing on the last page": (
        odata_server,
        NextUrl(field="@odata.nextLink", may_be_missing=True),
        3,
    ),
    "after sequence": (sequence_server, AfterSequence(page_size=SIZE), 3),
    "cursor deep in the body": (cursor_server, Cursor(field="paging.cursors.after", page_size=SIZE), 3),
}


@pytest.mark.parametrize(("script", "paginator", "requests"), WAYS.values(), ids=WAYS.keys())
def test_every_way_gives_every_record_once(script: Script, paginator: Paginator, requests: int) -> None:
    records, asked = read(script, rest(paginator))
    assert records == ROWS
    assert len(asked) == requests
    assert all(request.path == "/v1/rows" for request in asked)


@pytest.mark.parametrize(
    "paginator",
    [PageNumber(page_size=4), OffsetLimit(page_size=4), OffsetLimit(page_size=4, last="short")],
    ids=["page number", "offset", "offset, short page"],
)
def test_a_number_of_records_that_fits_the_pages_exactly(paginator: Paginator) -> None:
    script = page_server(ROWS) if isinstance(paginator, PageNumber) else offset_server(ROWS)
    assert read(script, rest(paginator))[0] == ROWS


def test_windows_and_sizes_are_sent_with_every_page() -> None:
    _, asked = read(page_server(ROWS), rest(PageNumber(page_size=SIZE, first=1)))
    common = {"from": "2025-01-01T00:00:00Z", "to": "2025-01-02T00:00:00Z", "per_page": "3"}
    assert [request.parameters for request in asked] == [
        common | {"page": str(number)} for number in (1, 2, 3, 4)
    ]


def test_pages_can_be_counted_from_zero() -> None:
    def script(asked: Asked, number: int) -> Reply:
        return as_json({"data": ROWS[:1] if asked.parameters["page"] == "0" else [], "pages": 1})

    records, asked = read(script, rest(PageNumber(first=0, total_pages="pages")))
    assert (len(records), len(asked)) == (1, 1)


MIDDLE = {
    "page number": (
        [{"data": [1], "pages": 3}, {"data": [], "pages": 3}, {"data": [2], "pages": 3}],
        PageNumber(total_pages="pages"),
    ),
    "cursor": (
        [
            {"data": [1], "next_cursor": "a"},
            {"data": [], "next_cursor": "b"},
            {"data": [2], "next_cursor": None},
        ],
        Cursor(),
    ),
    "sequence": (
        [
            {"data": [1], "last_lsn": 5, "has_more": True},
            {"data": [], "last_lsn": 9, "has_more": True},
            {"data": [2], "last_lsn": 10, "has_more": False},
        ],
        AfterSequence(),
    ),
    "next url": (
        [{"data": [1], "next": "?p=2"}, {"data": [], "next": "?p=3"}, {"data": [2], "next": ""}],
        NextUrl(),
    ),
}


@pytest.mark.parametrize(("bodies", "paginator"), MIDDLE.values(), ids=MIDDLE.keys())
def test_an_empty_page_in_the_middle_is_not_the_end(bodies: list[Any], paginator: Paginator) -> None:
    assert read(in_turn(*map(as_json, bodies)), rest(paginator))[0] == [1, 2]


REMOVED = {
    "offset": (
        [{"data": [1, 2], "total": 4}, {"data": [4], "total": 3}],
        OffsetLimit(page_size=2, total="total"),
    ),
    "offset, nothing left": (
        [{"data": [1, 2], "total": 4}, {"data": [], "total": 4}],
        OffsetLimit(page_size=2, total="total"),
    ),
    "page number": (
        [{"data": [1, 2], "pages": 3}, {"data": [4], "pages": 2}],
        PageNumber(page_size=2, total_pages="pages"),
    ),
}


@pytest.mark.parametrize(("bodies", "paginator"), REMOVED.values(), ids=REMOVED.keys())
def test_records_removed_between_pages_make_the_day_be_read_again(
    bodies: list[Any], paginator: Paginator
) -> None:
    with pytest.raises(SourceError, match="changed while GET /v1/rows was read") as caught:
        read(in_turn(*map(as_json, bodies)), rest(paginator))
    assert caught.value.failure_class is FailureClass.TRANSIENT


def test_records_added_between_pages_are_read_as_well() -> None:
    bodies = [{"data": [1, 2], "total": 3}, {"data": [2, 3], "total": 4}]
    records, _ = read(in_turn(*map(as_json, bodies)), rest(OffsetLimit(page_size=2, total="total")))
    assert records == [1, 2, 2, 3], "a repeated record is the contract's and the merge's business"


BROKEN: dict[str, tuple[Paginator, list[Any]]] = {
    "no next url": (NextUrl(), [{"data": [1]}]),
    "next url is no text": (NextUrl(), [{"data": [1], "next": 7}]),
    "no total": (OffsetLimit(total="total"), [{"data": [1]}]),
    "total is text": (OffsetLimit(total="total"), [{"data": [1], "total": "many"}]),
    "total is true": (OffsetLimit(total="total"), [{"data": [1], "total": True}]),
    "total is negative": (OffsetLimit(total="total"), [{"data": [1], "total": -1}]),
    "no number of pages": (PageNumber(total_pages="meta.pages"), [{"data": [1], "meta": {}}]),
    "no has_more": (AfterSequence(), [{"data": [1], "last_lsn": 1}]),
    "has_more is text": (AfterSequence(), [{"data": [1], "last_lsn": 1, "has_more": "true"}]),
    "no last_lsn": (AfterSequence(), [{"data": [1], "has_more": True}]),
    "last_lsn is null": (AfterSequence(), [{"data": [1], "last_lsn": None, "has_more": True}]),
    "no cursor": (Cursor(field="paging.next"), [{"data": [1], "paging": None}]),
    "sequence stands still": (AfterSequence(), [{"data": [1], "last_lsn": 5, "has_more": True}] * 2),
    "sequence jumps back": (
        AfterSequence(),
        [
            {"data": [1], "last_lsn": 5, "has_more": True},
            {"data": [1], "last_lsn": 3, "has_more": True},
        ],
    ),
    "cursor jumps back": (
        Cursor(),
        [{"data": [1], "next_cursor": cursor} for cursor in ("a", "b", "a")],
    ),
    "next url jumps back": (
        NextUrl(),
        [{"data": [1], "next": address} for address in ("?p=2", "?p=3", "?p=2")],
    ),
}


@pytest.mark.parametrize(("paginator", "bodies"), BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_does_not_lead_on_is_permanent(paginator: Paginator, bodies: list[Any]) -> None:
    with pytest.raises(SourceError, match=r"another shape|in circles") as caught:
        read(in_turn(*map(as_json, bodies)), rest(paginator))
    assert caught.value.failure_class is FailureClass.PERMANENT


def test_a_next_url_on_another_host_is_never_asked() -> None:
    with scripted_server(in_turn(as_json({"data": []}))) as elsewhere:
        astray = as_json({"data": [1], "next": f"{elsewhere.url}/v1/rows?p=2"})
        with pytest.raises(SourceError, match="must not see the token"):
            read(in_turn(astray), rest(NextUrl()))
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("records", "body", "expected"),
    [
        ("result.items", {"result": {"items": [1]}}, [1]),
        ("result.items", {"result.items": [2], "result": {"items": [1]}}, [2]),
        ("a.b.c", {"a": {"b.c": [3]}}, [3]),
    ],
)
def test_records_are_found_by_a_dotted_path(records: str, body: Any, expected: list[int]) -> None:
    declared = rest(PageNumber(last="short"), records)
    with scripted_server(in_turn(as_json(body))) as server, open_client(server.url) as client:
        (page,) = extract_pages(client, declared, DAY)
    assert page.records == len(expected)


@pytest.mark.parametrize("body", [{}, {"result": []}, {"result": {"items": None}}, {"result": {"item": []}}])
def test_records_that_are_not_at_the_path_are_permanent(body: Any) -> None:
    with pytest.raises(SourceError, match=r"result\.items"):
        read(in_turn(as_json(body)), rest(Cursor(), "result.items"))


@pytest.mark.parametrize("kind", [Cursor, LinkHeader, NextUrl, PageNumber, OffsetLimit, AfterSequence])
def test_a_page_size_below_one_is_refused_when_it_is_declared(kind: Callable[..., Paginator]) -> None:
    with pytest.raises(ConfigurationError, match="page_size=0"):
        kind(page_size=0)


def test_only_ways_whose_places_stay_put_are_resumable() -> None:
    resumable = {
        kind.__name__
        for kind in (Cursor, LinkHeader, NextUrl, PageNumber, OffsetLimit, AfterSequence)
        if kind.resumable
    }
    assert resumable == {"Cursor", "AfterSequence"}


@pytest.mark.parametrize(("total_before", "raises"), [(None, False), (3, False), (4, False), (5, True)])
def test_only_a_shrinking_total_is_an_error(total_before: int | None, raises: bool) -> None:
    page = AnsweredPage({"total": 4}, {}, {"offset": "0"}, records=2, total=total_before)
    if raises:
        with pytest.raises(ShiftedPagesError):
            OffsetLimit(total="total").next_page(page)
    else:
        assert OffsetLimit(total="total").next_page(page) == NextPage({"offset": "2"}, total=4)


def test_a_shifted_page_is_a_paging_error_that_may_pass() -> None:
    assert issubclass(ShiftedPagesError, PagingError)
    assert ShiftedPagesError("x").failure_class is FailureClass.TRANSIENT
    assert PagingError("x").failure_class is FailureClass.PERMANENT
