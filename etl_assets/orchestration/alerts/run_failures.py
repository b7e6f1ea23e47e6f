"""Failed runs as conditions: of days, of a mart, or of a job, each with its error's first line.

What belongs here: what a failure event tells, and when such a condition is over. What does not: reading the log
(`event_cursor`); the outcome of single days, which the warehouse knows better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.storage.tags import BACKFILL_ID_TAG, WILL_RETRY_TAG

from etl_assets.alerts.conditions import ASSETS, Condition, Kind, Resolution
from etl_assets.alerts.engine import Scene
from etl_assets.alerts.outbox import moment
from etl_assets.alerts.scrub import first_line
from etl_assets.orchestration.alerts.errors import innermost
from etl_assets.orchestration.backfill import RANGE_END_TAG, RANGE_START_TAG
from etl_assets.orchestration.keys import Layer, stream_key
from etl_assets.settings import parse_iso_day

PARTITION_TAG = "dagster/partition"
RUNS_AT_ONCE = 200
MOST_DAYS = 1_000
MOST_SUBJECTS = 100
MOST_ASSETS = 10
"""Of a run that was killed: enough to know it by, and few enough for a flood of such runs."""
_LAYERS = frozenset(layer.value for layer in Layer)
_FROM_OUTSIDE = "This run has been marked as failed"


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A failed run: the event that says so, and the run as it is recorded."""

    number: int
    entry: EventLogEntry
    run: dg.DagsterRun

    @property
    def at(self) -> datetime:
        """When it failed."""
        return moment(self.entry.timestamp)

    @property
    def retry(self) -> bool | None:
        """Whether a repeat of the run is coming; None while Dagster has not said so."""
        said = self.run.tags.get(WILL_RETRY_TAG)
        return None if said is None else said.lower() == "true"

    @property
    def is_of_backfill(self) -> bool:
        """Whether it belongs to a backfill, which is told of as a whole."""
        return BACKFILL_ID_TAG in self.run.tags


def runs_of(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> dict[str, dg.DagsterRun]:
    """Give runs by their identifiers; those that were deleted are left out."""
    found: dict[str, dg.DagsterRun] = {}
    wanted = sorted(set(run_ids))
    for first in range(0, len(wanted), RUNS_AT_ONCE):
        part = wanted[first : first + RUNS_AT_ONCE]
        found |= {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=part))}
    return found


def conditions_of(
    scene: Scene, failed: FailedRun, others: Sequence[EventLogEntry] = (), ending: str = ""
) -> Iterator[Condition]:
    """Say what failed in a run.

    Args:
        scene: By which streams and secrets.
        failed: The run.
        others: Further failures of steps, where they were looked up.
        ending: How its process ended, where that was looked up.
    """
    event = failed.entry.dagster_event
    data = event.job_failure_data if event is not None else None
    first = data.first_step_failure_event if data is not None else None
    steps = {first.step_key: first.step_failure_data} if first is not None and first.step_key else {}
    for entry in others:
        if entry.dagster_event is not None and entry.dagster_event.step_key:
            steps[entry.dagster_event.step_key] = entry.dagster_event.step_failure_data
    if not steps:
        # It ended without any step's failure: its process died, or it could not be started.
        text = innermost(data.error if data is not None else None) or entry_message(failed.entry)
        yield from _whole(scene, failed, ending or text)
    for step, step_data in steps.items():
        yield from _step(scene, failed, str(step), step_data)


def says_nothing(failed: FailedRun) -> bool:
    """Whether the failure's own event does not tell why: Dagster found the run's process gone."""
    event = failed.entry.dagster_event
    data = event.job_failure_data if event is not None else None
    first = data.first_step_failure_event if data is not None else None
    return (
        first is None and not (data and data.error) and entry_message(failed.entry).startswith(_FROM_OUTSIDE)
    )


def how_it_ended(failed: FailedRun, entries: Sequence[EventLogEntry]) -> str:
    """Give what Dagster noted of the run's process before it recorded the failure; empty where that is nothing."""
    before = [entry for entry in entries if entry.timestamp <= failed.entry.timestamp]
    return entry_message(before[-1]).removeprefix("[DagsterApiServer] ") if before else ""


def entry_message(entry: EventLogEntry) -> str:
    """Give what an event says for people."""
    event = entry.dagster_event
    return (event.message if event is not None else None) or entry.user_message or "the run failed"


def _step(scene: Scene, failed: FailedRun, step: str, data: StepFailureData) -> Iterator[Condition]:
    secrets = scene.secrets
    told = data.user_failure_data
    if told is not None and told.description:
        # Our own words, or of those who raised a Failure: made to be read.
        error = first_line(told.description, secrets)
    else:
        error = first_line(innermost(data.error) or "the step failed", secrets, foreign=True)
    metadata = told.metadata if told is not None else {}
    failure_class = str(metadata["failure_classes"].value) if "failure_classes" in metadata else ""
    streams = {f"load_{stream.source.name}__{stream.name}": name for name, stream in scene.streams.items()}
    if step in streams:
        days = (
            str(metadata["failed_days"].value).split(", ") if "failed_days" in metadata else _days(failed.run)
        )
        yield from _of_days(scene, failed, streams[step], days, error, failure_class)
        return
    # The step of an asset is named after its key.
    names = {name.replace("/", "__"): name for name in scene.owners}
    names |= {key.to_python_identifier(): key.to_user_string() for key in failed.run.asset_selection or ()}
    if step in names:
        yield _of_run(scene, failed, names[step], error, failure_class, step)
    else:
        yield from _of_assets(scene, failed, error, failure_class, step)


