"""Going on where reading stopped: exactly the pages that follow are asked for."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from etl_assets.failures import FailureClass, SourceError
from etl_assets.sources.base import FirstTime, Page
from etl_assets.sources.rest import extract_pages
from etl_assets.sources.sql_places import read_place, write_place
from etl_assets.streams.base import (
    AfterSequence,
    Cursor,
    LinkHeader,
    OffsetLimit,
    PageNumber,
    Rest,
    Window,
    WindowParameters,
)
from etl_assets.streams.paging import Paginator
from etl_assets_tests.sources.clients import open_client
from etl_assets_tests.sources.databases import DAY, open_database, stock
from etl_assets_tests.sources.scripted import Asked, Reply, Script, scripted_server

WINDOW = Window.of_day(DAY)
ROWS = list(range(10))


@dataclass
class CutShort(FirstTime):
    """Pages that were read before reading stopped."""

    pages: list[Page]

    @property
    def resume(self) -> str | None:  # type: ignore[override]
        """See `Earlier`."""
        return self.pages[-1].resume

    @property
    def requests(self) -> list[str]:  # type: ignore[override]
        """See `Earlier`."""
        return [page.request for page in self.pages]


def cursor_script(asked: Asked, number: int) -> Reply:
    start = int(asked.parameters.get("cursor", "0"))
    following = str(start + 3) if start + 3 < len(ROWS) else None
    return Reply(json.dumps({"data": ROWS[start : start + 3], "next_cursor": following}).encode())


def sequence_script(asked: Asked, number: int) -> Reply:
    after = int(asked.parameters.get("after_lsn", "-1"))
    rows = [row for row in ROWS if row > after][:3]
    body = {"data": rows, "last_lsn": rows[-1], "has_more": rows[-1] < ROWS[-1]}
    return Reply(json.dumps(body).encode())


def offset_script(asked: Asked, number: int) -> Reply:
    start = int(asked.parameters.get("offset", asked.parameters.get("page", "0")))
    return Reply(json.dumps({"data": ROWS[start : start + 3], "total": len(ROWS)}).encode())


def rest(paginator: Paginator) -> Rest:
    return Rest(path="/v1/rows", window=WindowParameters("from", "to"), paginator=paginator, records="data")


WAYS: dict[str, tuple[Script, Rest]] = {
    "cursor": (cursor_script, rest(Cursor(page_size=3))),
    "sequence": (sequence_script, rest(AfterSequence(page_size=3))),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_rest_source_is_asked_for_the_pages_that_follow(way: str) -> None:
    script, declared = WAYS[way]
    with scripted_server(script) as server, open_client(server.url) as client:
        pages = list(extract_pages(client, declared, WINDOW))
        requests = [asked.parameters for asked in server.asked]
        assert pages[-1].resume is None
        for there in range(1, len(pages)):
            server.asked.clear()
            rest_of_it = list(extract_pages(client, declared, WINDOW, CutShort(pages[:there])))
            assert rest_of_it == pages[there:]
            assert [asked.parameters for asked in server.asked] == requests[there:]


@pytest.mark.parametrize(
    "declared",
    [
        rest(OffsetLimit(page_size=3, total="total")),
        rest(PageNumber(page_size=3)),
        rest(LinkHeader(page_size=3)),
        replace(rest(Cursor(page_size=3)), window=None),
    ],
    ids=["offset", "page number", "link", "the whole present"],
)
def test_what_would_shift_is_read_from_the_beginning(declared: Rest) -> None:
    script = cursor_script if declared.window is None else offset_script
    with scripted_server(script) as server, open_client(server.url) as client:
        pages = extract_pages(client, declared, WINDOW)
        assert next(pages).resume is None


def test_paging_in_circles_is_noticed_across_a_cut() -> None:
    def script(asked: Asked, number: int) -> Reply:
        following = {None: "a", "a": "b", "b": "a"}[asked.parameters.get("cursor")]
        return Reply(json.dumps({"data": [1], "next_cursor": following}).encode())

    with scripted_server(script) as server, open_client(server.url) as client:
        pages = extract_pages(client, rest(Cursor()), WINDOW)
        there = [next(pages) for _ in range(2)]
        with pytest.raises(SourceError, match="in circles") as caught:
            list(extract_pages(client, rest(Cursor()), WINDOW, CutShort(there)))
    assert caught.value.failure_class is FailureClass.PERMANENT
    assert [asked.parameters.get("cursor") for asked in server.asked] == [None, "a", "b"]


def test_the_bound_on_pages_counts_those_before_the_cut() -> None:
    def script(asked: Asked, number: int) -> Reply:
        return Reply(json.dumps({"data": [1], "next_cursor": f"c{number}"}).encode())

    with scripted_server(script) as server, open_client(server.url) as client:
        pages = extract_pages(client, rest(Cursor()), WINDOW)
        there = [next(pages) for _ in range(4)]
        with pytest.raises(SourceError, match="more than 6 pages"):
            list(extract_pages(client, rest(Cursor()), WINDOW, CutShort(there), maximum_pages=6))
    assert len(server.asked) == 6


def test_a_database_is_read_on_after_the_last_key(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'erp.db'}"
    with closing(sqlite3.connect(tmp_path / "erp.db")) as database, database:
        database.execute("CREATE TABLE stock_levels (warehouse TEXT, sku INT, level REAL, counted_at TEXT)")
        database.executemany(
            "INSERT INTO stock_levels VALUES (?, ?, ?, ?)",
            [("a'b" if row < 4 else "c", row, row / 3, f"{DAY} 10:00:00") for row in ROWS],
        )
    with open_database(url) as reader:
        pages = list(reader.pages(stock(), DAY))
        assert [page.records for page in pages] == [3, 3, 3, 1]
        for there in range(1, len(pages)):
            assert list(reader.pages(stock(), DAY, CutShort(pages[:there]))) == pages[there:]
        assert "erp.db" in reader.address


@pytest.mark.parametrize(
    "value",
    [
        0,
        -(2**70),
        "",
        "a'b\n\N{SNOWMAN}",
        0.1,
        -0.0,
        float("inf"),
        Decimal("1.20"),
        date(2025, 1, 31),
        datetime(2025, 1, 31, 12, 30, 1, 999999),
        datetime(2025, 1, 31, tzinfo=UTC),
        datetime(2025, 1, 31, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        UUID(int=7),
        b"\x00\xff",
    ],
    ids=repr,
)
def test_a_key_comes_back_as_it_was(value: Any) -> None:
    text = write_place(3, (value, "x"))
    assert text is not None
    place = read_place(text)
    assert (place.page, place.key) == (3, (value, "x"))
    assert place.key is not None
    assert type(place.key[0]) is type(value)


@pytest.mark.parametrize("value", [None, True, timedelta(1), (1,), frozenset()], ids=repr)
def test_a_key_of_another_kind_is_not_gone_on_from(value: Any) -> None:
    assert write_place(1, (1, value)) is None
