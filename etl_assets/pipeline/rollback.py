"""Undoing loads: what going back to an earlier time means, the landed answers staged for it, and the one transaction.

All that has to be loaded again is staged before the transaction begins, beside what is staged for ordinary loads, so
that a landed answer which is missing or damaged leaves everything as it is. What belongs here: that order. What does
not: which loads count (`etl_assets.warehouse.past_loads`) and what is done to tables (`etl_assets.warehouse.rollback`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from etl_assets.failures import ConfigurationError, EtlError, FailureClass, LandingError
from etl_assets.landing.store import PAGES_FILE, LandedPartition, Landing
from etl_assets.outcomes import Status
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Prepared, Stage
from etl_assets.pipeline.pseudonyms import contract_version_of
from etl_assets.pipeline.staged import KeepingStore
from etl_assets.streams.base import Stream
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.decisions import Decision, decisions_version, standing_decisions
from etl_assets.warehouse.identifiers import qualified
from etl_assets.warehouse.past_loads import Cut, PastLoad, Target, cut_of, target_at, target_of_run
from etl_assets.warehouse.rollback import Rollback, RolledBack
from etl_assets.warehouse.schema import table_columns

SCRATCH_FOLDER = ".rollback"
"""Below the staged partitions: what is staged for a rollback, and gone when it ends."""

Version = tuple[date, str, str]
"""A partition, the landed version that it is made from, and the version of the decisions that it is made with."""

Decided = Mapping[tuple[date, str], Sequence[Decision]]
"""What had been decided, by partition and version of the decisions."""


@dataclass(frozen=True, slots=True)
class StreamStep:
    """What would be done to a stream.

    Attributes:
        stream: The stream.
        cut: Which loads are to count.
        rows: Rows in its table now.
        decided: What had been decided on quarantined rows.
    """

    stream: Stream
    cut: Cut
    rows: int
    decided: Decided

    @property
    def made_anew(self) -> int:
        """Loads to bring back that other code, or another contract, had made: their rows may read differently now."""
        return sum(self.cut.is_made_anew(load) for load in self.cut.loads)


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """What would be done.

    Attributes:
        target: The time to go back to.
        steps: Of each stream, those included that stay as they are.
    """

    target: Target
    steps: tuple[StreamStep, ...]

    @property
    def changing(self) -> tuple[StreamStep, ...]:
        """The streams that do not stay as they are."""
        return tuple(step for step in self.steps if step.cut.changed)


def plan_rollback(
    environment: Environment,
    streams: Sequence[Stream],
    to: str,
    *,
    days: tuple[date, date] | None = None,
    now: datetime | None = None,
) -> RollbackPlan:
    """Tell what going back would do; nothing is changed.

    Args:
        environment: Where everything is.
        streams: The streams.
        to: A time, UTC where it has no zone, or a run: then right after its last commit.
        days: The first and the last partition that goes back; all where not given.
        now: The time, with a zone.

    Raises:
        ConfigurationError: If there is no such time or run, or nothing of the streams had been loaded then.
        LandingError: If landed answers that are needed are not there.
    """
    moment = _moment(to, now or datetime.now(UTC))
    if not environment.warehouse.exists():
        raise ConfigurationError("nothing has been loaded yet, so that there is nothing to roll back")
    with environment.warehouse.read("plan a rollback") as connection:
        if not table_columns(connection, "etl", "loads"):
            raise ConfigurationError("nothing has been loaded yet, so that there is nothing to roll back")
        target = target_of_run(connection, to) if moment is None else target_at(connection, moment)
        steps = tuple(_step(environment, connection, stream, target, days) for stream in streams)
    if not any(step.cut.then or not step.cut.now for step in steps):
        names = ", ".join(step.stream.id for step in steps)
        raise ConfigurationError(
            f"nothing of {names} had been loaded at {target.at:%Y-%m-%d %H:%M:%S} UTC",
            hint="choose a later time",
        )
    for step in steps:
        for day, version, _ in _versions(step):
            _find(environment.landing, step.stream, day, version)
    return RollbackPlan(target, steps)


def roll_back(
    environment: Environment,
    plan: RollbackPlan,
    run_id: str,
    at: datetime,
) -> list[RolledBack]:
    """Do what a plan says, to all of its streams or to none.

    Args:
        environment: Where everything is.
        plan: What is to be done.
        run_id: Recorded with what is written to the log.
        at: When, with a zone: recorded with all that is logged.

    Raises:
        LandingError: If landed answers are missing or damaged.
        TransformError: If a transform fails on them.
        WarehouseError: If a stream was loaded meanwhile, or the warehouse cannot be written.
    """
    with _scratch(environment) as scratch:
        rollbacks = []
        for step in plan.changing:
            staged = _stage(scratch, step, run_id)
            requests = {load.load_id: _as_now(staged[_version(load)], load, at) for load in step.cut.loads}
            rollbacks.append(Rollback(step.stream, step.cut, requests))
        with environment.warehouse.session("roll back") as session:
            return session.roll_back(rollbacks, run_id, at)


def _moment(to: str, now: datetime) -> datetime | None:
    """Read a time, as naive UTC; None where it is none."""
    try:
        moment = datetime.fromisoformat(to.strip())
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment > now:
        raise ConfigurationError(f"--to {moment:%Y-%m-%d %H:%M:%S} UTC is in the future")
    return moment.replace(tzinfo=None)


def _step(
    environment: Environment,
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    target: Target,
    days: tuple[date, date] | None,
) -> StreamStep:
    made_by = (contract_version_of(environment.settings, stream), environment.code_versions[stream.id])
    rows = 0
    if table_columns(connection, stream.source.name, stream.name):
        table = qualified(stream.source.name, stream.name)
        rows = (connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,))[0]
    cut = cut_of(connection, stream, target, made_by)
    if days is not None:
        inside = [day for day in cut.changed if days[0] <= day <= days[1]]
        cut = cut_of(connection, stream, target, made_by, inside)
    return StreamStep(stream, cut, rows, _decided(connection, stream, cut.loads))


@contextmanager
def _scratch(environment: Environment) -> Iterator[Environment]:
    """Give the same rooms with a store for staged partitions that nobody else clears away."""
    folder = environment.staged.root / SCRATCH_FOLDER
    lock = scratch_lock(environment)
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            try:
                yield replace(environment, staged=KeepingStore(folder, lender=environment.staged))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise EtlError(
            "another rollback is under way", hint="try again later", failure_class=FailureClass.TRANSIENT
        ) from None


def scratch_lock(environment: Environment) -> Path:
    """Give the file that is locked while a rollback is under way."""
    return environment.staged.root / f"{SCRATCH_FOLDER}.lock"


def _stage(environment: Environment, step: StreamStep, run_id: str) -> Mapping[Version, CommitRequest]:
    """Stage the landed answers that a stream goes back to, each version of a partition once."""
    stream = step.stream
    pipeline = PartitionPipeline(
        environment, stream, frozenset({Stage.STAGE, Stage.COMMIT}), run_id, confirm_empty=True
    )

    def stage(version: Version) -> CommitRequest:
        day, landing_version, decisions = version
        landed = _find(environment.landing, stream, day, landing_version)
        decided = replace(pipeline, decisions={day: step.decided.get((day, decisions), ())})
        return _request_of(decided, decided.prepare_landed(landed), landed.path)

    versions = _versions(step)
    with ThreadPoolExecutor(stream.source.concurrency, thread_name_prefix="rollback") as pool:
        try:
            return dict(zip(versions, pool.map(stage, versions), strict=True))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _request_of(pipeline: PartitionPipeline, prepared: Prepared, path: Path) -> CommitRequest:
    what, failure = f"{pipeline.stream.id} {prepared.day}", prepared.failure
    if failure is not None and failure.error_type == LandingError.__name__:
        raise LandingError(
            f"the landed answers {path / PAGES_FILE} are damaged, so that {what} cannot be what it was; "
            "nothing was changed",
            hint="put a copy of the file back, or go back to another time",
        )
    if failure is not None:
        raise EtlError(
            f"{what} cannot be staged: {failure.message}; nothing was changed",
            failure_class=failure.failure_class,
        )
    request = pipeline.request(prepared)
    if request.verdict is Status.WITHHELD:
        raise EtlError(
            f"{what} was published then and would be withheld now ({request.message}); nothing was changed",
            hint="go back with the stream's file of that time",
        )
    return request


def _as_now(request: CommitRequest, load: PastLoad, at: datetime) -> CommitRequest:
    """Give the request as it is logged: now, with what the load once took."""
    return replace(request, loaded_at=at, seconds=json.loads(load.seconds))


def _versions(step: StreamStep) -> list[Version]:
    return list(dict.fromkeys(_version(load) for load in step.cut.loads))


def _version(load: PastLoad) -> Version:
    if load.landing_version is None:
        raise LandingError(
            f"load {load.load_id} of {load.partition} names no landed answers, so that it cannot be brought back"
        )
    return load.partition, load.landing_version, load.decisions


def _decided(connection: duckdb.DuckDBPyConnection, stream: Stream, loads: Sequence[PastLoad]) -> Decided:
    """Find what had been decided on quarantined rows when some loads were made."""
    found: dict[tuple[date, str], Sequence[Decision]] = {}
    for load in loads:
        if not load.decisions:
            continue
        made = standing_decisions(connection, stream.id, [load.partition], load.loaded_at)
        decisions = made.get(load.partition, ())
        if decisions_version(decisions) != load.decisions:
            raise EtlError(
                f"what had been decided on quarantined rows of {stream.id} {load.partition} at "
                f"{load.loaded_at:%Y-%m-%d %H:%M:%S} UTC is not known any more; nothing was changed",
                hint="go back to another time",
            )
        found[load.partition, load.decisions] = decisions
    return found


def _find(landing: Landing, stream: Stream, day: date, version: str) -> LandedPartition:
    try:
        return landing.find(stream.id, day, version)
    except LandingError as error:
        path = landing.partition_path(stream.id, day) / version
        problem = "are damaged" if path.exists() else "are not there any more"
        raise LandingError(
            f"the landed answers {path} {problem}, so that {stream.id} {day} cannot be what it was; "
            "nothing was changed",
            hint="put a copy back, or go back to another time",
        ) from error
