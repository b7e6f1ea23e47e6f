"""A stream that shows only the present, beside one with windows, through the backfill that the command runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from dagster import DagsterEventType

from etl_assets.build import build_definitions
from etl_assets.cli.backfill import run_backfill
from etl_assets.cli.days import days_between, last_full_day
from etl_assets.failures import ConfigurationError
from etl_assets.orchestration.backfill import load_days
from etl_assets.orchestration.instance import opened_instance
from etl_assets.streams.discovery import StreamCatalogue
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.warehouses import select
from etl_assets_tests.pipeline.till import PRESENT, people
from etl_assets_tests.sources.scripted import scripted_server

CATALOGUE = StreamCatalogue({PRESENT.id: PRESENT}, {PRESENT.id: Path(__file__)})


NOTE = "till/people: 2 of 3 days left out: the source shows only the present"


def test_a_backfill_loads_what_can_be_had_and_tells_of_the_rest(
    use: Use, capfd: pytest.CaptureFixture[str]
) -> None:
    last = last_full_day()
    days = days_between(last - timedelta(days=2), last)
    with scripted_server(people(6)) as server:
        settings = use(ETL_TILL_URL=server.url)
        result = run_backfill(settings, CATALOGUE, [PRESENT], days)
        said = capfd.readouterr().err
        with pytest.raises(ConfigurationError, match="2 of 2 days left out"):
            run_backfill(settings, CATALOGUE, [PRESENT], days[:2])
    assert (result.exit_code, result.as_json()["notes"]) == (0, [NOTE])
    assert f"note: {NOTE}\n" in said
    (row,) = result.streams
    assert (row.published, row.rows["loaded"], row.problems) == (1, 6, [])
    assert select(settings.warehouse_path, "SELECT count(*), min(_partition) FROM till.people") == [(6, last)]


def test_status_does_not_wait_for_days_that_cannot_be_had(use: Use, etl: Etl) -> None:
    use(ETL_START_DATE=(last_full_day() - timedelta(days=4)).isoformat())
    told = etl("status", "shop/customers")
    assert "shop/customers: 4 days cannot be had: the source shows only the present" in told.out
    (row,) = etl("status", "shop/customers", "--json").json()["streams"]
    assert (row["missing"], row["lost"]) == (1, 4)


def test_dagster_is_told_for_good_that_a_day_cannot_be_had(use: Use) -> None:
    gone = last_full_day() - timedelta(days=1)
    with scripted_server(people(6)) as server:
        settings = use(ETL_TILL_URL=server.url, ETL_STEP_RETRIES="2")
        definitions = build_definitions(settings, streams=CATALOGUE, marts=[])
        with opened_instance(settings) as instance:
            result = load_days(definitions, instance, [PRESENT], [gone])
            retries = instance.all_logs(result.run_id, of_type=DagsterEventType.STEP_RESTARTED)
        assert server.asked == []
    assert not result.success
    assert retries == []
    (failure,) = result.failures.values()
    assert f"people of {gone} cannot be had any more" in failure
