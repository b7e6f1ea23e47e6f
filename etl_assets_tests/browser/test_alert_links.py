"""The addresses in alerts lead to the pages that they mean, in Dagster's real UI."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from etl_assets.alerts.conditions import Kind
from etl_assets.orchestration.alerts.instigators import Declared
from etl_assets_tests.browser.conftest import LoadedDays, Screen

pytestmark = pytest.mark.browser


def test_a_failed_day(screen: Screen, loaded_days: LoadedDays) -> None:
    day = loaded_days.failed
    page = screen.open(f"/assets/warehouse/shop/orders?view=partitions&partition={day}", until=str(day))
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (Declared("daily_at_0200_utc", Kind.SCHEDULE_FAILING), "02:00 UTC, for yesterday."),
        (
            Declared("mart_automation", Kind.SENSOR_FAILING),
            "Rebuilds marts, and embeds, when a table that they read was loaded.",
        ),
    ],
    ids=["schedule", "sensor"],
)
def test_a_schedule_and_a_sensor(screen: Screen, declared: Declared, said: str) -> None:
    page = screen.open(declared.link_in("etl_assets.definitions"), until=said)
    expect(page.get_by_text(declared.name).first).to_be_visible()


@pytest.mark.parametrize(("path", "said"), [("/health", "Daemons"), ("/runs", "Runs")])
def test_health_and_runs(screen: Screen, path: str, said: str) -> None:
    page = screen.open(path, until=said)
    expect(page.get_by_text(said, exact=True).first).to_be_visible()
