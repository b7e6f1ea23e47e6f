"""The watcher of Dagster's event log: failed runs and failed checks, every one of them, once.

What belongs here: reading on from the cursor within the time that there is. What does not: what an event means
(`run_failures`, `check_results`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

import dagster as dg
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG

from etl_assets.alerts.conditions import Condition, Report, Resolution
from etl_assets.alerts.engine import Scene, Watcher
from etl_assets.alerts.outbox import moment
from etl_assets.orchestration.alerts.check_results import judge
from etl_assets.orchestration.alerts.event_cursor import (
    EVENTS_AT_ONCE,
    EventCursor,
    entries_of,
    first_number_since,
    numbers_after,
)
from etl_assets.orchestration.alerts.run_failures import (
    FailedRun,
    conditions_of,
    how_it_ended,
    recoveries,
    runs_of,
    says_nothing,
)

NAME = "events"
RUNS_READ_IN_FULL = 5
"""Failed runs of a tick whose every failed step is looked up; of further ones the first failure says enough."""
DECISION_SECONDS = 10.0
"""Dagster decides whether a failed run is repeated a moment after it has recorded the failure."""
LONGEST_WAIT_FOR_RETRY = timedelta(minutes=10)


def event_watcher(instance: dg.DagsterInstance) -> Watcher:
    """Give the watcher of an instance's event log."""
    return Watcher(NAME, lambda scene: _watch(instance, scene))


def _watch(instance: dg.DagsterInstance, scene: Scene) -> Report:
    kept = scene.outbox.cursor(NAME)
    cursor = EventCursor.from_text(kept) if kept else EventCursor(first_number_since(instance, scene.horizon))
    known = cursor.known()
    numbers = [number for number in numbers_after(instance, cursor.settled) if number not in known]
    conditions: list[Condition] = []
    resolved: list[Resolution] = []
    done: list[int] = []
    in_full = RUNS_READ_IN_FULL
    for first in range(0, len(numbers), EVENTS_AT_ONCE):
        if time.monotonic() > scene.deadline:
            break
        part = numbers[first : first + EVENTS_AT_ONCE]
        entries = list(entries_of(instance, part))
        checks = [each for each in entries if _kind(each[1]) is dg.DagsterEventType.ASSET_CHECK_EVALUATION]
        failures = [each for each in entries if _kind(each[1]) is dg.DagsterEventType.RUN_FAILURE]
        found, over = judge(scene, checks)
        told, put_off = _runs(instance, scene, failures, cursor, in_full)
        in_full = max(in_full - len(failures), 0)
        conditions += [*found, *told]
        resolved += over
        done += [number for number in part if number not in put_off]
    conditions += _no_longer_awaited(instance, scene, cursor)
    cursor.read(done, set(numbers) - set(done), scene.now)
    resolved += recoveries(instance, scene)
    text = cursor.to_text()
    return Report(conditions=conditions, resolved=resolved, cursor=text if text != kept else None)


def _kind(entry: EventLogEntry) -> dg.DagsterEventType | None:
    return entry.dagster_event_type


def _runs(
    instance: dg.DagsterInstance,
    scene: Scene,
    entries: Sequence[tuple[int, EventLogEntry]],
    cursor: EventCursor,
    in_full: int,
) -> tuple[list[Condition], set[int]]:
    """Give what failed in runs, and the events about which nothing can be said yet."""
    runs = runs_of(instance, [entry.run_id for _, entry in entries])
    conditions: list[Condition] = []
    put_off: set[int] = set()
    for place, (number, entry) in enumerate(entries):
        run = runs.get(entry.run_id)
        if run is None:
            continue
        failed = FailedRun(number, entry, run)
        age = (scene.now - failed.at).total_seconds()
        if failed.retry is None and instance.run_retries_enabled and 0 <= age < DECISION_SECONDS:
            put_off.add(number)
        elif failed.retry and not _is_retried(run):
            cursor.awaited[run.run_id] = (number, failed.entry.timestamp)
        elif not (failed.retry or failed.is_of_backfill):
            is_time = place < in_full and time.monotonic() < scene.deadline
            others, ending = _in_full(instance, failed) if is_time else ((), "")
            conditions += conditions_of(scene, failed, others, ending)
    return conditions, put_off


def _in_full(instance: dg.DagsterInstance, failed: FailedRun) -> tuple[Sequence[EventLogEntry], str]:
    """Give every failed step of a run, and where there is none, how its process ended."""
    run_id = failed.run.run_id
    steps = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    if steps or not says_nothing(failed):
        return steps, ""
    return steps, how_it_ended(failed, instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT))


def _no_longer_awaited(instance: dg.DagsterInstance, scene: Scene, cursor: EventCursor) -> list[Condition]:
    """Tell of failed runs whose promised repeat never came, as when the daemon was stopped."""
    if not cursor.awaited:
        return []
    runs = runs_of(instance, list(cursor.awaited))
    conditions: list[Condition] = []
    for run_id, (number, failed_at) in list(cursor.awaited.items()):
        run = runs.get(run_id)
        is_late = scene.now - moment(failed_at) > LONGEST_WAIT_FOR_RETRY
        if run is not None and not is_late and not _is_retried(run):
            continue
        del cursor.awaited[run_id]
        if run is None or _is_retried(run):
            continue
        entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        for entry in entries[-1:]:
            failed = FailedRun(number, entry, run)
            conditions += conditions_of(scene, failed, *_in_full(instance, failed))
    return conditions


def _is_retried(run: dg.DagsterRun) -> bool:
    return AUTO_RETRY_RUN_ID_TAG in run.tags
