"""An alert's e-mail in Chromium, as a mail program shows it: readable, in one column, also on a telephone."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from etl_assets.alerts.conditions import Severity
from etl_assets.alerts.mail import html_of
from etl_assets.alerts.notice import Notice
from etl_assets_tests.alerts.desk import Recorder, failed_day, january, open_desk

pytestmark = pytest.mark.browser

RULES = '[channels.chat]\nkind = "slack"\n'
UI = {"ETL_UI_URL": "https://dagster.example.com"}
WIDTHS = {"desktop": 1000, "telephone": 390}


def failures(folder: Path, problems: int) -> list[Notice]:
    """Give what is told of days that failed for some reasons, and of their end."""
    told = Recorder()
    with open_desk(folder, UI, RULES) as desk:
        desk.wrong = [
            failed_day(
                day,
                f"shop{number or ''}/orders",
                error="shop answered 422 to /v1/orders: the window is not known",
                details={"Stage": "extract", "Still in the table": "1,204 rows of its last publication"},
                severity=Severity.ERROR if number % 2 else Severity.WARNING,
            )
            for number in range(problems)
            for day in january(12)
        ]
        desk.tick(open_with=told.opener())
        desk.tick(30, open_with=told.opener())
        desk.wrong = []
        desk.tick(timedelta(hours=3).total_seconds(), open_with=told.opener())
    return told.notices


def show(page: Page, notice: Notice, width: int) -> None:
    """Show the HTML part of a notice's mail."""
    page.set_viewport_size({"width": width, "height": 900})
    page.set_content(html_of(notice))


def keep(page: Page, name: str) -> None:
    """Keep a picture where one is wanted."""
    if folder := os.environ.get("ETL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("device", WIDTHS)
def test_an_alert_can_be_read(chromium: BrowserContext, tmp_path: Path, device: str) -> None:
    notice, over = failures(tmp_path, problems=1)
    page = chromium.new_page()
    try:
        show(page, notice, WIDTHS[device])
        expect(page.get_by_role("heading", name="shop/orders: 12 days failed to load")).to_be_visible()
        link = page.get_by_role("link", name="shop/orders: 12 days, 2025-01-01 to 2025-01-12")
        expect(link).to_have_attribute(
            "href",
            "https://dagster.example.com/assets/warehouse/shop/orders?view=partitions&partition=2025-01-12",
        )
        for text in (
            "2025-03-01 12:00:00 UTC (30 s)",
            "12 days, 120 rows",
            "What was done already",
            "What to do",
        ):
            expect(page.get_by_text(text, exact=True)).to_be_visible()
        expect(page.get_by_text("etl-assets backfill shop/orders")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device], "nothing sticks out"
        keep(page, f"alert_mail_{device}")
        show(page, over, WIDTHS[device])
        expect(page.get_by_role("heading", name="shop/orders: 12 days failed to load")).to_be_visible()
        keep(page, f"alert_mail_over_{device}")
    finally:
        page.close()


def test_a_digest_lists_what_there_is(chromium: BrowserContext, tmp_path: Path) -> None:
    digest, _ = failures(tmp_path, problems=6)
    page = chromium.new_page()
    try:
        show(page, digest, WIDTHS["desktop"])
        expect(page.get_by_role("heading", name="6 problems (72 failures)")).to_be_visible()
        expect(page.get_by_role("link", name="/orders: 12 days failed to load")).to_have_count(6)
        keep(page, "alert_mail_digest")
    finally:
        page.close()
