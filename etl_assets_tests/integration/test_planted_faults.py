"""Faults planted into the real year: each is caught on its day, by the check that is there for it, and nothing else is.

The suite takes seven weeks and the faults that the project promises to catch. The whole year with all faults on three
days of different seasons, and the table in the documentation, by: `pytest -m slow` with this file.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from etl_assets.cli.days import days_between
from etl_assets.demo.server import SpawnedSource
from etl_assets.outcomes import Status
from etl_assets.settings import Settings, load_settings
from etl_assets_tests.conftest import PROJECT
from etl_assets_tests.integration.planted_faults import FAULTS, Fault, RealShop, Verdict, as_table
from etl_assets_tests.integration.warehouses import select

pytestmark = pytest.mark.real_data

SOME_DAYS = days_between(date(2011, 3, 1), date(2011, 4, 16))
A_DAY = date(2011, 4, 13)
PROMISED = [
    fault
    for fault in FAULTS
    if fault.name
    in {
        "half of the lines are missing",
        "every line came twice, under another id",
        "no customer is known",
        "prices are in pence",
        "United Kingdom became GB",
        "times are a day late",
        "half of the orders are missing",
    }
]
FALSE_ALARMS = (
    "SELECT stream, partition, check_name, message FROM etl.check_results WHERE NOT passed ORDER BY ALL"
)


def settings_of(source: SpawnedSource, folder: Path) -> Settings:
    """Settings for the real shop and a folder."""
    return load_settings(
        {
            "ETL_DATA_DIR": str(folder),
            "ETL_SHOP_URL": source.url,
            "ETL_SHOP_TOKEN": source.token,
            "ETL_PSEUDONYM_KEY": "a key for tests alone, thirty-two",
        }
    )


@pytest.fixture(scope="module")
def weeks(real_source: SpawnedSource, tmp_path_factory: pytest.TempPathFactory) -> RealShop:
    """Seven weeks of the real shop, loaded."""
    real_source.control.set_faults()
    settings = settings_of(real_source, tmp_path_factory.mktemp("weeks"))
    shop = RealShop(settings)
    assert {outcome.status for outcome in shop.load(SOME_DAYS)} == {Status.PUBLISHED}
    assert select(settings.warehouse_path, FALSE_ALARMS) == []
    return shop


@pytest.mark.parametrize("fault", PROMISED, ids=lambda fault: fault.name.replace(" ", "_"))
def test_a_planted_fault_is_caught_on_its_day(weeks: RealShop, tmp_path: Path, fault: Fault) -> None:
    verdict = weeks.judge(fault, A_DAY, tmp_path)
    assert fault.caught_by in verdict.caught_by
    assert verdict.status is not Status.PUBLISHED


def test_the_day_itself_is_not_suspected(weeks: RealShop, tmp_path: Path) -> None:
    untouched = Fault("nothing", FAULTS[0].stream, lambda day: day.records, "")
    assert weeks.judge(untouched, A_DAY, tmp_path) == Verdict(Status.PUBLISHED, ())


@pytest.mark.slow
def test_the_whole_year_with_all_faults(real_source: SpawnedSource, tmp_path: Path) -> None:
    real_source.control.set_faults()
    settings = settings_of(real_source, tmp_path)
    shop = RealShop(settings)
    outcomes = shop.load(days_between(date(2010, 12, 1), date(2011, 12, 13)))
    assert all(outcome.status.is_published for outcome in outcomes)
    alarms = select(settings.warehouse_path, FALSE_ALARMS)
    assert len(alarms) <= 2, alarms
    days = (date(2011, 3, 16), date(2011, 6, 15), date(2011, 10, 19))
    found = {fault: [shop.judge(fault, day, tmp_path / "faults") for day in days] for fault in FAULTS}
    table = as_table(found)
    missed = [
        (fault.name, verdicts)
        for fault, verdicts in found.items()
        if not all(fault.caught_by in verdict.caught_by for verdict in verdicts)
    ]
    assert missed == []
    documented = (PROJECT / "docs" / "audits.md").read_text(encoding="utf-8")
    assert table in documented, f"docs/audits.md does not have this table:\n{table}"
    assert f"{len(alarms)} false alarms" in documented
