"""A failure has one class, wherever it is looked at: repeats of requests and steps, outcome, records, log, Dagster."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dagster import AssetKey

from etl_assets.cli.backfill import run_backfill
from etl_assets.cli.days import days_between
from etl_assets.cli.results import BackfillResult
from etl_assets.failures import FailureClass
from etl_assets.observability.logging import configure_logging
from etl_assets.orchestration.instance import opened_instance
from etl_assets.settings import Settings
from etl_assets.streams import parse
from etl_assets.streams.base import (
    Breaker,
    Contract,
    Cursor,
    Field,
    Merge,
    Rest,
    RestSource,
    RetryBudget,
    Stream,
    Timestamp,
    WindowParameters,
)
from etl_assets.streams.discovery import StreamCatalogue
from etl_assets_tests.integration.conftest import Use
from etl_assets_tests.integration.warehouses import select
from etl_assets_tests.sources.scripted import Asked, Reply, in_turn, scripted_server

TRANSIENT, RATE_LIMITED, PERMANENT = (
    FailureClass.TRANSIENT,
    FailureClass.RATE_LIMITED,
    FailureClass.PERMANENT,
)
EMPTY = b'{"data": [], "next_cursor": null}'
CASES: Mapping[str, tuple[Reply, FailureClass]] = {
    "good": (Reply(EMPTY), TRANSIENT),
    "408": (Reply(status=408), TRANSIENT),
    "425": (Reply(status=425), TRANSIENT),
    "500": (Reply(status=500), TRANSIENT),
    "502": (Reply(status=502), TRANSIENT),
    "503": (Reply(status=503), TRANSIENT),
    "504": (Reply(status=504), TRANSIENT),
    "429": (Reply(status=429, headers={"Retry-After": "0"}), RATE_LIMITED),
    "html with 200": (Reply(b"<html></html>", headers={"Content-Type": "text/html"}), TRANSIENT),
    "cut off": (Reply(EMPTY, cut_after=9), TRANSIENT),
    "stalled": (Reply(EMPTY, stall_after=9), TRANSIENT),
    "slow headers": (Reply(EMPTY, delay=1.0), TRANSIENT),
    "hung up": (Reply(hang_up=True), TRANSIENT),
    "404": (Reply(status=404), PERMANENT),
    "422": (Reply(status=422), PERMANENT),
    "another shape": (Reply(b'{"items": []}'), PERMANENT),
    "nested too deeply": (Reply(b"[" * 100_000 + b"]" * 100_000), PERMANENT),
    "cursor stands still": (Reply(b'{"data": [], "next_cursor": "again"}'), PERMANENT),
}
GOOD, *BAD = CASES
FIRST = date(2025, 1, 1)
DAYS = days_between(FIRST, FIRST + timedelta(days=len(CASES) - 1))
DAY_OF = dict(zip(CASES, DAYS, strict=True))
ATTEMPTS = STEPS = 2


class People(Contract):
    """A person."""

    person_id: str = Field(description="Identifier")
    changed_at: Timestamp = Field(description="When the row last changed, UTC")


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields."""
    return pd.DataFrame(
        {"person_id": parse.text(raw["person_id"]), "changed_at": parse.timestamps(raw["changed_at"])}
    )


PEOPLE = Stream(
    source=RestSource(
        name="crm",
        retry=RetryBudget(attempts=ATTEMPTS, first_delay=0.001, maximum_delay=0.01),
        timeout=0.3,
        # Each day is bad in a way of its own here; that the source is left alone meanwhile is another test's.
        breaker=Breaker(failures=1_000),
    ),
    name="people",
    owner="team:crm",
    extract=Rest(
        path="/v1/people", window=WindowParameters("from", "to"), paginator=Cursor(), records="data"
    ),
    contract=People,
    transform=clean,
    write=Merge(key="person_id", version="changed_at"),
    window_column="changed_at",
    business_date="changed_at",
)


@dataclass(frozen=True)
class Failed:
    """A backfill of bad days, and all that tells of it."""

    settings: Settings
    result: BackfillResult
    asked: Counter[date]
    logged: list[Any]


@pytest.fixture
def failed(use: Use, capfd: pytest.CaptureFixture[str]) -> Failed:
    """One day of each kind, loaded in one command."""

    def script(asked: Asked, number: int) -> Reply:
        case = next(name for name, day in DAY_OF.items() if asked.parameters["from"].startswith(str(day)))
        return CASES[case][0]

    with scripted_server(script) as server:
        settings, result, logged = load(use, capfd, PEOPLE, server.url)
    days = Counter(date.fromisoformat(asked.parameters["from"][:10]) for asked in server.asked)
    return Failed(settings, result, days, logged)


