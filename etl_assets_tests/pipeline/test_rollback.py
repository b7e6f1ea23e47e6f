"""Rollbacks from landing: the state of then, all of it or none, and what can be done after one."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from etl_assets.failures import ConfigurationError, EtlError, FailureClass, LandingError, WarehouseError
from etl_assets.landing.store import PAGES_FILE
from etl_assets.observability.logging import configure_logging
from etl_assets.outcomes import FailedItem, Status
from etl_assets.pipeline.doctor import Weight, examine, mend
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.plan import Reason, plan
from etl_assets.pipeline.rollback import SCRATCH_FOLDER, plan_rollback, roll_back, scratch_lock
from etl_assets.streams.base import ErrorBudget
from etl_assets.warehouse.failed_items import FailedItems, record_failed_items
from etl_assets_tests.pipeline.undoing import (
    MERGED,
    REPLACED,
    days,
    load,
    rooms,
    undo,
    undo_in_folder,
)
from etl_assets_tests.warehouse.samples import everything, select

TABLES = ("SELECT * FROM till.events ORDER BY ALL", "SELECT * FROM till.newest ORDER BY ALL")
WATERMARKS = "SELECT stream, watermark, updated_at, run_id FROM etl.watermarks ORDER BY ALL"
KILLS = 4
PUBLISHED = "SELECT stream, partition, loaded_rows FROM etl.partitions ORDER BY ALL"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two streams: two days loaded by `good`, one of them again and a third one by `bad`."""
    configure_logging("console", "ERROR")
    folder = tmp_path_factory.mktemp("history")
    environment = rooms(folder)
    for stream in (REPLACED, MERGED):
        load(environment, stream, 0, {"a": 1, "b": 2}, "good")
        load(environment, stream, 1, {"c": 3}, "good", bad=["x"])
    remember(environment)
    for stream in (REPLACED, MERGED):
        load(environment, stream, 0, {"a": 9, "n": 5}, "bad")
        load(environment, stream, 2, {"c": 1, "d": 4}, "bad", bad=["y"])
    return folder


@pytest.fixture
def history(made: Path, tmp_path: Path) -> Environment:
    """That folder, for one test."""
    return rooms(shutil.copytree(made, tmp_path / "data"))


def remember(environment: Environment) -> None:
    (environment.settings.data_dir / "then").write_text(repr(visible(environment)), encoding="utf-8")


def of_then(environment: Environment) -> str:
    return (environment.settings.data_dir / "then").read_text(encoding="utf-8")


def visible(environment: Environment) -> list[Any]:
    """Everything that users of the warehouse see: rows with their stamps, watermarks, days, bad rows."""
    pending = "SELECT stream, partition, raw_payload FROM etl.quarantine WHERE state = 'pending' ORDER BY ALL"
    with environment.warehouse.read("test") as connection:
        return [select(connection, sql) for sql in (*TABLES, WATERMARKS, PUBLISHED, pending)]


def whole(environment: Environment) -> dict[str, list[tuple[Any, ...]]]:
    with environment.warehouse.read("test") as connection:
        return everything(connection)


STRICT = replace(REPLACED, budget=ErrorBudget(warn=0, fail=0))


def test_a_run_can_be_gone_back_to_with_the_rows_and_stamps_of_then(history: Environment) -> None:
    done = undo(history, "good")
    assert repr(visible(history)) == of_then(history)
    assert [(each.stream, each.rows_before, each.rows_after) for each in done] == [
        (REPLACED.id, 5, 3),
        (MERGED.id, 5, 3),
    ]
    assert [each.touched_dates for each in done] == [(days(0), days(2)), (days(0), days(1), days(2))]
    assert not (history.staged.root / SCRATCH_FOLDER).exists()


def test_what_was_taken_back_can_be_loaded_again(history: Environment) -> None:
    after = visible(history)[:2]
    undo(history, "good")
    found = {each.stream: {day.partition: day.reason for day in each.days} for each in _plan(history)}
    reasons = {days(0): Reason.LANDED_AGAIN, days(2): Reason.MISSING}
    assert found == {REPLACED.id: reasons, MERGED.id: reasons}
    assert [finding.what for finding in examine(history, [REPLACED, MERGED])] == []
    for stream in (REPLACED, MERGED):
        outcomes = [load(history, stream, number, None, "bad") for number in (0, 2)]
        assert [outcome.counts.loaded for outcome in outcomes] == [2, 2]
    assert [[row[:3] for row in table] for table in visible(history)[:2]] == [
        [row[:3] for row in table] for table in after
    ]


def _plan(environment: Environment) -> list[Any]:
    return plan(environment, [REPLACED, MERGED], [days(number) for number in range(3)])


def test_a_rollback_can_be_undone_and_done_again(history: Environment) -> None:
    later, before = visible(history), datetime.now(UTC)
    undo(history, "good", run_id="first")
    undo(history, before.isoformat(), run_id="second")
    assert visible(history) == later
    undo(history, "first", run_id="third")
    assert repr(visible(history)) == of_then(history)
    with history.warehouse.read("test") as connection:
        log = "SELECT run_id, count(*) FILTER (verdict = 'rolled_back'), count(restores) FROM etl.loads GROUP BY 1"
        assert sorted(select(connection, log)) == [
            ("bad", 0, 0),
            ("first", 4, 2),
            ("good", 0, 0),
            ("second", 2, 5),
            ("third", 4, 2),
        ]


