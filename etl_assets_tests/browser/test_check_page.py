"""The checks page of a table, one result per day with its numbers; and the table's own page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from etl_assets_tests.browser.conftest import LoadedDays, Screen

pytestmark = pytest.mark.browser

ORDER_COLUMNS = {
    "order_id": "string",
    "customer_id": "string",
    "status": "string",
    "currency": "string",
    "total_amount": "decimal(18,2)",
    "created_at": "timestamp",
    "updated_at": "timestamp",
    "order_date": "date",
    "is_high_value": "bool",
}
CONTRACT_NUMBERS = ("extracted", "quarantined", "warned", "quarantined_share")


def open_check(screen: Screen, check: str, tab: str | None = None) -> Page:
    """Open one of the checks of the order lines, and one of its tabs."""
    page = screen.open(
        f"/assets/warehouse/shop/order_lines?view=checks&checkDetail={check}", until="Latest execution"
    )
    if tab:
        page.get_by_role("tab", name=tab, exact=True).last.click()
    return page


def value_of(page: Page, key: str) -> Locator:
    """The value that stands beside a key in a table."""
    return page.locator("tr").filter(has=page.get_by_text(key, exact=True)).locator("td").last


def test_the_latest_result_shows_its_numbers(screen: Screen, loaded_days: LoadedDays) -> None:
    day = loaded_days.latest("shop/order_lines")
    extracted, quarantined = loaded_days.numbers("shop/order_lines", day, "extracted", "quarantined")
    page = open_check(screen, "contract")
    expect(page.get_by_text(f"{quarantined} of {extracted} rows quarantined")).to_be_visible()
    expect(page.get_by_text(day.isoformat(), exact=True).first).to_be_visible()
    expect(value_of(page, "extracted")).to_have_text(str(extracted))
    expect(value_of(page, "quarantined")).to_have_text(str(quarantined))
    screen.save("check_contract")


def test_each_number_of_a_check_is_plotted(screen: Screen) -> None:
    page = open_check(screen, "contract")
    expect(page.locator("canvas")).to_have_count(len(CONTRACT_NUMBERS))


@pytest.mark.parametrize("check", ["contract", "conservation"])
def test_the_history_has_one_result_per_published_day(
    screen: Screen, check: str, loaded_days: LoadedDays
) -> None:
    page = open_check(screen, check, "Execution history")
    for day in loaded_days.good:
        row = page.locator("tr").filter(has=page.get_by_text(day.isoformat(), exact=True))
        expect(row).to_have_count(1)
        expect(row).to_contain_text("Passed")
        extracted = loaded_days.numbers("shop/order_lines", day, "extracted")[0]
        description = row.locator("td").filter(has_text=re.compile("extracted =|rows quarantined"))
        expect(description).to_have_text(re.compile(rf"^(\d+ of )?{extracted} (rows|extracted)\b"))
    expect(page.locator("tr").filter(has_text=loaded_days.failed.isoformat())).to_have_count(0)
    screen.save(f"check_{check}_history")


@pytest.mark.parametrize("check", ["contract", "conservation"])
def test_the_partitions_of_a_check_stand_beside_those_of_its_table(
    screen: Screen, check: str, loaded_days: LoadedDays
) -> None:
    page = open_check(screen, check, "Partitions")
    expect(page.get_by_text("Execution Failed (1)", exact=True)).to_be_visible()
    screen.save(f"check_{check}_partitions")
    expect(page.get_by_text(f"Passed ({len(loaded_days.good)})", exact=True)).to_be_visible()
    expect(page.get_by_text("Missing (0)", exact=True)).to_be_visible()


def test_the_overview_describes_the_table(screen: Screen, loaded_days: LoadedDays) -> None:
    page = screen.open("/assets/warehouse/shop/orders?view=overview", until="Columns")
    for column, kind in ORDER_COLUMNS.items():
        row = page.locator("tr").filter(has=page.get_by_text(column, exact=True))
        expect(row.first).to_contain_text(kind)
    expect(page.get_by_text("warehouse.shop.orders", exact=True).first).to_be_visible()
    expect(page.get_by_text("sales", exact=True)).to_be_visible()
    loaded = loaded_days.numbers("shop/orders", loaded_days.latest("shop/orders"), "loaded")[0]
    expect(value_of(page, "dagster/partition_row_count")).to_have_text(str(loaded))
    screen.save("table_overview")


def test_row_counts_are_plotted_per_day(screen: Screen) -> None:
    page = screen.open("/assets/warehouse/shop/order_lines?view=overview", until="Plots")
    page.get_by_text("Plots", exact=True).click()
    expect(page.get_by_text("dagster/partition_row_count", exact=True)).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    screen.save("table_plots")


def test_the_staged_rows_have_a_preview(screen: Screen, loaded_days: LoadedDays) -> None:
    page = screen.open(
        f"/assets/staged/shop/order_lines?view=partitions&partition={loaded_days.days[-1]}", until="preview"
    )
    expect(page.locator("table").get_by_text("invoice_no", exact=True).first).to_be_visible()
    screen.save("preview")