def load(
    use: Use, capfd: pytest.CaptureFixture[str], stream: Stream, url: str
) -> tuple[Settings, BackfillResult, list[Any]]:
    """Backfill all days, and give what was logged."""
    settings = use(
        ETL_CRM_URL=url,
        ETL_STEP_RETRIES=str(STEPS - 1),
        ETL_STEP_RETRY_DELAY="0.01",
        ETL_LOG_LEVEL="DEBUG",
        ETL_LOG_FORMAT="json",
    )
    catalogue = StreamCatalogue({stream.id: stream}, {stream.id: Path(__file__)})
    result = run_backfill(settings, catalogue, [stream], DAYS, quiet=True)
    configure_logging("console", "ERROR")
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return settings, result, logged


def test_a_failure_has_one_class_wherever_it_is_looked_at(failed: Failed) -> None:
    expected = {DAY_OF[case]: CASES[case][1] for case in BAD}
    [stream] = failed.result.streams
    outcomes = {outcome.partition: outcome.failure for outcome in stream.problems}
    assert {day: record.failure_class for day, record in outcomes.items() if record} == expected
    assert stream.published == 1

    for case in BAD:
        # A request that may pass is repeated by itself and by its step; pages that go in circles are two requests.
        asked = 1 + (case == "cursor stands still")
        retryable = CASES[case][1].retryable
        assert failed.asked[DAY_OF[case]] == (ATTEMPTS * STEPS if retryable else asked), case
    assert failed.asked[DAY_OF[GOOD]] == 1

    entries = select(
        failed.settings.warehouse_path,
        "SELECT partition, failure_class, failure_stage, error_type, message FROM etl.partitions "
        "WHERE status = 'failed'",
    )
    assert {row[0]: row[1] for row in entries} == expected
    assert {row[2:4] for row in entries} == {("extract", "SourceError")}
    assert {row[0]: row[4] for row in entries} == {
        outcome.partition: outcome.message for outcome in stream.problems
    }

    lines = [line for line in failed.logged if line["event"] == "partition_failed"]
    assert {date.fromisoformat(line["partition"]): line["failure_class"] for line in lines} == expected
    attempts = Counter(line["failure_class"] for line in failed.logged if line["event"] == "request_failed")
    assert attempts[RATE_LIMITED] == ATTEMPTS * STEPS
    assert attempts[TRANSIENT] == ATTEMPTS * STEPS * list(expected.values()).count(TRANSIENT)
    counted = [line for line in failed.logged if line["event"] == "requests_counted"][-1]
    assert {name: counted[f"failures_{name}"] for name in attempts} == attempts

    told = observations(failed.settings)
    assert told == expected


def observations(settings: Settings) -> dict[date, str]:
    """Give the class that Dagster's page of each day's raw asset shows."""
    with opened_instance(settings) as instance:
        records = instance.fetch_observations(AssetKey(["raw", "crm", "people"]), limit=1_000).records
    found = {}
    for record in records:
        observation = record.asset_observation
        assert observation is not None
        found[date.fromisoformat(str(observation.partition))] = str(
            observation.metadata["failure_class"].value
        )
    return found


def test_a_failure_of_the_whole_source_has_one_class_as_well(
    use: Use, capfd: pytest.CaptureFixture[str]
) -> None:
    """What speaks no TLS will not learn it; nothing is repeated, and no other day is tried."""
    with scripted_server(in_turn(Reply(EMPTY))) as server:
        plain = replace(PEOPLE, source=replace(PEOPLE.source, concurrency=1))
        settings, result, logged = load(use, capfd, plain, server.url.replace("http:", "https:"))
    [stream] = result.streams
    classes = {outcome.failure.failure_class for outcome in stream.problems if outcome.failure}
    assert (len(stream.problems), classes) == (len(DAYS), {PERMANENT})
    rows = select(settings.warehouse_path, "SELECT DISTINCT failure_class FROM etl.partitions")
    assert rows == [(PERMANENT.value,)]
    assert set(observations(settings).values()) == {PERMANENT.value}
    assert len([line for line in logged if line["event"] == "request_failed"]) == 1
    assert json.dumps(result.as_json()).count("TLS") == len(DAYS)