def test_nothing_to_do_changes_nothing(history: Environment) -> None:
    undo(history, "good")
    before = whole(history)
    plan = plan_rollback(history, [REPLACED, MERGED], "good")
    assert plan.changing == ()
    assert whole(history) == before


def test_some_days_alone_can_go_back(history: Environment) -> None:
    undo(history, "good", span=(days(0), days(1)))
    with history.warehouse.read("test") as connection:
        for table in ("events", "newest"):
            rows = select(connection, f"SELECT event_id, _partition FROM till.{table} ORDER BY 1, 2")
            third = [("c", days(2)), ("d", days(2))]
            assert rows == sorted(
                [("a", days(0)), ("b", days(0)), *third, *([("c", days(1))] if table == "events" else [])]
            )
        assert select(connection, "SELECT DISTINCT watermark FROM etl.watermarks") == [
            (datetime.combine(days(3), datetime.min.time()),)
        ]


def test_bad_rows_of_days_that_are_taken_out_wait_for_nobody(history: Environment) -> None:
    item = FailedItem("z", "extract", FailureClass.TRANSIENT, "SourceError", "down", datetime.now(UTC), 0)
    with history.warehouse.session("test") as session:
        for number in range(3):
            failed = FailedItems("till", "events", days(number), [item], "bad", published=True)
            record_failed_items(session.connection, failed)
    undo(history, "good", REPLACED)
    with history.warehouse.read("test") as connection:
        items = select(connection, "SELECT partition, state FROM etl.failed_items ORDER BY ALL")
        assert items == [(days(0), "pending"), (days(1), "pending"), (days(2), "resolved")]
        states = select(connection, "SELECT stream, partition, state FROM etl.quarantine ORDER BY ALL")
    assert states == [
        ("events", days(1), "pending"),
        ("events", days(2), "superseded"),
        ("newest", days(1), "pending"),
        ("newest", days(2), "pending"),
    ]


@pytest.mark.parametrize("harm", ["page", "manifest", "folder"])
def test_landed_answers_that_are_gone_leave_everything_as_it_is(history: Environment, harm: str) -> None:
    oldest = min(history.landing.partition_path(REPLACED.id, days(0)).iterdir())
    if harm == "folder":
        shutil.rmtree(oldest)
    elif harm == "manifest":
        (oldest / "manifest.json").write_text("{", encoding="utf-8")
    else:
        pages = oldest / PAGES_FILE
        pages.write_bytes(pages.read_bytes()[:-1] + b"?")
    before = whole(history)
    with pytest.raises(LandingError, match=f"{oldest}.*nothing was changed"):
        undo(history, "good", REPLACED)
    assert whole(history) == before
    assert not (history.staged.root / SCRATCH_FOLDER).exists()


def test_one_stream_that_cannot_go_back_keeps_the_others(history: Environment) -> None:
    shutil.rmtree(min(history.landing.partition_path(MERGED.id, days(1)).iterdir()))
    before = whole(history)
    with pytest.raises(LandingError, match="till/newest"):
        undo(history, "good")
    assert whole(history) == before


def test_a_load_in_between_is_noticed(history: Environment) -> None:
    plan = plan_rollback(history, [REPLACED, MERGED], "good")
    load(history, MERGED, 1, {"e": 1}, "meanwhile")
    before = whole(history)
    with pytest.raises(WarehouseError, match="till/newest was loaded while") as error:
        roll_back(history, plan, "undo", datetime.now(UTC))
    assert error.value.failure_class is FailureClass.TRANSIENT
    assert whole(history) == before


def test_one_rollback_at_a_time(history: Environment) -> None:
    with FileLock(scratch_lock(history)), pytest.raises(EtlError, match="another rollback is under way"):
        undo(history, "good")


def test_other_code_makes_of_the_same_answers_what_it_makes_of_them(
    history: Environment, tmp_path: Path
) -> None:
    def in_capitals(raw: Any) -> Any:
        return REPLACED.transform(raw).assign(event_id=lambda rows: rows["event_id"].str.upper())

    mended, stream = rooms(history.settings.data_dir, "v2"), replace(MERGED, transform=in_capitals)
    [step] = plan_rollback(mended, [stream], "good").steps
    assert (step.made_anew, step.cut.kept, step.cut.restored, step.cut.taken_out) == (
        2,
        (days(1),),
        (days(0),),
        (days(2),),
    )
    undo(mended, "good", stream)
    with mended.warehouse.read("test") as connection:
        rows = select(connection, "SELECT event_id FROM till.newest ORDER BY 1")
    assert rows == [("A",), ("B",), ("C",)]
    [found] = plan(mended, [stream], [days(number) for number in range(2)])
    assert {day.partition: day.reason for day in found.days} == {days(0): Reason.LANDED_AGAIN}