def _whole(scene: Scene, failed: FailedRun, text: str) -> Iterator[Condition]:
    error = first_line(text, scene.secrets, foreign=True)
    paths = [key.path for key in failed.run.asset_selection or ()]
    streams = sorted({"/".join(path[1:]) for path in paths if path[0] in _LAYERS})
    if streams and (days := _days(failed.run)):
        for stream in streams:
            yield from _of_days(scene, failed, stream, days, error, "")
    elif len(paths) == 1:
        yield _of_run(scene, failed, "/".join(paths[0]), error, "", "")
    else:
        yield from _of_assets(scene, failed, error, "", "")


def _of_assets(
    scene: Scene, failed: FailedRun, error: str, failure_class: str, step: str
) -> Iterator[Condition]:
    """Tell of a run by its job, or by its assets where the job has no name that anybody knows."""
    assets = sorted(key.to_user_string() for key in failed.run.asset_selection or ())
    if not failed.run.job_name.startswith("__"):
        yield _of_run(scene, failed, f"job {failed.run.job_name}", error, failure_class, step)
    elif not assets:
        yield _of_run(scene, failed, ASSETS, error, failure_class, step)
    for asset in assets[:MOST_ASSETS] if failed.run.job_name.startswith("__") else ():
        # Each by itself, as each is over when it is made; told together, whatever folders they are in.
        yield replace(_of_run(scene, failed, asset, error, failure_class, step), scope=ASSETS)


def _of_days(
    scene: Scene, failed: FailedRun, stream: str, days: Sequence[str], error: str, failure_class: str
) -> Iterator[Condition]:
    for day in days[:MOST_DAYS]:
        yield Condition(
            kind=Kind.RUN_FAILED,
            subject=stream,
            key=day,
            ref=f"event {failed.number}",
            at=failed.at,
            owner=scene.owner_of(stream),
            error=error,
            failure_class=failure_class,
            run_id=failed.run.run_id,
            link=f"/runs/{failed.run.run_id}",
        )


def _of_run(
    scene: Scene, failed: FailedRun, subject: str, error: str, failure_class: str, step: str
) -> Condition:
    return Condition(
        kind=Kind.RUN_FAILED,
        subject=subject,
        key=failed.run.run_id,
        ref=f"event {failed.number}",
        at=failed.at,
        owner=scene.owner_of(subject),
        error=error,
        failure_class=failure_class,
        run_id=failed.run.run_id,
        details={"Step": step} if step else {},
        link=f"/runs/{failed.run.run_id}",
    )


def _days(run: dg.DagsterRun) -> list[str]:
    """Give the days of a run, by its tags."""
    if day := run.tags.get(PARTITION_TAG):
        return [day]
    first, last = run.tags.get(RANGE_START_TAG), run.tags.get(RANGE_END_TAG)
    try:
        start, end = parse_iso_day(first or ""), parse_iso_day(last or "")
    except ValueError:
        return []
    count = min((end - start).days + 1, MOST_DAYS)
    return [(start + timedelta(days=number)).isoformat() for number in range(count)]


def recoveries(instance: dg.DagsterInstance, scene: Scene) -> Iterator[Resolution]:
    """Say which failed runs are over, because what failed in them succeeded since."""
    found = scene.outbox.rows(
        "SELECT subject, min(at) AS first, max(at) AS last FROM occurrences WHERE state = 'open' AND kind = ? "
        "GROUP BY subject ORDER BY last DESC LIMIT ?",
        *(Kind.RUN_FAILED.value, MOST_SUBJECTS),
    )
    for row in found:
        subject = str(row["subject"])
        if subject in scene.streams:
            yield from _loaded_days(instance, scene, subject)
        else:
            succeeded = _last_success(instance, subject, moment(row["first"]))
            if succeeded is not None:
                yield Resolution(Kind.RUN_FAILED, subject, succeeded)


def _loaded_days(instance: dg.DagsterInstance, scene: Scene, stream: str) -> Iterator[Resolution]:
    rows = scene.outbox.rows(
        "SELECT key, ref, at FROM occurrences WHERE state = 'open' AND kind = ? AND subject = ?",
        *(Kind.RUN_FAILED.value, stream),
    )
    events = {str(row["key"]): int(str(row["ref"]).rpartition(" ")[2]) for row in rows if _is_day(row["key"])}
    latest = instance.get_latest_storage_id_by_partition(
        stream_key(Layer.WAREHOUSE, stream), dg.DagsterEventType.ASSET_MATERIALIZATION, set(events)
    )
    over = frozenset(day for day, number in latest.items() if number > events[day])
    if over:
        yield Resolution(Kind.RUN_FAILED, stream, scene.now, over)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _last_success(instance: dg.DagsterInstance, subject: str, since: datetime) -> datetime | None:
    if subject.startswith("job "):
        records = instance.get_run_records(
            dg.RunsFilter(
                job_name=subject.removeprefix("job "),
                statuses=[dg.DagsterRunStatus.SUCCESS],
                updated_after=since.astimezone(UTC),
            ),
            limit=1,
        )
        ended = records[0].end_time if records else None
        return moment(ended) if ended is not None else None
    event = instance.get_latest_materialization_event(dg.AssetKey(subject.split("/")))
    return moment(event.timestamp) if event is not None else None
