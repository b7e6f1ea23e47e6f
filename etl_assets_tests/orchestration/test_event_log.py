"""The batching event log holds what Dagster's own holds, whoever writes at once and whenever one dies.

Annotations are evaluated here: Dagster refuses a context parameter whose annotation is text.
"""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.event_api import EventRecordsFilter, PartitionKeyFilter, RunStatusChangeRecordsFilter
from dagster._core.events import (
    AssetMaterializationPlannedData,
    AssetObservationData,
    DagsterEvent,
    DagsterEventType,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._serdes import serialize_value

from etl_assets.orchestration.check_targets import latest_materializations
from etl_assets.orchestration.event_batches import EVENT_BATCH_SIZE_VARIABLE, enable_event_batches
from etl_assets.orchestration.event_log import BatchingSqliteEventLogStorage
from etl_assets.orchestration.event_reports import add_partition_metadata, log_events
from etl_assets.orchestration.shard_connections import KEPT_CONNECTIONS

RAW, STAGED, NOTES = dg.AssetKey(["raw", "shop"]), dg.AssetKey(["staged", "shop"]), dg.AssetKey(["notes"])
PARTITIONS = dg.DailyPartitionsDefinition(start_date="2025-01-01")
DAYS = [f"2025-01-{day:02}" for day in range(1, 13)]
RUNS = ["11111111-run", "22222222-run"]
CONTRACT, TOTALS = dg.AssetCheckKey(STAGED, "contract"), dg.AssetCheckKey(STAGED, "totals")

BATCHING_CONFIG = """
telemetry: {enabled: false}
storage:
  custom:
    module: etl_assets.orchestration.event_log
    class: BatchingSqliteStorage
    config: {base_dir: "%s", event_batch_size: 50}
"""
DEFAULT_CONFIG = "telemetry: {enabled: false}\n# %s\n"


@pytest.fixture(autouse=True)
def _no_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the storage sets the variable; every test starts and ends without it."""
    monkeypatch.setenv(EVENT_BATCH_SIZE_VARIABLE, "0")
    monkeypatch.delenv(EVENT_BATCH_SIZE_VARIABLE)


@contextmanager
def open_instance(home: Path, config: str = BATCHING_CONFIG) -> Iterator[dg.DagsterInstance]:
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(config % home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def shards(home: Path) -> Path:
    return home / "history" / "runs"


def entry(
    run_id: str, kind: DagsterEventType | None, data: Any, second: int, step_key: str | None = None
) -> EventLogEntry:
    event = kind and DagsterEvent(kind.value, "load", event_specific_data=data, step_key=step_key)
    return EventLogEntry(  # type: ignore[no-untyped-call] # Dagster leaves its constructor untyped
        error_info=None,
        level=10,
        user_message=f"message {second}",
        run_id=run_id,
        timestamp=1_750_000_000.25 + second,
        step_key=step_key,
        job_name="load",
        dagster_event=event or None,
    )


def materialized(run_id: str, key: dg.AssetKey, day: str | None, second: int) -> EventLogEntry:
    what = dg.AssetMaterialization(
        key, partition=day, metadata={"rows": second}, tags={DATA_VERSION_TAG: f"v{second}", "other": "tag"}
    )
    return entry(run_id, DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(what), second, "op")


def evaluated(
    run_id: str, key: dg.AssetCheckKey, day: str | None, passed: bool, second: int
) -> EventLogEntry:
    what = dg.AssetCheckEvaluation(
        asset_key=key.asset_key, check_name=key.name, passed=passed, partition=day, metadata={"bad": second}
    )
    return entry(run_id, DagsterEventType.ASSET_CHECK_EVALUATION, what, second, "op")


def planned_check(run_id: str, key: dg.AssetCheckKey, days: Sequence[str], second: int) -> EventLogEntry:
    subset = PARTITIONS.subset_with_partition_keys(days).to_serializable_subset() if days else None
    what = AssetCheckEvaluationPlanned(asset_key=key.asset_key, check_name=key.name, partitions_subset=subset)
    return entry(run_id, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, what, second, "op")


def events_of_two_runs() -> list[EventLogEntry]:
    """Every kind of event that changes the index, and some that do not, of two runs and of none."""
    events: list[EventLogEntry] = []
    for run_number, run_id in enumerate(RUNS):
        base = 1000 * run_number
        events.append(entry(run_id, DagsterEventType.RUN_START, None, base))
        for key in (STAGED, RAW):
            for number, day in enumerate(DAYS):
                planned = AssetMaterializationPlannedData(key, partition=day)
                kind = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
                events.append(entry(run_id, kind, planned, base + number + 1, "op"))
        events += [
            planned_check(run_id, CONTRACT, DAYS, base + 20),
            planned_check(run_id, TOTALS, [], base + 21),
        ]
        events.append(entry(run_id, None, None, base + 22))
        for number, day in enumerate(DAYS[: 9 - run_number]):
            second = base + 30 + 10 * number
            events += [
                materialized(run_id, RAW, day, second),
                evaluated(run_id, CONTRACT, day, number % 3 != 1, second + 1),
                materialized(run_id, STAGED, day, second + 2),
                entry(run_id, DagsterEventType.STEP_START, None, second + 3, "op"),
            ]
        seen = AssetObservationData(dg.AssetObservation(NOTES, tags={DATA_VERSION_TAG: f"n{run_number}"}))
        events.append(entry(run_id, DagsterEventType.ASSET_OBSERVATION, seen, base + 500))
        events.append(evaluated(run_id, TOTALS, None, bool(run_number), base + 501))
        events.append(entry("", DagsterEventType.ASSET_OBSERVATION, seen, base + 502))
        events.append(evaluated("", CONTRACT, DAYS[3 + run_number], True, base + 503))
        events.append(entry(run_id, DagsterEventType.RUN_SUCCESS, None, base + 600))
    return events


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that a shard holds, but for the times at which rows were inserted."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        content = {}
        for name in names:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            kept = ", ".join(
                f'"{c}"' for c in columns if c not in ("create_timestamp", "migration_completed")
            )
            content[name] = connection.execute(f"SELECT {kept} FROM {name} ORDER BY rowid").fetchall()
        return content


def answers(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the UI and the sensors ask the event log."""
    log = instance.event_log_storage
    asset_kinds = [
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_OBSERVATION,
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    ]
    keys = [RAW, STAGED, NOTES]
    checks = [CONTRACT, TOTALS]
    first_run_check_storage_id = log.get_asset_check_execution_history(CONTRACT, limit=100)[-1].id
    return {
        "records": [log.get_event_records(EventRecordsFilter(kind)) for kind in asset_kinds],
        # Dagster gives runs in the order of when they were updated, which depends on how long that took.
        "evaluations": sorted(
            log.get_event_records(EventRecordsFilter(DagsterEventType.ASSET_CHECK_EVALUATION)),
            key=lambda record: record.timestamp,
        ),
        "runs": [log.get_records_for_run(run_id) for run_id in [*RUNS, ""]],
        "page": log.get_records_for_run(RUNS[0], log.get_records_for_run(RUNS[0], limit=10).cursor, limit=7),
        "stats": [log.get_stats_for_run(run_id) for run_id in RUNS],
        "steps": [log.get_step_stats_for_run(run_id) for run_id in RUNS],
        "partitions": [log.get_materialized_partitions(key) for key in keys],
        "partitions of run": [log.get_asset_partitions_for_run(run_id) for run_id in RUNS],
        "latest by partition": [
            log.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION)
            for key in keys
        ],
        "tags": log.get_latest_tags_by_partition(
            RAW, DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
        ),
        "event tags": log.get_event_tags_for_asset(RAW),
        "latest": log.get_latest_materialization_events(keys),
        "assets": [
            # the row id and the insertion time are the storage's own business
            (record.asset_entry.asset_key, record.asset_entry.last_run_id)
            for record in log.get_asset_records(keys)
        ],
        "keys": log.all_asset_keys(),
        "planned": log.get_latest_planned_materialization_info(RAW, DAYS[-1]),
        "attempts": log.get_latest_asset_partition_materialization_attempts_without_materializations(RAW),
        "materializations": log.fetch_materializations(RAW, limit=100),
        "by cursor": log.fetch_materializations(STAGED, limit=3, cursor=None, ascending=True),
        "observations": log.fetch_observations(NOTES, limit=100),
        "status changes": log.fetch_run_status_changes(
            RunStatusChangeRecordsFilter(DagsterEventType.RUN_SUCCESS), limit=10
        ),
        "history": [
            [
                (r.status, r.run_id, r.partition, r.event)
                for r in log.get_asset_check_execution_history(key, 100)
            ]
            for key in checks
        ],
        "one day": [
            (r.status, r.event)
            for r in log.get_asset_check_execution_history(
                CONTRACT, limit=10, partition_filter=PartitionKeyFilter(key=DAYS[1])
            )
        ],
        "check partitions": log.get_asset_check_partition_info([CONTRACT], after_storage_id=None),
        "oldest check": first_run_check_storage_id,
        "latest checks": {
            key: (record.status, record.event)
            for key, record in log.get_latest_asset_check_execution_by_key(checks).items()
        },
    }