def test_answers_that_would_be_withheld_now_are_not_brought_back(
    history: Environment, tmp_path: Path
) -> None:
    def without_times(raw: Any) -> Any:
        return REPLACED.transform(raw).assign(happened_at=None)

    strict = replace(STRICT, transform=without_times)
    before = whole(history)
    with pytest.raises(
        EtlError, match=r"till/events 2025-03-10 was published then and would be withheld now"
    ):
        undo(rooms(history.settings.data_dir, "v2"), "good", strict)
    assert whole(history) == before


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("2024-01-01", "is before the first load"),
        ("2999-01-01T00:00Z", "is in the future"),
        ("nobody", "neither a time nor a run"),
        ("in vain", "run in vain committed nothing"),
    ],
)
def test_a_time_or_run_that_cannot_be_gone_back_to(history: Environment, to: str, words: str) -> None:
    outcome = load(history, STRICT, 3, {}, "in vain", bad=["z"])
    assert outcome.status is Status.WITHHELD
    with pytest.raises(ConfigurationError, match=words):
        plan_rollback(history, [REPLACED], to)


def test_the_beginning_of_a_runs_name_is_enough_if_it_is_one_runs(tmp_path: Path) -> None:
    environment = rooms(tmp_path)
    for number, run in enumerate(("abcdef-1", "abcdef-2", "abcxyz-3")):
        load(environment, REPLACED, number, {"a": 1}, run)
    assert plan_rollback(environment, [REPLACED], "abcxyz").target.load_id == 3
    with pytest.raises(ConfigurationError, match=r"begins several runs.*abcdef-1, abcdef-2"):
        plan_rollback(environment, [REPLACED], "abcdef")


def test_a_stream_that_had_not_been_loaded_then_is_not_emptied_by_mistake(tmp_path: Path) -> None:
    environment = rooms(tmp_path)
    load(environment, REPLACED, 0, {"a": 1}, "first")
    load(environment, MERGED, 0, {"a": 1}, "second")
    with pytest.raises(ConfigurationError, match="nothing of till/newest had been loaded"):
        plan_rollback(environment, [MERGED], "first")


def test_a_bookkeeping_of_before_is_read_as_it_is(history: Environment) -> None:
    expected = plan_rollback(history, [REPLACED, MERGED], "good")
    with history.warehouse.session("test") as session:
        for column in ("restores", "restates", "decisions"):
            session.connection.execute(f"ALTER TABLE etl.loads DROP COLUMN {column}")
        for table in (
            "schema_changes",
            "known_fields",
            "quarantine_moves",
            "quarantine_decisions",
            "check_results",
            "partition_statistics",
        ):
            session.connection.execute(f"DROP TABLE etl.{table}")
        session.connection.execute("ALTER TABLE etl.quarantine DROP COLUMN landing_version")
        session.connection.execute("ALTER TABLE etl.failed_items DROP COLUMN traceback")
        session.connection.execute("DELETE FROM etl.schema_version WHERE version >= 4")
    assert plan_rollback(history, [REPLACED, MERGED], "good") == expected
    undo(history, "good")
    assert repr(visible(history)) == of_then(history)


def test_what_a_killed_rollback_leaves_behind_is_found_and_mended(history: Environment) -> None:
    scratch = history.staged.root / SCRATCH_FOLDER
    (scratch / "till").mkdir(parents=True)
    with FileLock(scratch_lock(history)):
        assert list(examine(history, [REPLACED, MERGED])) == []
    [found] = examine(history, [REPLACED, MERGED])
    assert (found.weight, found.where) == (Weight.LEFTOVER, str(scratch))
    assert mend([found]) == []
    assert not scratch.exists()


@pytest.mark.crash
def test_a_killed_rollback_leaves_the_old_state_or_the_new_one(made: Path, tmp_path: Path) -> None:
    chance = random.Random(20250310)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([undo_in_folder.__module__])
    # The first one tells how long it takes, and the others are killed at an instant from each equal part of that.
    seconds = _undo_and_kill(processes, shutil.copytree(made, tmp_path / "undisturbed"), None)
    seconds = _undo_and_kill(processes, shutil.copytree(made, tmp_path / "again"), None)
    assert repr(visible(rooms(tmp_path / "again"))) == of_then(rooms(made))
    for number in range(KILLS):
        environment = rooms(shutil.copytree(made, tmp_path / f"killed{number}"))
        later = repr(visible(environment))
        _undo_and_kill(processes, environment.settings.data_dir, seconds * (number + chance.random()) / KILLS)
        assert repr(visible(environment)) in (later, of_then(environment))
        undo(environment, "good")
        assert repr(visible(environment)) == of_then(environment)
        assert not (environment.staged.root / SCRATCH_FOLDER).exists()


def _undo_and_kill(processes: ForkServerContext, folder: Path, after: float | None) -> float:
    """Kill a rollback after some time, or let it end; gives how long it took."""
    started = time.monotonic()
    process = processes.Process(target=undo_in_folder, args=(folder, "good"))
    process.start()
    process.join(after)
    process.kill()
    process.join()
    return time.monotonic() - started
