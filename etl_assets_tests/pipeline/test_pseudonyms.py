"""The key of the pseudonyms: where it comes from, what happens without it, and what another one changes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dagster import DagsterEventType

from etl_assets.build import build_definitions
from etl_assets.cli.backfill import run_backfill
from etl_assets.failures import ConfigurationError, FailureClass
from etl_assets.observability.logging import configure_logging
from etl_assets.observability.progress import SilentReporter
from etl_assets.orchestration.backfill import load_days
from etl_assets.orchestration.instance import opened_instance
from etl_assets.outcomes import PartitionOutcome, Status
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.pseudonyms import (
    DEMO_KEY,
    pseudonym_key,
    pseudonymiser_of,
    uses_demo_key,
    warn_of_demo_key,
)
from etl_assets.pipeline.run import run_partitions
from etl_assets.resources.source import SourceResource
from etl_assets.settings import load_settings
from etl_assets.streams.base import Contract, Field, Stream, Timestamp
from etl_assets.streams.discovery import StreamCatalogue
from etl_assets_tests.pipeline.landings import land, rows_of, stage
from etl_assets_tests.quality.people import DAY, KEY, OTHER_KEY, PEOPLE, hashed, person
from etl_assets_tests.quality.samples import ORDER_LINES
from etl_assets_tests.sources.scripted import Asked, Reply, ScriptedServer, scripted_server

VARIABLE = "ETL_PSEUDONYM_KEY"
DAYS = [DAY + timedelta(days=number) for number in range(8)]


def answer(asked: Asked, number: int) -> Reply:
    """Answer with one person, changed on the day that is asked for."""
    record = person(changed_at=f"{asked.parameters['from'][:10]}T10:00:00Z")
    return Reply(json.dumps({"data": [record], "next_cursor": None}).encode())


@contextmanager
def crm() -> Iterator[tuple[ScriptedServer, str]]:
    """Serve people; also by an address that leads to this machine and yet is none of its usual names."""
    with scripted_server(answer) as server:
        yield server, server.url.replace("127.0.0.1", "127.1")


def load(
    variables: dict[str, str], days: list[date], *stages: Stage, stream: Stream = PEOPLE
) -> list[PartitionOutcome]:
    """Take people from the source to the warehouse, without Dagster."""
    environment = Environment.of(load_settings(variables), {stream.id: "1"})
    with closing(environment.open_source(stream.source)) as reader:
        pipeline = PartitionPipeline(
            environment=environment,
            stream=stream,
            stages=frozenset(stages or Stage),
            run_id="run",
            client=reader,
        )
        return list(run_partitions(pipeline, days, reporter=SilentReporter(), threads=2))


@pytest.mark.parametrize(
    ("url", "key", "wanted"),
    [
        ("http://127.0.0.1:1", None, DEMO_KEY.get_secret_value()),
        ("http://localhost:1/api", None, DEMO_KEY.get_secret_value()),
        ("http://127.0.0.1:1", KEY.get_secret_value(), KEY.get_secret_value()),
        ("https://crm.example.com", KEY.get_secret_value(), KEY.get_secret_value()),
        ("https://crm.example.com", None, None),
        ("http://127.0.0.1.example.com", None, None),
        ("sqlite:///crm.db", None, None),
        ("/srv/drops", None, None),
        ("", None, None),
    ],
)
def test_key_of_a_source(url: str, key: str | None, wanted: str | None) -> None:
    settings = load_settings({"ETL_CRM_URL": url, VARIABLE: key or ""})
    found = pseudonym_key(settings, "crm")
    assert (found.get_secret_value() if found else None) == wanted
    if wanted is None:
        with pytest.raises(ConfigurationError) as refused:
            uses_demo_key(settings, [ORDER_LINES, PEOPLE])
        assert str(refused.value) == (
            "ETL_PSEUDONYM_KEY is not set, and crm/people has personal columns to hash "
            '(make one with: python -c "import secrets; print(secrets.token_hex(32))")'
        )
    else:
        assert uses_demo_key(settings, [ORDER_LINES, PEOPLE]) == (found is DEMO_KEY)
    assert not uses_demo_key(settings, [ORDER_LINES]), "what is only kept or masked needs no key"


def test_demo_key_is_told_once_per_process() -> None:
    said = io.StringIO()
    configure_logging("json", "INFO", stream=said)
    warn_of_demo_key.cache_clear()
    settings = load_settings({"ETL_CRM_URL": "http://127.0.0.1:1"})
    for stream in (ORDER_LINES, PEOPLE, replace(PEOPLE, name="others"), PEOPLE):
        pseudonymiser_of(settings, stream)
    (line,) = said.getvalue().splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("pseudonym_key_is_the_demos", "warning")
    assert "ETL_PSEUDONYM_KEY is not set" in told["message"]
    assert DEMO_KEY.get_secret_value() not in line


def test_a_real_source_is_not_asked_anything_without_a_key(environment_of: Callable[..., Any]) -> None:
    with crm() as (server, real):
        outcomes = load(environment_of(ETL_CRM_URL=real), DAYS)
        assert server.asked == []
        assert [outcome.partition for outcome in outcomes] == DAYS
        for outcome in outcomes:
            assert outcome.failure is not None
            assert outcome.failure.failure_class is FailureClass.PERMANENT
            assert outcome.failure.affects_all
            assert outcome.message.startswith("ETL_PSEUDONYM_KEY is not set, and crm/people has personal")
        (outcome,) = load(environment_of(ETL_CRM_URL=real, ETL_PSEUDONYM_KEY=KEY.get_secret_value()), [DAY])
        assert (outcome.status, len(server.asked)) == (Status.PUBLISHED, 1), "with it, it is"


def test_commands_refuse_a_real_source_without_a_key(environment_of: Callable[..., Any]) -> None:
    catalogue = StreamCatalogue({PEOPLE.id: PEOPLE}, {PEOPLE.id: Path(__file__)})
    with crm() as (server, real):
        settings = load_settings(environment_of(ETL_CRM_URL=real))
        for replay in (False, True):
            # The front door ends with 2 for this kind of error.
            with pytest.raises(ConfigurationError, match="ETL_PSEUDONYM_KEY is not set, and crm/people"):
                run_backfill(settings, catalogue, [PEOPLE], [DAY], quiet=True, replay=replay)
        assert server.asked == []


@pytest.mark.parametrize(("key", "noted"), [("", 1), (KEY.get_secret_value(), 0)])
def test_commands_note_the_demo_key_before_they_begin(
    environment_of: Callable[..., Any], capsys: pytest.CaptureFixture[str], key: str, noted: int
) -> None:
    catalogue = StreamCatalogue({PEOPLE.id: PEOPLE}, {PEOPLE.id: Path(__file__)})
    # An address that is refused as soon as it is looked at.
    settings = load_settings(environment_of(ETL_CRM_URL="http://me@127.0.0.1:1", ETL_PSEUDONYM_KEY=key))
    for quiet in (False, True):
        with pytest.raises(ConfigurationError, match="must not hold a user name"):
            run_backfill(settings, catalogue, [PEOPLE], [DAY], quiet=quiet)
    note = "note: ETL_PSEUDONYM_KEY is not set; personal data of the demo is hashed with a throw-away key"
    assert capsys.readouterr().err.count(note) == noted


def test_dagster_fails_all_days_at_once_and_for_good(
    environment_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with crm() as (server, real):
        # The address that is asked counts, not the one that the resource stands in for.
        for name, value in environment_of(ETL_CRM_URL=server.url).items():
            monkeypatch.setenv(name, value)
        settings = load_settings()
        monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1")
        catalogue = StreamCatalogue({PEOPLE.id: PEOPLE}, {PEOPLE.id: Path(__file__)})
        definitions = build_definitions(
            settings, streams=catalogue, marts=[], resources={"crm": SourceResource(url=real)}
        )
        with opened_instance(settings) as instance:
            result = load_days(definitions, instance, [PEOPLE], DAYS)
            retries = instance.all_logs(result.run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY)
        assert (server.asked, list(retries)) == ([], [])
    (said,) = result.failures.values()
    assert "8 of 8 days of crm/people were not published" in said
    assert "ETL_PSEUDONYM_KEY is not set" in said
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        found = warehouse.execute(
            "SELECT DISTINCT status, failure_class FROM etl.partitions GROUP BY ALL HAVING count(*) = 8"
        ).fetchall()
    assert found == [("failed", "permanent")]


def test_another_key_stages_anew(tmp_path: Path) -> None:
    landed = land(tmp_path, [[person()]], PEOPLE, DAY)
    places = []
    for key in (KEY, OTHER_KEY, KEY):
        staged = stage(tmp_path, landed, PEOPLE, key=key)
        assert [row["email"] for row in rows_of(staged)] == [hashed("ada@example.com", key)]
        places.append(staged.directory.name)
    assert places[0] == places[2] != places[1]


def test_replay_with_another_key_changes_the_pseudonyms_and_nothing_else(
    environment_of: Callable[..., Any],
) -> None:
    def rows() -> list[tuple[Any, ...]]:
        with duckdb.connect(str(load_settings(variables).warehouse_path), read_only=True) as warehouse:
            return warehouse.execute("SELECT person_id, name, email, phone FROM crm.people").fetchall()

    with crm() as (server, real):
        for key in (KEY, OTHER_KEY, KEY):
            variables = environment_of(ETL_CRM_URL=real, ETL_PSEUDONYM_KEY=key.get_secret_value())
            stages = [Stage.STAGE, Stage.COMMIT] if server.asked else list(Stage)
            (outcome,) = load(variables, [DAY], *stages)
            assert (outcome.status, outcome.counts.loaded) == (Status.PUBLISHED, 1)
            assert rows() == [("p-1", "A***", hashed("ada@example.com", key), None)]
        assert len(server.asked) == 1


class OnceInClear(Contract):
    """People, before anyone thought of tags, and none of them too young."""

    person_id: str = Field(unique=True)
    name: str = Field()
    email: str = Field()
    phone: str = Field(raw="telephone")
    nickname: str = Field()
    age: int = Field(ge=40)
    changed_at: Timestamp = Field()


class NowTagged(OnceInClear):
    """The same people."""

    email: str = Field(personal="hash")


def test_new_tags_supersede_what_the_quarantine_has_in_clear(environment_of: Callable[..., Any]) -> None:
    with crm() as (server, real):
        variables = environment_of(ETL_CRM_URL=real, ETL_PSEUDONYM_KEY=KEY.get_secret_value())
        load(variables, [DAY], stream=replace(PEOPLE, contract=OnceInClear))
        load(variables, [DAY], Stage.STAGE, Stage.COMMIT, stream=replace(PEOPLE, contract=NowTagged))
        assert len(server.asked) == 1
    with duckdb.connect(str(load_settings(variables).warehouse_path)) as warehouse:
        query = "SELECT raw_payload LIKE '%ada@example.com%', state FROM etl.quarantine ORDER BY ALL"
        assert warehouse.execute(query).fetchall() == [(False, "pending"), (True, "superseded")]
