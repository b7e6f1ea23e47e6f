"""Schedules and sensors that fail, lag or are off, backfills that end, and a daemon that has stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from etl_assets.alerts.conditions import Condition, Kind, Report, Severity
from etl_assets.alerts.problems import problems_in, with_conditions, write_down
from etl_assets.alerts.story import title_of
from etl_assets.alerts.wording import did
from etl_assets.build import build_definitions
from etl_assets.cli.main import run
from etl_assets.orchestration.alerts.backfills import backfill_watcher
from etl_assets.orchestration.alerts.instigators import Declared, declared_in, instigator_watcher
from etl_assets.orchestration.alerts.sensor import owners_in
from etl_assets.orchestration.alerts.watchdog import examine
from etl_assets.settings import load_settings
from etl_assets_tests.alerts.desk import Desk, open_desk, slack_server
from etl_assets_tests.orchestration.alerts.instances import fail_run, sqlite_instance

SCHEDULE = Declared("nightly", Kind.SCHEDULE_FAILING, cron="0 2 * * *")
SENSOR = Declared("marts", Kind.SENSOR_FAILING, interval=timedelta(seconds=30))
NOW = datetime(2025, 3, 5, 12, tzinfo=UTC)
BEGUN = NOW - timedelta(days=3)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """An instance of the project."""
    with sqlite_instance(tmp_path_factory.mktemp("instance")) as opened:
        yield opened


@pytest.fixture
def instance(shared: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """The same, empty."""
    yield shared
    shared.wipe()
    shared.wipe_all_schedules()
    shared.wipe_daemon_heartbeats()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk some days after it was opened."""
    with open_desk(tmp_path / "data") as opened:
        opened.now = NOW
        yield opened


def add_state(
    instance: dg.DagsterInstance,
    declared: Declared,
    status: InstigatorStatus = InstigatorStatus.DECLARED_IN_CODE,
) -> InstigatorState:
    """Have the daemon know a schedule or sensor."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="etl_assets.definitions"), "etl_assets.definitions"
    )
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), declared.name)
    is_schedule = declared.kind is Kind.SCHEDULE_FAILING
    return instance.add_instigator_state(
        InstigatorState(
            origin,
            InstigatorType.SCHEDULE if is_schedule else InstigatorType.SENSOR,
            status,
            ScheduleInstigatorData(declared.cron, BEGUN.timestamp())
            if is_schedule
            else SensorInstigatorData(),
        )
    )


def add_ticks(
    instance: dg.DagsterInstance, state: InstigatorState, ticks: Sequence[tuple[datetime, TickStatus]]
) -> None:
    """Have a schedule or sensor tick."""
    for at, status in ticks:
        error = (
            SerializableErrorInfo("the tick failed", [], "SensorExecutionError", cause=CORE)
            if status is TickStatus.FAILURE
            else None
        )
        instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=state.name,
                instigator_type=state.instigator_type,
                status=status,
                timestamp=at.timestamp(),
                selector_id=state.selector_id,
                run_ids=["run"] if status is TickStatus.SUCCESS else [],
                error=error,
            )
        )


def look(instance: dg.DagsterInstance, desk: Desk, *declared: Declared) -> list[Condition]:
    """Give what is wrong with schedules and sensors."""
    return list(instigator_watcher(instance, list(declared)).watch(desk.scene()).conditions)


def at_two(day: int) -> datetime:
    """Give the time of a day's schedule."""
    return datetime(2025, 3, day, 2, tzinfo=UTC)


CORE = SerializableErrorInfo("ValueError: cannot read 'Ada'", [], "ValueError")
GOOD, BAD = TickStatus.SUCCESS, TickStatus.FAILURE


@pytest.mark.parametrize(
    ("ticks", "said"),
    [
        ([(at_two(4), GOOD), (at_two(5), GOOD)], []),
        ([(at_two(4), BAD), (at_two(5), GOOD)], []),
        ([(at_two(4), GOOD), (at_two(5), BAD)], ["ValueError: cannot read '...'"]),
        ([(at_two(4), GOOD)], ["a tick was due 10 h ago"]),
        ([], ["a tick was due 10 h ago"]),
    ],
    ids=["good", "mended", "failed", "one missing", "all missing"],
)
def test_a_schedule(
    instance: dg.DagsterInstance, desk: Desk, ticks: list[tuple[datetime, TickStatus]], said: list[str]
) -> None:
    add_ticks(instance, add_state(instance, SCHEDULE), ticks)
    found = look(instance, desk, SCHEDULE)
    assert [condition.error for condition in found] == said
    assert {condition.subject for condition in found} <= {"schedule nightly"}


