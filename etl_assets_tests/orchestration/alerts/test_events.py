"""Every failed run and check is noticed once, on SQLite and on PostgreSQL, however many there are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.events import RunFailureReason
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    MAX_RETRIES_TAG,
    WILL_RETRY_TAG,
)
from dagster._core.test_utils import create_run_for_test

from etl_assets.alerts.conditions import Kind, Severity
from etl_assets.alerts.engine import tick
from etl_assets.alerts.problems import Problem, problems_in, with_conditions
from etl_assets.orchestration.alerts.event_cursor import EventCursor, storage_of
from etl_assets.orchestration.alerts.events import event_watcher
from etl_assets_tests.alerts.desk import Desk, Recorder, open_desk
from etl_assets_tests.orchestration.alerts.instances import (
    broken_job,
    check_job,
    fail_run,
    mended_job,
    postgres_instance,
    repeat_failure,
    run_checks,
    sqlite_instance,
)
from etl_assets_tests.sources.postgres import postgres_server

RULES = '[channels.chat]\nkind = "slack"\n'

BOTH_STORAGES = pytest.mark.parametrize("instance", ["sqlite", "postgres"], indirect=True)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """An instance on the project's own storage."""
    with sqlite_instance(tmp_path_factory.mktemp("sqlite")) as opened:
        yield opened


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """An instance on a real PostgreSQL server."""
    pytest.importorskip("dagster_postgres", reason="dagster-postgres is not installed")
    with (
        postgres_server() as server,
        postgres_instance(tmp_path_factory.mktemp("postgres"), server) as opened,
    ):
        yield opened