class TestSameAsDagster:
    @pytest.mark.parametrize("batched", [False, True], ids=["one-by-one", "batches"])
    def test_tables_and_answers(self, tmp_path: Path, batched: bool) -> None:
        events = events_of_two_runs()
        expected, got = tmp_path / "default", tmp_path / "batching"
        with open_instance(expected, DEFAULT_CONFIG) as default, open_instance(got) as batching:
            assert type(default.event_log_storage) is SqliteEventLogStorage
            assert type(batching.event_log_storage) is BatchingSqliteEventLogStorage
            for instance in (default, batching):
                for run_id in RUNS:
                    instance.add_run(DagsterRun(job_name="load", run_id=run_id))
            for event in events:
                default.event_log_storage.store_event(event)
            if batched:
                batching.event_log_storage.store_event_batch(events)
            else:
                for event in events:
                    batching.event_log_storage.store_event(event)
            wanted, given = answers(default), answers(batching)
            assert wanted["partitions"][0] == set(DAYS[:9])
            for question, answer in wanted.items():
                assert given[question] == answer, question
            names = sorted(path.name for path in shards(expected).glob("*.db"))
            assert names == sorted(path.name for path in shards(got).glob("*.db"))
            for name in names:
                assert tables(shards(got) / name) == tables(shards(expected) / name), name

    def test_each_opens_what_the_other_wrote(self, tmp_path: Path) -> None:
        events = events_of_two_runs()
        half = len(events) // 2
        mixed, alone = tmp_path / "mixed", tmp_path / "alone"
        for home, first in ((mixed, DEFAULT_CONFIG), (alone, BATCHING_CONFIG)):
            with open_instance(home, first) as instance:
                instance.event_log_storage.store_event_batch(events[:half])
            with open_instance(home) as instance:
                instance.event_log_storage.store_event_batch(events[half:])
        with open_instance(mixed, DEFAULT_CONFIG) as instance:
            assert instance.event_log_storage.get_materialized_partitions(RAW) == set(DAYS[:9])
        assert tables(shards(mixed) / "index.db") == tables(shards(alone) / "index.db")

    def test_wiping_one_asset_and_deleting_a_run(self, tmp_path: Path) -> None:
        with open_instance(tmp_path) as instance:
            for run_id in RUNS:
                instance.add_run(DagsterRun(job_name="load", run_id=run_id))
            log = instance.event_log_storage
            log.store_event_batch(events_of_two_runs())
            log.wipe_asset(RAW)
            assert log.get_materialized_partitions(RAW) == set()
            assert log.get_materialized_partitions(STAGED) == set(DAYS[:9])
            instance.delete_run(RUNS[0])
            assert log.get_records_for_run(RUNS[0]).records == []
            assert log.get_records_for_run(RUNS[1]).records


