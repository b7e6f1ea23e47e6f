"""Pages of both shops are complete, in order, without repeats; windows are half-open; the future is empty."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from etl_assets.demo.lines import Cursor, build_block, page_of
from etl_assets.demo.shop import CursorError, Line, seconds_of
from etl_assets_tests.demo.conftest import Api

WINDOWS = {
    "small": ("2010-12-01T00:00:00Z", "2010-12-04T00:00:00Z"),
    "generated": ("2025-01-10T00:00:00Z", "2025-01-12T00:00:00Z"),
}


@pytest.fixture(params=["small", "generated"])
def shop(request: pytest.FixtureRequest) -> tuple[Api, str, str]:
    """Each shop with a window that holds records."""
    api: Api = request.getfixturevalue(request.param)
    return (api, *WINDOWS[request.param])


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_line_pages_are_complete(shop: tuple[Api, str, str], limit: int) -> None:
    api, start, end = shop
    whole = api.all_lines(start, end)
    assert whole == sorted(whole, key=lambda line: (line["invoiced_at"], line["line_id"]))
    assert all(start <= str(line["invoiced_at"]) < end for line in whole)
    some = min(len(whole) - 1, 20 * limit)
    until = str(whole[some]["invoiced_at"])
    expected = [line for line in whole if str(line["invoiced_at"]) < until]
    assert api.all_lines(start, until, limit) == expected


def test_totals_are_those_of_the_whole_window(shop: tuple[Api, str, str]) -> None:
    api, start, end = shop
    whole = api.all_lines(start, end)
    border = str(whole[len(whole) // 3]["invoiced_at"])
    for first, last in ((start, end), (start, border), (border, end), (border, border)):
        told = api.get("/v1/order-lines", from_=first, to=last, limit=1)
        assert told.headers["x-total-count"] == str(len(api.all_lines(first, last)))
    orders = api.get("/v1/orders", updated_from=start, updated_to=end, per_page=1)
    assert orders.headers["x-total-count"] == str(len(api.all_orders(start, end)))


@pytest.mark.parametrize("per_page", [1, 3, 10])
def test_order_pages_are_complete(shop: tuple[Api, str, str], per_page: int) -> None:
    api, start, end = shop
    whole = api.all_orders(start, end)
    assert len(whole) > 3
    assert whole == sorted(whole, key=lambda order: (order["updated_at"], order["order_id"]))
    assert all(start <= str(order["updated_at"]) < end for order in whole)
    assert api.all_orders(start, end, per_page) == whole
    beyond = api.get("/v1/orders", updated_from=start, updated_to=end, page=10_000)
    assert beyond.json() == []
    assert "link" not in beyond.headers


def test_windows_are_half_open_and_add_up(shop: tuple[Api, str, str]) -> None:
    api, start, end = shop
    whole = api.all_lines(start, end)
    border = str(whole[len(whole) // 2]["invoiced_at"])
    before, after = api.all_lines(start, border), api.all_lines(border, end)
    assert before + after == whole
    assert after[0]["invoiced_at"] == border
    assert api.all_lines(border, border) == []
    # A bound between two seconds belongs to the later one.
    assert api.all_lines(border.replace("Z", ".5Z"), end)[0]["invoiced_at"] > border  # type: ignore[operator]
    whole_orders = api.all_orders(start, end)
    border = str(whole_orders[len(whole_orders) // 2]["updated_at"])
    assert api.all_orders(start, border) + api.all_orders(border, end) == whole_orders


def test_the_future_is_empty(shop: tuple[Api, str, str]) -> None:
    api, start, end = shop
    whole = api.all_lines(start, end)
    moment = str(whole[len(whole) // 2]["invoiced_at"])
    api.source.clock.set_fixed(datetime.fromisoformat(moment))
    assert api.all_lines(start, end) == [line for line in whole if str(line["invoiced_at"]) <= moment]
    assert all(str(order["updated_at"]) <= moment for order in api.all_orders(start, end))
    assert api.all_lines(end, "2099-01-01T00:00:00Z") == []
    assert api.all_orders(end, "2099-01-01T00:00:00Z") == []
    changes = api.get("/v1/products/changes", limit=5000, from_=start).json()["changes"]
    assert all(change["ts"] <= moment for change in changes)


def test_the_clock_completes_pending_orders(shop: tuple[Api, str, str]) -> None:
    api, start, _ = shop
    begin = datetime.fromisoformat(start)
    states = []
    for hours in (20, 200):
        api.source.clock.set_fixed(begin + timedelta(hours=hours))
        orders = api.all_orders(start, (begin + timedelta(days=9)).isoformat())
        created = begin.date().isoformat()
        states.append(
            {
                str(order["order_id"]): str(order["status"]).lower()
                for order in orders
                if str(order["created_at"]).startswith(created)
            }
        )
    early, late = states
    assert "pending" in early.values()
    assert "pending" not in late.values()
    assert {late[name] for name, status in early.items() if status == "pending"} <= {"completed", "on hold"}


def make_lines(*names: str) -> list[Line]:
    """Lines with the given ids, all at one moment."""
    return [Line(name, "1", "A", None, 1, "1", "2025-01-01T10:00:00Z", None, "EIRE") for name in names]


def line_ids(lines: list[Line], cursor: Cursor | None, limit: int) -> tuple[list[str], str | None]:
    """The ids on a page, and its cursor."""
    import orjson

    start = seconds_of("2025-01-01T00:00:00Z")
    page = page_of([build_block(lines, "2025-01-01")], start, start + 86_400, cursor, limit)
    return [line["line_id"] for line in orjson.loads(b"[" + page.body + b"]")], page.next_cursor


def test_a_cursor_stays_right_when_lines_are_added() -> None:
    seen, cursor = line_ids(make_lines("b", "d", "f"), None, 2)
    assert (seen, bool(cursor)) == (["b", "d"], True)
    rest, cursor = line_ids(make_lines("a", "b", "c", "d", "e", "f"), Cursor.decode(cursor or ""), 5)
    assert (rest, cursor) == (["e", "f"], None)


def test_a_repeated_line_is_neither_lost_nor_doubled_at_a_page_border() -> None:
    lines = make_lines("a", "b", "b", "b", "c")
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(5):
        page, cursor = line_ids(lines, Cursor.decode(cursor) if cursor else None, 1)
        seen += page
    assert seen == ["a", "b", "b", "b", "c"]
    assert cursor is None


def test_text_that_looks_like_a_record_border_is_cut_right() -> None:
    tricky = make_lines("a", "b", "c")
    tricky = [line._replace(description='},{"line_id":"x"},{') for line in tricky]
    assert line_ids(tricky, None, 2)[0] == ["a", "b"]


@pytest.mark.parametrize("text", ["x", "é", "MSAyMDI1", "MQ", "LTEg", "====", Cursor("a", 1).encode()])
def test_a_foreign_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        Cursor.decode(text)


def test_the_clock_keeps_its_zone() -> None:
    assert seconds_of("1970-01-02T00:00:01Z") == 86_401
    assert datetime.fromtimestamp(seconds_of("2025-06-01T12:00:00Z"), UTC).hour == 12
