"""The page is whole, safe and small: links lead somewhere, nothing is loaded, nothing hostile is markup."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.quality.dictionary import describe_table
from etl_assets.quality.rules import compile_contract
from etl_assets.report.facts import DayStatus, Facts
from etl_assets.report.page import check_place, render, write
from etl_assets.report.problems import LISTED_DAYS, LISTED_SPANS
from etl_assets.report.reading import Period, read_facts
from etl_assets.settings import Settings
from etl_assets.warehouse.database import Warehouse
from etl_assets_tests.report.planted import (
    EMAIL,
    FAILED,
    HOSTILE,
    MART,
    MISSING,
    SECRET,
    STREAMS,
    WARNED,
    WITHHELD,
    Page,
    facts_of,
    settings_of,
)
from etl_assets_tests.report.years import FIRST, fill, many_streams
from etl_assets_tests.warehouse.papers import MERGED
from etl_assets_tests.warehouse.samples import LINES, ORDERS, day

MOST_BYTES = 3_000_000
CELLS = {
    DayStatus.PUBLISHED: "p",
    DayStatus.PUBLISHED_WITH_WARNINGS: "w",
    DayStatus.WITHHELD: "h",
    DayStatus.FAILED: "f",
    DayStatus.MISSING: "m",
    DayStatus.LOST: "l",
}


def check_whole(page: Page) -> None:
    """Hold that ids are unique, that links within the page lead somewhere, and that elements end."""
    assert {name: number for name, number in page.ids.items() if number > 1} == {}
    assert {link for link in page.links if link.startswith("#") and link[1:] not in page.ids} == set()
    assert page.unclosed == []


def test_links_lead_somewhere(page: Page) -> None:
    check_whole(page)
    for target in (
        "overview",
        "attention",
        "streams",
        "reasons",
        "stages",
        "schema",
        "lineage",
        "dictionary",
    ):
        assert f"#{target}" in page.links
    for number in (WARNED, WITHHELD, FAILED, MISSING):
        assert f"#d-shop-order_lines-{day(number)}" in page.links


def test_nothing_is_loaded_from_anywhere(html: str, page: Page) -> None:
    assert page.loaded == ["data:,"]
    assert not re.search(r"url\(|@import|<base|<iframe|<object|<embed", html)
    elsewhere = {link for link in page.links if not link.startswith("#")}
    assert elsewhere == {f"http://dagster.example.com/assets/warehouse/{one.id}" for one in STREAMS}


def test_only_its_own_script_may_run(html: str, page: Page) -> None:
    assert page.elements["script"] == 1
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in page.policy
    assert not re.search(r"<[^>]+\son\w+=", html), "no event handlers in markup"


def test_hostile_texts_are_text(html: str, page: Page) -> None:
    assert "<script>alert" not in html
    shown = " ".join(page.text.split())
    assert f"volume: {' '.join(HOSTILE.split())}" in shown
    assert f"unknown field {HOSTILE} was set aside" in shown


def test_neither_secrets_nor_addresses_nor_payloads_are_in_it(html: str) -> None:
    for text in (SECRET, EMAIL, "raw_payload", "payload_hash"):
        assert text not in html


def test_a_calendar_has_a_cell_for_each_day(facts: Facts, page: Page) -> None:
    assert page.cells == {CELLS[status]: number for status, number in facts.counts.items()}


def test_each_part_says_what_is_there(facts: Facts, page: Page) -> None:
    shown = " ".join(page.text.split())
    for text in (
        "1 day withheld, the newest 2025-01-05",
        "1 day failed, the newest 2025-01-07",
        "8 days missing, the last 2025-01-10",
        "never loaded; etl-assets backfill shop/order_lines --from 2025-01-09 --to 2025-01-09",
        "3 rows pending in quarantine",
        "stage extract, transient",
        "shop.order_lines feeds marts.takings",
        "What came in <by day>.",
    ):
        assert text in shown
    for stream in STREAMS:
        table = describe_table(stream)
        assert table.name in shown
        assert all(column.name in shown for column in compile_contract(stream.contract).columns)
    share = facts.streams[0].quarantined / sum(stream.extracted for stream in facts.streams)
    assert f"{share:.2%}of rows quarantined" in shown


def test_without_trouble_it_says_so(planted: Settings) -> None:
    good = facts_of(planted, Period(day(0), day(1)), (LINES,))
    page = Page.of(render(replace(good, streams=(replace(good.streams[0], pending=0),))))
    check_whole(page)
    for text in ("Nothing: every day is published", "No row broke a rule.", "None was noticed."):
        assert text in page.text


def test_child_tables_stand_with_their_table(planted: Settings) -> None:
    page = Page.of(render(facts_of(planted, streams=(MERGED,))))
    check_whole(page)
    shown = " ".join(page.text.split())
    for child in describe_table(MERGED).children:
        assert child.name in shown
        assert child.description.replace("`", "") in shown
        assert all(cell.replace("`", "") in shown for row in child.columns for cell in row)


def test_an_empty_warehouse_makes_a_page(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with Warehouse(settings.warehouse_path).session("make"):
        pass
    page = Page.of(render(facts_of(settings)))
    check_whole(page)
    assert page.cells == {"m": 20}
    assert "Nothing was loaded." in page.text


def test_a_project_without_streams_makes_a_page(planted: Settings) -> None:
    page = Page.of(render(facts_of(planted, streams=())))
    check_whole(page)
    assert "0 streams" in page.text


def test_two_years_of_ten_streams_stay_small_and_bounded(tmp_path: Path) -> None:
    settings, streams = settings_of(tmp_path), many_streams(10)
    warehouse = Warehouse(settings.warehouse_path)
    with warehouse.session("fill") as session:
        last = fill(session.connection, streams, 731)
    facts = read_facts(settings, warehouse, streams, (MART,), Period(FIRST, last))
    html = render(facts)
    assert len(html.encode()) < MOST_BYTES
    page = Page.of(html)
    check_whole(page)
    assert page.cells == {CELLS[status]: number for status, number in facts.counts.items()}
    assert sum(page.cells.values()) == 7310
    told = [name for name in page.ids if name.startswith("d-source0-stream_00-")]
    assert 20 < len(told) <= LISTED_DAYS + LISTED_SPANS


def test_more_days_than_are_listed_are_counted_with_a_query(planted: Settings) -> None:
    facts = facts_of(planted, streams=(LINES,))
    [failed] = [one for one in facts.streams[0].days if one.status is DayStatus.FAILED]
    days = tuple(
        replace(
            failed, day=day(number), status=DayStatus.PUBLISHED_WITH_WARNINGS if number % 2 else failed.status
        )
        for number in range(300)
    )
    many = replace(facts.streams[0], days=days)
    page = Page.of(render(replace(facts, streams=(many,), first=day(0), last=day(299))))
    check_whole(page)
    assert f"{300 - LISTED_DAYS} more days" in page.text
    assert "FROM etl.partitions WHERE source = 'shop' AND stream = 'order_lines'" in page.text
    listed = [name for name in page.ids if name.startswith("d-shop-order_lines-")]
    assert len(listed) == LISTED_DAYS
    assert all(f"#{name}" in page.links for name in listed)


def test_a_page_appears_whole_in_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert write("long " * 100, path) == 500
    assert write("ä", path) == 2
    assert path.read_text(encoding="utf-8") == "ä"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("place", ["", "nowhere/report.html", "file/report.html"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    for attempt in (check_place, lambda path: write("page", path)):
        with pytest.raises(
            ConfigurationError, match=r"cannot be written: .* \(name another file with --output\)"
        ):
            attempt(tmp_path / place)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_streams_without_marts_have_a_lineage(planted: Settings) -> None:
    facts = facts_of(planted, streams=(ORDERS,))
    assert facts.marts == (), "it reads none of these streams"
    page = Page.of(render(facts))
    check_whole(page)
    assert "shop/orders feeds shop.orders" in page.text
    assert LINES.id not in page.text