class TestAllOrNothing:
    def test_a_batch_that_cannot_be_stored_leaves_nothing(self, tmp_path: Path) -> None:
        log = BatchingSqliteEventLogStorage(str(tmp_path))
        log.store_event(materialized(RUNS[0], RAW, DAYS[0], 1))
        before = tables(tmp_path / "index.db"), tables(tmp_path / f"{RUNS[0]}.db")
        # The second plan of the same check breaks a unique index, when much of the batch is written already
        plan = planned_check(RUNS[0], CONTRACT, DAYS[:2], 3)
        with pytest.raises(Exception, match="UNIQUE constraint failed"):
            log.store_event_batch([materialized(RUNS[0], RAW, DAYS[1], 2), plan, plan])
        assert (tables(tmp_path / "index.db"), tables(tmp_path / f"{RUNS[0]}.db")) == before
        log.store_event(materialized(RUNS[0], RAW, DAYS[2], 4))
        assert log.get_materialized_partitions(RAW) == {DAYS[0], DAYS[2]}
        log.dispose()

    def test_killed_in_mid_batch(self, tmp_path: Path) -> None:
        done = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(tmp_path)], check=False)
        assert done.returncode == -signal.SIGKILL
        log = BatchingSqliteEventLogStorage(str(tmp_path))
        records = log.get_records_for_run(RUNS[0]).records
        assert len(records) == 2 * 8, "the first batch is kept whole, of the second nothing is"
        assert log.get_materialized_partitions(RAW) == set(DAYS[:8])
        assert {r.status for r in log.get_asset_check_execution_history(CONTRACT, 100)} == {
            AssetCheckExecutionRecordStatus.SUCCEEDED
        }
        log.store_event_batch([materialized(RUNS[0], RAW, day, 9) for day in DAYS])
        assert log.get_materialized_partitions(RAW) == set(DAYS)
        log.dispose()
        for name in ("index", RUNS[0]):
            tables(tmp_path / f"{name}.db")

    def test_collected_events_are_stored_although_the_block_fails(self, tmp_path: Path) -> None:
        log = BatchingSqliteEventLogStorage(str(tmp_path))
        with pytest.raises(KeyError), log.collecting():  # noqa: PT012 - the order inside is what is tested
            log.store_event(materialized(RUNS[0], RAW, DAYS[0], 1))
            assert log.get_materialized_partitions(RAW) == set()
            raise KeyError
        assert log.get_materialized_partitions(RAW) == {DAYS[0]}
        log.dispose()