@pytest.mark.parametrize(
    ("statuses", "ago", "said"),
    [
        ([GOOD, BAD, BAD], 1, []),
        ([BAD, TickStatus.SKIPPED, BAD, BAD], 1, []),
        ([GOOD, BAD, BAD, BAD], 1, ["ValueError: cannot read '...'"]),
        ([GOOD], 30, ["a tick was due 29 min 30 s ago"]),
        ([], 0, []),
    ],
    ids=["two failures", "two after a good one", "three failures", "silent", "new"],
)
def test_a_sensor(
    instance: dg.DagsterInstance, desk: Desk, statuses: list[TickStatus], ago: float, said: list[str]
) -> None:
    last = NOW - timedelta(minutes=ago)
    times = [last - timedelta(seconds=30 * number) for number in reversed(range(len(statuses)))]
    add_ticks(instance, add_state(instance, SENSOR), list(zip(times, statuses, strict=True)))
    assert [condition.error for condition in look(instance, desk, SENSOR)] == said


def test_a_sensor_that_goes_on_failing_is_counted_once_and_told_with_the_error_at_its_core(
    instance: dg.DagsterInstance, desk: Desk
) -> None:
    """And the failures of another day's schedule are counted."""
    sensor, schedule = add_state(instance, SENSOR), add_state(instance, SCHEDULE)
    watcher = instigator_watcher(instance, [SENSOR, SCHEDULE])
    for number in range(6):
        add_ticks(instance, sensor, [(NOW + timedelta(seconds=30 * number), BAD)])
    for day in (4, 5):
        add_ticks(instance, schedule, [(at_two(day), BAD)])
        for _ in range(2):
            add_ticks(instance, sensor, [(desk.now, BAD)])
            write_down(desk.outbox, watcher.name, watcher.watch(desk.scene()), desk.now)
            desk.now += timedelta(minutes=2)
    found = {problem.kind: problem for problem in problems_in(desk.outbox, "open")}
    assert {kind: problem.times for kind, problem in found.items()} == {
        Kind.SENSOR_FAILING: 1,
        Kind.SCHEDULE_FAILING: 2,
    }
    for problem in found.values():
        [occurrence] = with_conditions(desk.outbox, problem).occurrences
        assert occurrence.error == "ValueError: cannot read '...'"


def test_owners_of_a_users_own_assets_are_those_that_dagster_shows(tmp_path: Path) -> None:
    settings = load_settings({"ETL_DATA_DIR": str(tmp_path)})
    owners = owners_in(build_definitions(settings).get_repository_def())
    assert owners["reports/data_quality"] == "team:data"
    assert owners["marts/daily_sales"] == "team:sales"


def test_what_somebody_switched_off_is_told_mildly(instance: dg.DagsterInstance, desk: Desk) -> None:
    add_state(instance, SCHEDULE, InstigatorStatus.STOPPED)
    add_ticks(instance, add_state(instance, SENSOR), [(NOW - timedelta(hours=1), GOOD)])
    found = look(instance, desk, SCHEDULE, SENSOR)
    assert [(condition.how_severe, condition.error) for condition in found] == [
        (Severity.WARNING, "it was switched off by hand"),
        (Severity.ERROR, "a tick was due 59 min 30 s ago"),
    ]
    write_down(desk.outbox, "desk", Report(conditions=found), desk.now)
    off, lag = (with_conditions(desk.outbox, problem) for problem in problems_in(desk.outbox, "open"))
    assert (title_of(off), did(off)) == (
        "schedule nightly is switched off",
        "Nothing: nothing is launched while it is off.",
    )
    assert (title_of(lag), did(lag)) == ("sensor marts lags", "Dagster tries again at the next tick.")


def test_the_projects_own_schedules_and_sensors_are_watched(tmp_path: Path) -> None:
    settings = load_settings({"ETL_DATA_DIR": str(tmp_path), "ETL_SLACK_WEBHOOK_URL": "http://127.0.0.1:1/x"})
    declared = declared_in(build_definitions(settings).get_repository_def())
    assert {(each.name, each.is_on) for each in declared} == {
        ("daily_at_0200_utc", True),
        ("data_quality_at_0600_utc", True),
        ("mart_automation", True),
        ("alerts", True),
    }
    assert {each.cron for each in declared if each.kind is Kind.SCHEDULE_FAILING} == {
        "0 2 * * *",
        "0 6 * * *",
    }