@pytest.fixture
def instance(request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    """An empty instance, on SQLite unless a test wants both storages."""
    opened: dg.DagsterInstance = request.getfixturevalue(f"on_{getattr(request, 'param', 'sqlite')}")
    yield opened
    opened.wipe()


class Watch(Recorder):
    """A desk that watches an instance's events."""

    def __init__(self, desk: Desk, instance: dg.DagsterInstance) -> None:
        super().__init__()
        self.desk, self.instance = desk, instance
        desk.now = datetime.now(UTC)

    def tick(self, seconds: float = 0, **more: Any) -> int:
        """Turn the clock, and tick; gives how many conditions were new."""
        self.desk.now += timedelta(seconds=seconds)
        done = tick(self.desk.scene(**more), [event_watcher(self.instance)], open_with=self.opener())
        assert done.failed == {}
        return done.new

    def problems(self) -> list[Problem]:
        """Give the open problems."""
        return [with_conditions(self.desk.outbox, each) for each in problems_in(self.desk.outbox, "open")]


@pytest.fixture
def watch(tmp_path: Path, instance: dg.DagsterInstance) -> Iterator[Watch]:
    """A desk with one channel."""
    with open_desk(tmp_path / "data", rules=RULES) as desk:
        yield Watch(desk, instance)


def test_a_failed_run_is_told_with_its_error_and_without_data(watch: Watch) -> None:
    result = broken_job.execute_in_process(instance=watch.instance, raise_on_error=False)
    assert watch.tick(15) == 1
    assert watch.tick(30) == 0
    [notice] = watch.notices
    assert notice.title == "job broken_job: 1 run failed"
    assert notice.error == "ValueError: cannot read '...' of ***@***"
    assert f"http://127.0.0.1:3000/runs/{result.run_id}" in {fact.url for fact in notice.facts}
    assert ("Step", "broken_op") in {(fact.label, fact.text) for fact in notice.facts}
    assert "Ada" not in notice.to_json()


def test_a_failed_asset_is_told_by_its_name_and_owner_and_is_over_when_it_is_made(watch: Watch) -> None:
    owners = {"machines/pump": "team:works"}
    leaks = True

    @dg.asset(key_prefix="machines")
    def pump() -> None:
        if leaks:
            raise RuntimeError("it leaks")

    definitions = dg.Definitions(assets=[pump], jobs=[dg.define_asset_job("watering", [pump])])
    for leaks in (True, False):  # noqa: B007 - the asset looks at it
        definitions.resolve_job_def("watering").execute_in_process(
            instance=watch.instance, raise_on_error=False
        )
        watch.tick(15, owners=owners)
        watch.tick(30, owners=owners)
    assert [notice.status for notice in watch.notices] == ["new", "recovered"]
    assert watch.titles[0] == "machines/pump: 1 run failed"
    assert watch.notices[0].owners == ("team:works",)


def test_assets_whose_run_was_killed_are_named_and_over_when_they_are_made(watch: Watch) -> None:
    """Nothing in the failure's own event says what happened to the run, or which assets it was to make."""

    @dg.asset
    def boiler() -> None:
        """Be made."""

    @dg.asset(key_prefix=["machines", "old"])
    def pump() -> None:
        """Be made too."""

    owners = {"boiler": "team:works", "machines/old/pump": "team:works"}
    assets = [boiler, pump]
    for number in (1, 2):
        run = create_run_for_test(
            watch.instance,
            job_name="__ASSET_JOB",
            asset_selection=frozenset(asset.key for asset in assets),
            status=dg.DagsterRunStatus.STARTED,
            tags={MAX_RETRIES_TAG: "0"},
        )
        watch.instance.report_engine_event(
            f"[DagsterApiServer] Process {number} was terminated by signal 9", run
        )
        watch.instance.report_run_failed(run)
        watch.tick(15, owners=owners)
    watch.tick(30, owners=owners)
    [notice] = watch.notices
    assert notice.title == "boiler, machines/old/pump: 2 runs failed"
    assert notice.error == "Process 2 was terminated by signal 9"
    assert notice.owners == ("team:works",)
    for asset in assets:
        assert len(watch.notices) == 1
        watch.desk.now = datetime.now(UTC)
        assert dg.materialize([asset], instance=watch.instance).success
        watch.tick(30, owners=owners)
    assert [notice.status for notice in watch.notices] == ["new", "recovered"]


def test_a_run_of_days_that_was_killed_is_told_with_its_days(watch: Watch) -> None:
    days = {
        "dagster/asset_partition_range_start": "2025-01-06",
        "dagster/asset_partition_range_end": "2025-01-08",
    }
    run = create_run_for_test(
        watch.instance,
        job_name="__ASSET_JOB",
        asset_selection=frozenset({dg.AssetKey(["warehouse", "shop", "orders"])}),
        status=dg.DagsterRunStatus.STARTED,
        tags={MAX_RETRIES_TAG: "0", **days},
    )
    watch.instance.report_run_failed(run)
    watch.tick(15)
    watch.tick(30)
    [notice] = watch.notices
    facts = {fact.label: fact.text for fact in notice.facts}
    assert notice.title == "shop/orders: 1 run failed"
    assert facts["Where"] == "shop/orders: 2025-01-06, 2025-01-07, 2025-01-08"
    assert facts["How much"] == "1 run, 3 days"


@BOTH_STORAGES
def test_it_is_over_when_the_job_succeeds(watch: Watch) -> None:
    broken_job.execute_in_process(instance=watch.instance, raise_on_error=False)
    watch.tick(15)
    watch.tick(30)
    mended_job.execute_in_process(instance=watch.instance)
    watch.tick(30)
    assert [notice.status for notice in watch.notices] == ["new", "recovered"]


def test_a_run_is_not_told_when_a_retry_of_it_is_coming(watch: Watch) -> None:
    run_id = fail_run(watch.instance, 1, at=watch.desk.now, reason=RunFailureReason.UNKNOWN)
    watch.tick()
    watch.tick(60)
    watch.instance.add_run_tags(run_id, {AUTO_RETRY_RUN_ID_TAG: "another"})
    watch.tick(60)
    watch.tick(3_600)
    assert watch.notices == []
    assert EventCursor.from_text(watch.desk.outbox.cursor("events")).awaited == {}


def test_a_retry_that_never_came_is_told_of(watch: Watch) -> None:
    fail_run(watch.instance, 1, at=watch.desk.now, reason=RunFailureReason.UNKNOWN)
    watch.tick()
    watch.tick(300)
    assert watch.notices == []
    watch.tick(600)
    watch.tick(60)
    assert watch.titles == ["job nightly: 1 run failed"]


def test_while_dagster_has_not_decided_about_a_retry_nothing_is_told(watch: Watch) -> None:
    run_id = fail_run(watch.instance, 1, at=watch.desk.now)
    run = watch.instance.get_run_by_id(run_id)
    assert run is not None
    tags = {name: value for name, value in run.tags.items() if name != WILL_RETRY_TAG}
    storage = watch.instance.run_storage
    # As in the moment between the event and the tag.
    storage.delete_run(run_id)
    storage.add_run(replace_tags(run, tags))
    assert watch.tick(2) == 0
    watch.instance.add_run_tags(run_id, {WILL_RETRY_TAG: "false"})
    assert watch.tick(2) == 1


def replace_tags(run: dg.DagsterRun, tags: dict[str, str]) -> dg.DagsterRun:
    """Give a run with other tags."""
    return run.with_tags(tags)


def test_runs_of_a_backfill_are_left_to_its_summary(watch: Watch) -> None:
    fail_run(watch.instance, 1, tags={BACKFILL_ID_TAG: "b1"})
    assert watch.tick(15) == 0


def test_what_happened_long_before_is_nobodys_news(watch: Watch) -> None:
    fail_run(watch.instance, 1, at=watch.desk.outbox.begun_at() - timedelta(days=2))
    fail_run(watch.instance, 2, at=watch.desk.outbox.begun_at() - timedelta(hours=2))
    assert watch.tick(15) == 1


@BOTH_STORAGES
def test_a_failed_check_is_told_by_its_severity_and_is_over_when_it_passes(watch: Watch) -> None:
    warn, error = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
    run_checks(watch.instance, check_job("complete", passed=False, severity=warn))
    run_checks(watch.instance, check_job("fresh", passed=False, severity=error))
    watch.tick(15)
    watch.tick(30)
    assert [(notice.title, notice.severity) for notice in watch.notices] == [
        ("parts: 1 result failed a check", Severity.WARNING),
        ("parts: 1 result failed a check", Severity.ERROR),
    ]
    said = watch.notices[0].to_json()
    assert "3 parts of '...' are missing" in said
    assert "Ada" not in said
    assert ("missing", "3") in {(fact.label, fact.text) for fact in watch.notices[0].facts}
    run_checks(watch.instance, check_job("complete", passed=True, severity=warn))
    watch.tick(30)
    assert [notice.status for notice in watch.notices] == ["new", "new", "recovered"]
    assert [problem.kind for problem in watch.problems()] == [Kind.CHECK_FAILED]


def test_what_is_not_fresh_is_told_by_its_late_day_unless_there_is_no_deadline(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    streams = ("orders", "order_lines")
    assets = [dg.AssetSpec(["warehouse", "shop", name]) for name in streams]

    @dg.multi_asset_check(specs=[dg.AssetCheckSpec("freshness", asset=spec.key) for spec in assets])
    def freshness() -> Iterator[dg.AssetCheckResult]:
        for spec in assets:
            yield dg.AssetCheckResult(
                asset_key=spec.key,
                check_name="freshness",
                passed=False,
                severity=dg.AssetCheckSeverity.WARN,
                description="the newest day is missing",
            )

    definitions = dg.Definitions(
        assets=assets,
        asset_checks=[freshness],
        jobs=[dg.define_asset_job("looking", dg.AssetSelection.all_asset_checks())],
    )
    assert definitions.resolve_job_def("looking").execute_in_process(instance=instance).success
    with open_desk(tmp_path / "data", rules=f'{RULES}[streams."shop/orders"]\ndeadline = "never"\n') as desk:
        watch = Watch(desk, instance)
        watch.tick(15)
        assert [problem.subjects for problem in watch.problems()] == [("shop/orders",)]


@pytest.mark.parametrize(
    ("instance", "restarts"), [("sqlite", False), ("sqlite", True), ("postgres", True)], indirect=["instance"]
)
def test_more_failures_than_a_sensor_of_dagsters_takes_are_all_noticed(watch: Watch, restarts: bool) -> None:
    """Dagster's own run-status sensor takes five a tick."""
    first = fail_run(watch.instance, 0, at=watch.desk.now)
    repeat_failure(watch.instance, first, range(1, 30), watch.desk.now)
    watch.tick(15)
    if restarts:
        # A new daemon knows only what was written down.
        watch = Watch(watch.desk, watch.instance)
    repeat_failure(watch.instance, first, range(30, 60), watch.desk.now)
    for _ in range(4):
        watch.tick(45)
    [problem] = watch.problems()
    assert len({occurrence.key for occurrence in problem.occurrences}) == 60
    assert problem.times == 60


@BOTH_STORAGES
def test_an_event_that_becomes_visible_late_is_noticed(watch: Watch) -> None:
    """On PostgreSQL a greater number may be committed before a smaller one."""
    first, second = (fail_run(watch.instance, number, at=watch.desk.now) for number in (1, 2))
    storage = storage_of(watch.instance)
    with storage.index_transaction() as connection:
        [hidden] = connection.execute(sa.select(Events).where(Events.c.run_id == first)).mappings().fetchall()
        connection.execute(sa.delete(Events).where(Events.c.id == hidden["id"]))
    assert watch.tick(15) == 1
    assert watch.tick(30) == 0
    with storage.index_transaction() as connection:
        connection.execute(sa.insert(Events).values(dict(hidden)))
    assert watch.tick(5) == 1
    assert {occurrence.key for problem in watch.problems() for occurrence in problem.occurrences} == {
        first,
        second,
    }
    watch.tick(70)
    assert EventCursor.from_text(watch.desk.outbox.cursor("events")).seen == {}


def test_an_event_that_cannot_be_read_stops_no_other(watch: Watch) -> None:
    for number in range(3):
        fail_run(watch.instance, number, at=watch.desk.now)
    with storage_of(watch.instance).index_transaction() as connection:
        smallest = connection.execute(sa.select(sa.func.min(Events.c.id))).scalar()
        connection.execute(sa.update(Events).where(Events.c.id == smallest).values(event='{"half'))
    assert watch.tick(15) == 2


def test_a_tick_without_time_goes_on_next_time(watch: Watch) -> None:
    for number in range(3):
        fail_run(watch.instance, number, at=watch.desk.now)
    assert watch.tick(15, deadline=time.monotonic() - 1) == 0
    assert watch.tick(15) == 3


@BOTH_STORAGES
def test_a_thousand_failing_runs_are_a_few_messages_with_the_right_counts(watch: Watch) -> None:
    """They fail within a minute, while the sensor ticks."""
    first = fail_run(watch.instance, 0, at=watch.desk.now)
    for quarter in range(4):
        numbers = range(max(quarter * 250, 1), (quarter + 1) * 250)
        repeat_failure(watch.instance, first, numbers, watch.desk.now)
        watch.tick(15)
    for _ in range(20):
        watch.tick(30)
    watch.tick(3_600)
    assert len(watch.notices) <= 5
    assert watch.titles[-1] == "job nightly: 1,000 runs failed"
    [problem] = watch.problems()
    assert (problem.total, problem.times) == (1_000, 1_000)


def test_a_cursor_is_kept_as_it_is() -> None:
    cursor = EventCursor(7, {1.5: [9, 8]}, {"run": (8, 1.0)})
    assert EventCursor.from_text(cursor.to_text()) == replace(cursor)
