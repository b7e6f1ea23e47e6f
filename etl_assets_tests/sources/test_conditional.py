"""Conditional requests: what has not changed is not transferred, and what comes out is the same as without them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.failures import FailureClass, SourceError
from etl_assets.landing.earlier import EarlierAnswers
from etl_assets.landing.store import LandedPartition, Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets.pipeline.extraction import add_pages
from etl_assets.sources.client import SourceClient
from etl_assets.sources.conditional import MAXIMUM_HEADER_LENGTH, conditions_of, kept_headers
from etl_assets.sources.rest import extract_pages
from etl_assets.streams.base import Cursor, LinkHeader, Rest, Window, WindowParameters
from etl_assets_tests.sources.clients import TOKEN, open_client
from etl_assets_tests.sources.scripted import Asked, Reply, Script, ScriptedServer, scripted_server

DAY = date(2025, 1, 1)
WINDOW = Window.of_day(DAY)
BY_CURSOR = Rest(path="/v1/rows", window=WindowParameters("from", "to"), paginator=Cursor(), records="data")
BY_LINK = replace(BY_CURSOR, paginator=LinkHeader(), records=None)
NOON, A_SECOND_LATER = "Wed, 01 Jan 2025 12:00:00 GMT", "Wed, 01 Jan 2025 12:00:01 GMT"
TAG = '"abc"'


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({}, {}),
        ({"content-type": "application/json"}, {}),
        ({"etag": TAG}, {"etag": TAG}),
        ({"etag": 'W/"abc"'}, {"etag": 'W/"abc"'}),
        ({"etag": "unquoted"}, {"etag": "unquoted"}),
        ({"link": "</x>; rel=next"}, {}),
        ({"etag": TAG, "link": "</x>; rel=next"}, {"etag": TAG, "link": "</x>; rel=next"}),
        ({"last-modified": NOON, "date": A_SECOND_LATER}, {"last-modified": NOON}),
        ({"last-modified": NOON, "date": NOON}, {}),
        ({"last-modified": NOON}, {}),
        ({"last-modified": "yesterday", "date": NOON}, {}),
        ({"etag": TAG, "last-modified": NOON, "date": NOON}, {"etag": TAG}),
        ({"etag": ""}, {}),
        ({"etag": '"\N{SNOWMAN}"'}, {}),
        ({"etag": '"a\tb"'}, {}),
        ({"etag": "x" * MAXIMUM_HEADER_LENGTH}, {"etag": "x" * MAXIMUM_HEADER_LENGTH}),
        ({"etag": "x" * (MAXIMUM_HEADER_LENGTH + 1)}, {}),
        ({"etag": TAG, "link": "x" * (MAXIMUM_HEADER_LENGTH + 1)}, {}),
        ({"etag": '"secret"'}, {}),
        ({"etag": TAG, "link": "</x?key=secret>; rel=next"}, {}),
    ],
)
def test_headers_that_are_kept(headers: Mapping[str, str], kept: Mapping[str, str]) -> None:
    assert kept_headers(headers, ["link"], lambda text: "secret" in text) == kept


def test_conditions_are_made_of_validators_alone() -> None:
    assert conditions_of({}) == {}
    assert conditions_of({"etag": TAG, "link": "</x>"}) == {"if-none-match": TAG}
    assert conditions_of({"last-modified": NOON}) == {"if-modified-since": NOON}


class Shop:
    """Rows on two pages, by cursor or by link, with weak validators; a page may be changed.

    Attributes:
        pages: The rows of each page.
        headers_of_304: Whether answers without a body repeat the other headers.
    """

    def __init__(self, *, by_link: bool) -> None:
        self.pages: list[list[Any]] = [[1, 2], [3]]
        self.headers_of_304 = True
        self._by_link = by_link

    def __call__(self, asked: Asked, number: int) -> Reply:
        """Answer."""
        page = int(asked.parameters.get("cursor", "0"))
        has_more = page + 1 < len(self.pages)
        rows: Any = self.pages[page]
        body = json.dumps(
            rows
            if self._by_link
            else {"data": rows, "next_cursor": str(page + 1) if has_more else None, "none": None}
        )
        tag = f'W/"{hashlib.sha256(body.encode()).hexdigest()}"'
        headers = {"ETag": tag}
        if self._by_link and has_more:
            headers["Link"] = f'</v1/rows?cursor={page + 1}>; rel="next"'
        if asked.headers.get("if-none-match") == tag:
            return Reply(b"", status=304, headers=headers if self.headers_of_304 else {})
        return Reply(body.encode(), headers=headers)


@contextmanager
def shop_of(script: Script) -> Iterator[tuple[ScriptedServer, SourceClient]]:
    """Serve a script, and open a client for it."""
    with scripted_server(script) as server, open_client(server.url) as client:
        yield server, client


def land(landing: Landing, client: SourceClient, rest: Rest) -> LandedPartition:
    """Extract and land the day, with what is known of it."""
    with LandingWriter(landing, "shop/rows", DAY, run_id="run", window=WINDOW, request=repr(rest)) as writer:
        earlier = EarlierAnswers(writer.older, repeats=writer.repeats)
        add_pages(writer, extract_pages(client, rest, WINDOW, earlier))
        return writer.finish()


def sent(server: ScriptedServer) -> list[str | None]:
    """Give the condition of each request."""
    return [asked.headers.get("if-none-match") for asked in server.asked]


@pytest.mark.parametrize("headers_of_304", [True, False])
@pytest.mark.parametrize("rest", [BY_CURSOR, BY_LINK], ids=["cursor", "link"])
def test_an_unchanged_day_is_asked_for_without_transferring_it(
    tmp_path: Path, rest: Rest, headers_of_304: bool
) -> None:
    shop, landing = Shop(by_link=rest is BY_LINK), Landing(tmp_path)
    shop.headers_of_304 = headers_of_304
    with shop_of(shop) as (server, client):
        first = land(landing, client, rest)
        before = client.statistics.read()
        for _ in range(2):
            assert land(landing, client, rest) == first
        after = client.statistics.read()
    assert (before.requests, before.not_modified) == (2, 0)
    assert (after.requests, after.not_modified, after.bytes) == (6, 4, before.bytes)
    tags = [page.headers["etag"] for page in first.manifest.pages]
    assert sent(server) == [None, None, *tags, *tags]
    assert len({page.request for page in first.manifest.pages}) == 2


@pytest.mark.parametrize("rest", [BY_CURSOR, BY_LINK], ids=["cursor", "link"])
@pytest.mark.parametrize("changed", [0, 1])
def test_only_what_has_changed_is_transferred(tmp_path: Path, rest: Rest, changed: int) -> None:
    shop, landing = Shop(by_link=rest is BY_LINK), Landing(tmp_path)
    with shop_of(shop) as (_, client):
        first = land(landing, client, rest)
        shop.pages[changed] = [7, 8, 9]
        second = land(landing, client, rest)
        assert client.statistics.read().not_modified == 1
        assert second.version > first.version
        assert land(landing, client, rest) == second, "its validators are landed with it"
        assert client.statistics.read().not_modified == 3
    with shop_of(shop) as (_, client):
        assert list(second.pages()) == [page.body for page in extract_pages(client, rest, WINDOW)]


def test_a_page_that_was_added_is_found_behind_unchanged_ones(tmp_path: Path) -> None:
    shop, landing = Shop(by_link=True), Landing(tmp_path)
    with shop_of(shop) as (_, client):
        land(landing, client, BY_LINK)
        shop.pages.append([4])
        third = land(landing, client, BY_LINK)
        assert [page.records for page in third.manifest.pages] == [2, 1, 1]
        shop.headers_of_304 = False
        assert land(landing, client, BY_LINK) == third, "the way to the new page is landed with the old ones"


@pytest.mark.parametrize("size", [2, 1000])
def test_a_last_page_that_is_full_is_looked_at_again_where_a_header_tells_of_the_next(
    tmp_path: Path, size: int
) -> None:
    shop, landing = Shop(by_link=True), Landing(tmp_path)
    shop.headers_of_304, shop.pages = False, [[1, 2], [3, 4]]
    rest = replace(BY_LINK, paginator=LinkHeader(page_size=size))
    with shop_of(shop) as (_, client):
        land(landing, client, rest)
        shop.pages.append([5])
        second = land(landing, client, rest)
        assert [page.records for page in second.manifest.pages] == [2, 2, 1]
        assert land(landing, client, rest) == second
        assert client.statistics.read().not_modified == 2 + 3


@pytest.mark.parametrize("rest", [BY_CURSOR, BY_LINK], ids=["cursor", "link"])
def test_an_unchanged_day_writes_nothing_and_keeps_its_connection(tmp_path: Path, rest: Rest) -> None:
    landing = Landing(tmp_path)
    with shop_of(Shop(by_link=rest is BY_LINK)) as (server, client):
        first = land(landing, client, rest)
        home = first.path.parent
        before = home.stat().st_mtime_ns
        for _ in range(3):
            assert land(landing, client, rest) == first
        assert home.stat().st_mtime_ns == before, "not even a temporary folder came and went"
        assert server.connections == 1


@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=4), min_size=2, max_size=4
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_changes_the_newest_version_is_what_the_source_has(
    tmp_path_factory: pytest.TempPathFactory, states: list[list[list[int]]]
) -> None:
    shop, landing = Shop(by_link=False), Landing(tmp_path_factory.mktemp("landing"))
    with shop_of(shop) as (_, client):
        for pages in states:
            shop.pages = pages
            landed = land(landing, client, BY_CURSOR)
            assert list(landed.pages()) == [page.body for page in extract_pages(client, BY_CURSOR, WINDOW)]
            assert landed == landing.latest("shop/rows", DAY)


def test_another_declaration_reads_unchanged_answers_anew(tmp_path: Path) -> None:
    landing, blind = Landing(tmp_path), replace(BY_CURSOR, paginator=Cursor(field="none"))
    with shop_of(Shop(by_link=False)) as (_, client):
        assert [page.records for page in land(landing, client, blind).manifest.pages] == [2]
        mended = land(landing, client, BY_CURSOR)
        assert client.statistics.read().not_modified == 1
    assert [page.records for page in mended.manifest.pages] == [2, 1]


def test_a_damaged_landed_answer_is_transferred_again(tmp_path: Path) -> None:
    shop, landing = Shop(by_link=False), Landing(tmp_path)
    with shop_of(shop) as (server, client):
        first = land(landing, client, BY_CURSOR)
        bodies = list(first.pages())
        file = first.path / "pages.zst"
        content = bytearray(file.read_bytes())
        content[first.manifest.pages[0].offset + 6] ^= 0xFF
        file.write_bytes(content)
        second = land(landing, client, BY_CURSOR)
    tags = [page.headers["etag"] for page in first.manifest.pages]
    assert sent(server) == [None, None, tags[0], None, tags[1]]
    assert list(second.pages()) == bodies
    assert second.version > first.version


def test_what_follows_the_landed_answers_is_damage(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    with shop_of(Shop(by_link=False)) as (_, client):
        first = land(landing, client, BY_CURSOR)
        bodies = list(first.pages())
        with (first.path / "pages.zst").open("ab") as file:
            file.write(b"more")
        second = land(landing, client, BY_CURSOR)
        assert client.statistics.read().not_modified == 2
    assert list(second.pages()) == bodies
    assert second.version > first.version


def test_a_stream_may_do_without(tmp_path: Path) -> None:
    landing, rest = Landing(tmp_path), replace(BY_CURSOR, conditional=False)
    with shop_of(Shop(by_link=False)) as (server, client):
        assert land(landing, client, rest) == land(landing, client, rest)
    assert sent(server) == [None] * 4


def test_an_unasked_for_304_is_a_clear_failure(tmp_path: Path) -> None:
    with shop_of(lambda asked, number: Reply(b"", status=304)) as (_, client):
        with pytest.raises(SourceError, match="answered 304 Not Modified to GET /v1/rows") as caught:
            land(Landing(tmp_path), client, BY_CURSOR)
        assert client.statistics.read().not_modified == 0
    assert caught.value.failure_class is FailureClass.PERMANENT


def test_a_source_without_validators_is_simply_asked_again(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    reply = Reply(b'{"data": [1], "next_cursor": null}')
    with shop_of(lambda asked, number: reply) as (server, client):
        assert land(landing, client, BY_CURSOR) == land(landing, client, BY_CURSOR)
    assert sent(server) == [None, None]


def test_times_are_sent_where_there_are_no_tags(tmp_path: Path) -> None:
    def script(asked: Asked, number: int) -> Reply:
        if asked.headers.get("if-modified-since") == NOON:
            return Reply(b"", status=304)
        return Reply(b'{"data": [1], "next_cursor": null}', headers={"Last-Modified": NOON})

    landing = Landing(tmp_path)
    with shop_of(script) as (_, client):
        assert land(landing, client, BY_CURSOR) == land(landing, client, BY_CURSOR)
        assert client.statistics.read().not_modified == 1


def test_validators_of_one_address_are_not_sent_to_another(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    for _ in range(2):
        with shop_of(Shop(by_link=False)) as (server, client):
            land(landing, client, BY_CURSOR)
        assert sent(server) == [None, None]


def test_the_name_of_a_request_does_not_show_what_was_sent() -> None:
    with shop_of(Shop(by_link=False)) as (_, client):
        key = client.key_of("/v1/rows", {"from": TOKEN})
        assert key == client.key_of("/v1/rows", {"from": TOKEN})
        assert key != client.key_of("/v1/rows", {"from": "other"})
    assert TOKEN not in key


def test_a_manifest_from_before_validators_were_kept_can_be_read(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    with shop_of(Shop(by_link=False)) as (server, client):
        first = land(landing, client, BY_CURSOR)
        path = first.path / "manifest.json"
        manifest = json.loads(path.read_text())
        del manifest["check"]
        for page in manifest["pages"]:
            del page["request"], page["headers"]
        path.write_text(json.dumps(manifest))
        again = land(landing, client, BY_CURSOR)
    assert (again.version, sent(server)) == (first.version, [None] * 4)
