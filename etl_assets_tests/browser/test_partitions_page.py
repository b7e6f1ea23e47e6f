"""The partitions page of a table: exactly the failed day is red, every other day is green."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from etl_assets_tests.browser.conftest import FAILED_DAY, LoadedDays, Screen

pytestmark = pytest.mark.browser

TABLES = ("orders", "order_lines")
BAR = "[class*=PartitionStatusBar_colorSpan]"
PNG = b"\x89PNG\r\n\x1a\n"


def open_partitions(screen: Screen, table: str, day: date | None = None) -> Page:
    """Open the partitions page of a table, with a day selected or none."""
    selected = f"&partition={day}" if day else ""
    return screen.open(f"/assets/warehouse/shop/{table}?view=partitions{selected}", until="Failed (1)")


def colour(declaration: str) -> str:
    """The name of the colour that an element is drawn in."""
    found = re.search(r"--color-accent-(\w+)", declaration)
    assert found, declaration
    return found.group(1)


@pytest.mark.parametrize("table", TABLES)
def test_the_bar_is_red_for_the_failed_day_alone(screen: Screen, table: str, loaded_days: LoadedDays) -> None:
    page = open_partitions(screen, table)
    segments = page.locator(BAR)
    expect(segments).to_have_count(3)
    colours = [colour(segment.get_attribute("style") or "") for segment in segments.all()]
    widths = [box["width"] for segment in segments.all() if (box := segment.bounding_box())]
    days = [round(width * len(loaded_days.days) / sum(widths)) for width in widths]
    assert list(zip(colours, days, strict=True)) == [
        ("green", FAILED_DAY),
        ("red", 1),
        ("green", len(loaded_days.days) - FAILED_DAY - 1),
    ]
    picture = screen.save(f"partitions_{table}")
    assert picture.read_bytes().startswith(PNG)


@pytest.mark.parametrize("table", TABLES)
def test_every_day_of_the_list_has_its_colour(screen: Screen, table: str, loaded_days: LoadedDays) -> None:
    page = open_partitions(screen, table)
    expect(page.get_by_text(f"Materialized ({len(loaded_days.good)})", exact=True)).to_be_visible()
    expect(page.get_by_text("Missing (0)", exact=True)).to_be_visible()
    colours = {
        day: colour(page.locator(f"[data-tooltip='{day}'] + div").get_attribute("style") or "")
        for day in loaded_days.days
    }
    assert colours == {day: "red" if day == loaded_days.failed else "green" for day in loaded_days.days}


def test_a_failed_day_names_its_run(screen: Screen, loaded_days: LoadedDays) -> None:
    page = open_partitions(screen, "orders", loaded_days.failed)
    expect(
        page.get_by_text(re.compile(r"Run \w{8} failed, and did not materialize this asset"))
    ).to_be_visible()
    page.get_by_text("View logs", exact=True).click()
    message = page.get_by_text(
        re.compile(rf"1 of \d+ days of shop/\w+ were not published\. {loaded_days.failed}")
    )
    message.first.wait_for()
    screen.save("failed_run")


def test_a_good_day_shows_the_numbers_of_the_load_log(screen: Screen, loaded_days: LoadedDays) -> None:
    day = loaded_days.good[FAILED_DAY]
    loaded, quarantined = loaded_days.numbers("shop/order_lines", day, "loaded", "quarantined")
    assert loaded > 100
    page = open_partitions(screen, "order_lines", day)
    expect(page.get_by_text("Materialized", exact=True)).to_be_visible()
    for key, number in (
        ("dagster/partition_row_count", loaded),
        ("loaded", loaded),
        ("quarantined", quarantined),
        ("verdict", "published"),
    ):
        row = page.locator("tr").filter(has=page.get_by_text(key, exact=True))
        expect(row.locator("td").nth(1)).to_have_text(str(number))
    screen.save("good_day")


def test_nobody_is_asked_to_sign_up(screen: Screen, tmp_path: Path) -> None:
    page = screen.open("/assets", until="Catalog")
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text(re.compile("newsletter|sign up", re.IGNORECASE))).to_have_count(0)