KILLED_WRITER = """
import os, signal, sys
from etl_assets_tests.orchestration.test_event_log import *

class Dying(BatchingSqliteEventLogStorage):
    left = 2

    def _store_checks(self, connection, stored):
        super()._store_checks(connection, stored)
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

log = Dying(sys.argv[1])
for round in (0, 100):
    days = DAYS[:8]
    log.store_event_batch(
        [materialized(RUNS[0], RAW, day, round + n) for n, day in enumerate(days)]
        + [evaluated(RUNS[0], CONTRACT, day, not round, round + 50 + n) for n, day in enumerate(days)]
    )
"""


def write_many(base_dir: str, storage_class: type[SqliteEventLogStorage], name: str, count: int) -> None:
    """Store events into a run of one's own and into one that all writers share, singly and in batches."""
    log = storage_class(base_dir)
    for number in range(count):
        log.store_event(materialized("shared-run", dg.AssetKey(["single", name]), str(number), number))
        log.store_event_batch(
            [materialized(name, dg.AssetKey(["batch", name]), f"{number}.{n}", number) for n in range(5)]
        )
    log.dispose()


def assert_written(base_dir: Path, names: Sequence[str], count: int) -> None:
    log = BatchingSqliteEventLogStorage(str(base_dir))
    for name in names:
        assert len(log.get_materialized_partitions(dg.AssetKey(["single", name]))) == count
        assert len(log.get_materialized_partitions(dg.AssetKey(["batch", name]))) == 5 * count
        assert len(log.get_records_for_run(name).records) == 5 * count
    assert len(log.get_records_for_run("shared-run").records) == count * len(names)
    log.dispose()