def add_backfill(
    instance: dg.DagsterInstance, name: str, status: BulkActionStatus, at: datetime
) -> PartitionBackfill:
    """Have a backfill of orders."""
    backfill = PartitionBackfill(
        backfill_id=name,
        status=status,
        from_failure=False,
        tags={},
        backfill_timestamp=at.timestamp(),
        asset_selection=[
            dg.AssetKey(["warehouse", "shop", "orders"]),
            dg.AssetKey(["raw", "shop", "orders"]),
        ],
        partition_names=["2025-03-01"],
        backfill_end_timestamp=(at + timedelta(minutes=5)).timestamp(),
    )
    instance.add_backfill(backfill)
    return backfill


def test_a_backfill_is_told_once_when_it_ends(instance: dg.DagsterInstance, desk: Desk) -> None:
    # The storage notes by its own clock when a backfill was made.
    desk.now = datetime.now(UTC)
    watcher = backfill_watcher(instance)

    def seen() -> list[Condition]:
        """Look, and give what had not been written down before."""
        known = {problem.scope for problem in problems_in(desk.outbox, "open")}
        report = watcher.watch(desk.scene())
        write_down(desk.outbox, watcher.name, report, desk.now)
        desk.now += timedelta(minutes=2)
        return [condition for condition in report.conditions if condition.subject not in known]

    under_way = add_backfill(instance, "slow", BulkActionStatus.REQUESTED, desk.now)
    add_backfill(instance, "quick", BulkActionStatus.COMPLETED_SUCCESS, desk.now)
    fail_run(instance, 1, tags={BACKFILL_ID_TAG: "slow"})
    [quick] = seen()
    assert (quick.subject, quick.how_severe, quick.owner) == ("Backfill quick", Severity.INFO, "team:sales")
    assert quick.details["What"] == "shop/orders"
    assert quick.details["Ended"] == "every run succeeded, after 5 min"
    desk.now += timedelta(days=1)
    ended: PartitionBackfill = under_way.with_status(  # type: ignore[no-untyped-call]
        BulkActionStatus.COMPLETED_FAILED
    )
    instance.update_backfill(ended)
    [slow] = seen()
    assert (slow.subject, slow.how_severe) == ("Backfill slow", Severity.ERROR)
    assert slow.details["Runs"] == "1 failed"
    assert seen() == []
    assert [problem.times for problem in problems_in(desk.outbox, "open")] == [1, 1]


def beat(instance: dg.DagsterInstance, at: datetime) -> None:
    """Have every part of the daemon show that it is alive."""
    for kind in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), kind, "id", []))


def test_the_watchdog_tells_when_the_daemon_has_stopped_and_when_it_runs_again(tmp_path: Path) -> None:
    with slack_server() as slack:
        settings = load_settings({"ETL_DATA_DIR": str(tmp_path), **slack.variables})
        with sqlite_instance(tmp_path) as instance:
            beat(instance, datetime.now(UTC))
            now = datetime.now(UTC)
            assert examine(settings, [], now=now) == ["alerts (sensor alerts): it has never looked"]
            beat(instance, now - timedelta(hours=1))
            found = examine(settings, [], now=now + timedelta(seconds=60))
            assert found[0].startswith("the Dagster daemon: no sign of life since ")
            examine(settings, [], now=now + timedelta(seconds=120))
            assert any("the Dagster daemon has stopped" in title for title in slack.titles)
            assert any("alerts (sensor alerts) stopped" in title for title in slack.titles)
            beat(instance, datetime.now(UTC))
            examine(settings, [], now=now + timedelta(seconds=180))
            assert slack.titles[-1] == "[over] the Dagster daemon has stopped"


def test_without_a_daemon_the_watchdog_does_the_work_itself(tmp_path: Path) -> None:
    with slack_server() as slack:
        settings = load_settings({"ETL_DATA_DIR": str(tmp_path), **slack.variables})
        with sqlite_instance(tmp_path) as instance:
            fail_run(instance, 1)
            now = datetime.now(UTC)
            assert examine(settings, None, now=now + timedelta(seconds=15)) == []
            assert examine(settings, None, now=now + timedelta(seconds=60)) == []
        assert slack.titles == ["[error] job nightly: 1 run failed"]


def test_a_probe_says_nothing_to_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path))
    with slack_server() as slack:
        monkeypatch.setenv("ETL_SLACK_WEBHOOK_URL", slack.variables["ETL_SLACK_WEBHOOK_URL"])
        assert run(["watchdog", "--no-tell"]) == 1
        said = capsys.readouterr().out
        assert "the Dagster daemon: it has never run here" in said
        assert slack.server.asked == []
        assert run(["watchdog", "--no-tell", "--no-daemon"]) == 0
        assert capsys.readouterr().out == "everything is alive\n"
