"""The report in Chromium, opened as a file: nothing is asked for, links jump, tables sort, planted faults are seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect

from etl_assets.report.page import render, write
from etl_assets_tests.report.planted import FAILED, HOSTILE, MISSING, WARNED, WITHHELD, facts_of, plant
from etl_assets_tests.warehouse.samples import day

pytestmark = pytest.mark.browser

WIDE, NARROW = 1200, 390
DAY_TABLE = "#table-days-shop-order_lines"


@dataclass
class Opened:
    """The report in a browser, and everything that the browser complained about or asked for.

    Attributes:
        page: The browser's page.
        address: Of the report.
        heard: Errors of the console and of scripts.
        asked: Requests beside the one for the file itself.
    """

    page: Page
    address: str
    heard: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def on_request(self, request: Request) -> None:
        """Note what is asked for."""
        if request.url.split("#")[0] != self.address and not request.url.startswith("data:"):
            self.asked.append(request.url)

    def keep(self, name: str) -> None:
        """Keep a picture where one is wanted."""
        if folder := os.environ.get("ETL_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a warehouse with planted trouble."""
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    write(render(facts_of(plant(folder))), path)
    return path


@pytest.fixture
def opened(chromium: BrowserContext, report: Path) -> Iterator[Opened]:
    """The report, offline; the test fails if the browser complained or asked for anything."""
    chromium.set_offline(True)
    page = chromium.new_page()
    page.set_viewport_size({"width": WIDE, "height": 900})
    opened = Opened(page, report.as_uri())
    page.on("console", lambda message: opened.heard.append(message.text))
    page.on("pageerror", lambda error: opened.heard.append(str(error)))
    page.on("request", opened.on_request)
    page.goto(opened.address)
    yield opened
    page.close()
    chromium.set_offline(False)
    assert opened.heard == []
    assert opened.asked == []


def colour(page: Page, selector: str) -> str:
    """Give the colour of an element's ground."""
    return str(page.locator(selector).first.evaluate("one => getComputedStyle(one).backgroundColor"))


def column(page: Page, table: str, number: int) -> list[str]:
    """Give the texts of a column, from top to bottom."""
    cells = page.locator(f"{table} tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_planted_faults_are_seen(opened: Opened) -> None:
    page = opened.page
    for number, kind in ((WARNED, "w"), (WITHHELD, "h"), (FAILED, "f"), (MISSING, "m")):
        cell = page.locator(f"table.days td.{kind}[title^='{day(number)}']").first
        expect(cell).to_be_visible()
    # What only colour would tell, a sign tells as well.
    signs = [
        page.locator(f"table.days td.{kind}").first.evaluate(
            "one => getComputedStyle(one, '::before').content"
        )
        for kind in "whf"
    ]
    assert [sign[1] for sign in signs] == ["!", "W", "F"]
    expect(page.locator(DAY_TABLE).get_by_text(HOSTILE).first).to_be_visible()
    expect(page.get_by_role("heading", name="Schema changes")).to_be_visible()
    expect(page.locator("#table-schema").get_by_text("was set aside").first).to_be_visible()
    expect(page.locator("#table-reasons").get_by_text("rule_a", exact=True)).to_be_visible()
    expect(page.get_by_role("img", name="Rows of shop/order_lines over time")).to_be_visible()
    assert page.evaluate("document.title") == "Data quality, 2025-01-01 to 2025-01-10"
    opened.keep("report_light")


def test_a_day_of_the_calendar_leads_to_what_is_known_of_it(opened: Opened) -> None:
    page = opened.page
    page.locator(f"{DAY_TABLE}").locator("xpath=ancestor::details").evaluate("one => one.open = false")
    page.locator(f"table.days td.h[title^='{day(WITHHELD)}'] a").click()
    row = page.locator(f"#d-shop-order_lines-{day(WITHHELD)}")
    expect(row).to_be_in_viewport()
    expect(row).to_contain_text("withheld")
    assert page.evaluate("location.hash") == f"#d-shop-order_lines-{day(WITHHELD)}"
    page.get_by_role("link", name="columns and rules").first.click()
    expect(page.locator("#t-shop-order_lines").get_by_text("invoice_no")).to_be_visible()


def test_tables_sort_with_mouse_and_keyboard(opened: Opened) -> None:
    page, table = opened.page, "#table-streams"
    assert column(page, table, 1) == ["shop/order_lines", "shop/orders"]
    head = page.locator(f"{table} th", has_text="published")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert column(page, table, 3) == ["2", "7"]
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert column(page, table, 3) == ["7", "2"]
    expect(page.locator(f"{table} th", has_text="owner")).to_have_attribute("aria-sort", "none")


def test_tables_filter(opened: Opened) -> None:
    page, table = opened.page, "#table-columns-shop-order_lines"
    dictionary = page.locator("#t-shop-order_lines")
    dictionary.locator("summary").click()
    assert len(column(page, table, 1)) == 7
    wanted = dictionary.get_by_label("Filter")
    wanted.fill("invoice TIMESTAMP")
    assert column(page, table, 1) == ["invoiced_at"]
    expect(dictionary.get_by_role("status")).to_have_text("1 of 7 rows")
    wanted.fill("")
    assert len(column(page, table, 1)) == 7
    expect(page.locator("#t-shop-orders").get_by_label("Filter")).to_have_count(0)


def test_light_and_dark_follow_the_reader_and_the_button(opened: Opened) -> None:
    page = opened.page
    page.emulate_media(color_scheme="light")
    light, bar = colour(page, "body"), "figure svg [fill='var(--published)']"
    light_bar = page.locator(bar).first.evaluate("one => getComputedStyle(one).fill")
    page.emulate_media(color_scheme="dark")
    dark = colour(page, "body")
    assert dark != light
    assert page.locator(bar).first.evaluate("one => getComputedStyle(one).fill") != light_bar
    opened.keep("report_dark")
    page.get_by_role("button", name="Light or dark").click()
    assert colour(page, "body") == light
    page.emulate_media(media="print")
    assert colour(page, "body") == "rgb(255, 255, 255)", "paper is white"
    expect(page.get_by_role("navigation").first).to_be_hidden()
    page.emulate_media(media="screen")


def test_a_narrow_screen_does_not_scroll_sideways(opened: Opened) -> None:
    opened.page.set_viewport_size({"width": NARROW, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= NARROW
    opened.keep("report_narrow")


def test_it_reads_without_its_script(chromium: BrowserContext, report: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.html"
    bare.write_text(report.read_text(encoding="utf-8").split("<script>")[0], encoding="utf-8")
    page = chromium.new_page()
    try:
        page.goto(f"{bare.as_uri()}#t-shop-orders")
        expect(page.locator("#table-streams").get_by_text("shop/orders")).to_be_visible()
        expect(page.get_by_role("button")).to_have_count(0)
    finally:
        page.close()