class TestManyWriters:
    def test_threads_share_a_storage(self, tmp_path: Path) -> None:
        log = BatchingSqliteEventLogStorage(str(tmp_path))
        failures: list[BaseException] = []

        def work(name: str) -> None:
            try:
                for number in range(10):
                    log.store_event(materialized("shared-run", dg.AssetKey(["single", name]), str(number), 1))
                    keys = [f"{number}.{n}" for n in range(5)]
                    log.store_event_batch(
                        [materialized(name, dg.AssetKey(["batch", name]), key, 1) for key in keys]
                    )
                    assert len(log.get_records_for_run(name).records) == 5 * (number + 1)
            except BaseException as error:
                failures.append(error)

        names = [f"thread-{number}" for number in range(8)]
        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        log.dispose()
        assert_written(tmp_path, names, 10)

    def test_processes_share_the_files_also_with_dagsters_own_class(self, tmp_path: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        classes = {"one": BatchingSqliteEventLogStorage, "two": BatchingSqliteEventLogStorage}
        writers = {**classes, "dagster": SqliteEventLogStorage}
        processes = [
            spawn.Process(target=write_many, args=(str(tmp_path), kind, name, 15))
            for name, kind in writers.items()
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]
        assert_written(tmp_path, list(writers), 15)

    @pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
    def test_a_forked_child_opens_its_own_connections(self, tmp_path: Path) -> None:
        log = BatchingSqliteEventLogStorage(str(tmp_path))
        log.store_event(materialized(RUNS[0], RAW, DAYS[0], 1))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                log.store_event(materialized(RUNS[0], RAW, DAYS[1], 2))
                log.dispose()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        log.store_event(materialized(RUNS[0], RAW, DAYS[2], 3))
        assert log.get_materialized_partitions(RAW) == set(DAYS[:3])
        assert len(log.get_records_for_run(RUNS[0]).records) == 3
        log.dispose()

    def test_files_wiped_by_another_are_made_anew(self, tmp_path: Path) -> None:
        log, other = (BatchingSqliteEventLogStorage(str(tmp_path)) for _ in range(2))
        log.store_event(materialized(RUNS[0], RAW, DAYS[0], 1))
        other.wipe()
        log.store_event(materialized(RUNS[0], RAW, DAYS[1], 2))
        for storage in (log, other):
            assert len(storage.get_records_for_run(RUNS[0]).records) == 1
            assert storage.get_materialized_partitions(RAW) == {DAYS[1]}
        log.dispose()
        other.dispose()

    @pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
    def test_few_files_stay_open_after_many_runs(self, tmp_path: Path) -> None:
        log = BatchingSqliteEventLogStorage(str(tmp_path))
        runs = [f"run-{number}" for number in range(KEPT_CONNECTIONS + 8)]
        for run_id in runs:
            log.store_event(materialized(run_id, RAW, run_id, 1))
        assert len(open_databases(tmp_path)) == KEPT_CONNECTIONS
        assert all(len(log.get_records_for_run(run_id).records) == 1 for run_id in runs)
        log.dispose()
        assert open_databases(tmp_path) == set()


def open_databases(folder: Path) -> set[str]:
    targets = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return {target for target in targets if target.startswith(str(folder)) and target.endswith(".db")}


@pytest.mark.parametrize("watching", [SqliteEventLogStorage, BatchingSqliteEventLogStorage])
def test_watchers_see_new_events(tmp_path: Path, watching: type[SqliteEventLogStorage]) -> None:
    writer, reader = BatchingSqliteEventLogStorage(str(tmp_path)), watching(str(tmp_path))
    writer.store_event(materialized(RUNS[0], RAW, DAYS[0], 1))
    seen: list[EventLogEntry] = []
    enough = threading.Event()

    def callback(event: EventLogEntry, cursor: str) -> None:
        seen.append(event)
        if len(seen) == 4:
            enough.set()

    wanted = [materialized(RUNS[0], RAW, day, 2) for day in DAYS[:4]]
    reader.watch(RUNS[0], reader.get_records_for_run(RUNS[0]).cursor, callback)
    writer.store_event_batch(wanted[:3])
    writer.store_event(wanted[3])
    assert enough.wait(timeout=20)
    reader.end_watch(RUNS[0], callback)
    assert seen == wanted
    writer.dispose()
    reader.dispose()


def range_asset(bad_day: str | None) -> dg.AssetsDefinition:
    @dg.multi_asset(
        specs=[dg.AssetSpec(RAW, skippable=True), dg.AssetSpec(STAGED, skippable=True, deps=[RAW])],
        check_specs=[dg.AssetCheckSpec("contract", asset=STAGED, partitions_def=PARTITIONS)],
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        days = list(context.partition_keys)
        good = [day for day in days if day != bad_day]
        evaluations = [
            dg.AssetCheckEvaluation(
                asset_key=STAGED, check_name="contract", passed=day in good, partition=day, metadata={}
            )
            for day in days
        ]
        if bad_day is None:
            log_events(context, evaluations, batch_size=25)
            yield dg.Output(None, output_name=RAW.to_python_identifier())
            yield dg.Output(None, output_name=STAGED.to_python_identifier())
            return
        events = [dg.AssetMaterialization(key, partition=day) for day in good for key in (RAW, STAGED)]
        log_events(context, [*events, *evaluations])
        raise dg.Failure("one day failed", allow_retries=False)

    return load


@pytest.mark.parametrize("config", [BATCHING_CONFIG, DEFAULT_CONFIG], ids=["batching", "default"])
@pytest.mark.parametrize("bad_day", [None, "2025-01-10"])
def test_range_run(
    tmp_path: Path, config: str, bad_day: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    days = list(PARTITIONS.get_partition_keys())[: 60 if config is BATCHING_CONFIG else 20]
    good = {day for day in days if day != bad_day}
    with open_instance(tmp_path, config) as instance:
        result = dg.materialize(
            [range_asset(bad_day)],
            instance=instance,
            raise_on_error=False,
            tags={
                "dagster/asset_partition_range_start": days[0],
                "dagster/asset_partition_range_end": days[-1],
            },
        )
        assert result.success == (bad_day is None)
        for key in (RAW, STAGED):
            assert instance.get_materialized_partitions(key) == good
            failed = instance.get_status_by_partition(key, days, PARTITIONS) or {}
            bad = {day for day, status in failed.items() if status and status.value == "FAILED"}
            assert bad == set(days) - good
        history = instance.event_log_storage.get_asset_check_execution_history(CONTRACT, limit=200)
        assert {record.partition for record in history} == set(days)
        assert len(history) == len(days)
        assert {record.partition for record in history if record.status.value == "SUCCEEDED"} == good
        kinds = [record.dagster_event_type for record in instance.all_logs(result.run_id)]
        assert kinds.count(DagsterEventType.ASSET_MATERIALIZATION) == 2 * len(good)
        assert kinds.count(DagsterEventType.ASSET_CHECK_EVALUATION) == len(days)
    assert "Falling back to storing" not in capfd.readouterr().err


def test_results_that_no_log_for_people_takes_are_stored_all_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run that prints nothing hands them over by another way; the UI must not show which it was."""
    days = list(PARTITIONS.get_partition_keys())[:12]
    stored = []
    with open_instance(tmp_path) as instance:
        for level in ("DEBUG", "CRITICAL"):
            result = dg.materialize(
                [range_asset(None)],
                instance=instance,
                run_config={"loggers": {"console": {"config": {"log_level": level}}}},
                tags={
                    "dagster/asset_partition_range_start": days[0],
                    "dagster/asset_partition_range_end": days[-1],
                },
            )
            said = capfd.readouterr().err.count("ASSET_CHECK_EVALUATION -")
            assert said == (len(days) if level == "DEBUG" else 0)
            entries = [
                record
                for record in instance.all_logs(result.run_id)
                if record.dagster_event_type is DagsterEventType.ASSET_CHECK_EVALUATION
            ]
            told = [entry.get_dagster_event().asset_check_evaluation_data for entry in entries]
            assert [evaluation.partition for evaluation in told] == days
            stored.append([_timeless(entry, result.run_id) for entry in entries])
        history = instance.event_log_storage.get_asset_check_execution_history(CONTRACT, limit=12)
        assert {record.run_id for record in history} == {result.run_id}
        assert {record.status.value for record in history} == {"SUCCEEDED"}
        records = instance.fetch_materializations(RAW, limit=100).records
        newest = {r.partition_key: r for r in records if r.run_id == result.run_id}
        assert set(newest) == set(days)
        assert latest_materializations(instance, [RAW, NOTES], [*days[:5], "2031-01-01"]) == {
            (RAW, day): AssetCheckEvaluationTargetMaterializationData(
                storage_id=newest[day].storage_id,
                run_id=result.run_id,
                timestamp=newest[day].timestamp,
            )
            for day in days[:5]
        }
    assert stored[0] == stored[1]


def _timeless(entry: EventLogEntry, run_id: str) -> dict[str, Any]:
    text = serialize_value(entry._replace(timestamp=0.0))
    assert run_id in text
    return dict(json.loads(text.replace(run_id, "<run>")))


class TestBatchSize:
    def test_loading_the_storage_turns_batches_on(self, tmp_path: Path) -> None:
        with open_instance(tmp_path):
            assert os.environ[EVENT_BATCH_SIZE_VARIABLE] == "50"

    def test_the_users_value_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(EVENT_BATCH_SIZE_VARIABLE, "7")
        enable_event_batches()
        assert os.environ[EVENT_BATCH_SIZE_VARIABLE] == "7"

    def test_event_log_alone_can_be_configured(self, tmp_path: Path) -> None:
        config = (
            "event_log_storage:\n  module: etl_assets.orchestration.event_log\n"
            "  class: BatchingSqliteEventLogStorage\n  config: {base_dir: '%s/history/runs'}\n"
        )
        with open_instance(tmp_path, config) as instance:
            assert type(instance.event_log_storage) is BatchingSqliteEventLogStorage
            instance.event_log_storage.store_event(materialized(RUNS[0], RAW, DAYS[0], 1))
        assert (shards(tmp_path) / f"{RUNS[0]}.db").exists()


@pytest.mark.parametrize("config", [BATCHING_CONFIG, DEFAULT_CONFIG], ids=["batching", "default"])
def test_metadata_attached_at_once_is_that_attached_one_by_one(tmp_path: Path, config: str) -> None:
    days = list(PARTITIONS.get_partition_keys())[:5]

    def numbers(day: str) -> dict[str, Any]:
        return {"rows": dg.IntMetadataValue(int(day[-2:])), "day": dg.TextMetadataValue(day)}

    def asset(at_once: bool) -> dg.AssetsDefinition:
        @dg.asset(key=RAW, partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run())
        def load(context: dg.AssetExecutionContext) -> None:
            if at_once:
                add_partition_metadata(context, {(RAW, day): numbers(day) for day in days})
            else:
                for day in days:
                    context.add_asset_metadata(numbers(day), asset_key=RAW, partition_key=day)

        return load

    told = []
    for at_once in (False, True):
        with open_instance(tmp_path / str(at_once), config) as instance:
            tags = {
                "dagster/asset_partition_range_start": days[0],
                "dagster/asset_partition_range_end": days[-1],
            }
            assert dg.materialize([asset(at_once)], instance=instance, tags=tags).success
            records = instance.fetch_materializations(RAW, limit=100).records
            told.append({r.partition_key: r.asset_materialization.metadata for r in records})  # type: ignore[union-attr]
    assert told[0] == told[1]
    assert {day: told[1][day] for day in days} == {day: numbers(day) for day in days}
