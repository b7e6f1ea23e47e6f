"""Many partitions at once: prepared in threads, committed in small groups, every outcome collected.

What belongs here: overlapping the source's waiting time with our own work, and going on when a partition fails. What
does not: the way of one partition (`etl_assets.pipeline.partition`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from threading import BoundedSemaphore

import structlog

from etl_assets.failures import EtlError
from etl_assets.observability.progress import ProgressReporter, tell_outcome
from etl_assets.outcomes import PartitionOutcome, Status
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Prepared, Stage
from etl_assets.pipeline.recovery import recover
from etl_assets.pipeline.staging_workers import Together, staging_workers
from etl_assets.streams.base import Stream
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session

log = structlog.get_logger(__name__)

LOOK_AHEAD = 2
"""Partitions that are begun, per thread, but as many as a group at least: the threads go on while one is committed."""

SESSION_SECONDS = 2.0
"""How long commits in a row may keep the warehouse before another process gets its turn."""

LONGEST_SESSION_SECONDS = 20.0
"""How long they keep it when nobody is seen to wait: a program that knows nothing of our lock cannot be seen."""

IDLE_SECONDS = 0.3
"""How long after a commit the warehouse stays open while others wait: they have days to commit, we have none yet."""

LONGEST_IDLE_SECONDS = 2.0
"""How long it stays open then when nobody is seen to wait."""

HELD_PARTITIONS = 32
"""Partitions that are prepared and wait for an earlier day, at most; see `_Group.held`."""

GROUP_PARTITIONS = 32
"""Partitions that are committed in one transaction, at most: most statements of a commit are one for all of them."""

GROUP_ROWS = 100_000
"""Rows of a group, at most, unless one partition alone has more: what is not yet committed takes memory."""

SECONDS_BETWEEN_LOOKS = 0.1
"""How often to see whether somebody waits for the warehouse, which takes a lock of the file system."""

GROUP_SECONDS = 0.5
"""How long a prepared partition waits for others to be committed with."""


@dataclass(slots=True)
class _Group:
    """Prepared partitions that wait to be committed together."""

    in_order: bool = False
    waiting: list[Prepared] = field(default_factory=list)
    since: float = 0.0
    begun: list[date] = field(default_factory=list)
    held: dict[date, Prepared] = field(default_factory=dict)
    """Prepared before a day that was begun earlier, and that has to be committed first."""

    def begin(self, day: date) -> None:
        """Note that a day is being prepared."""
        if self.in_order:
            self.begun.append(day)

    def sort_out(self, prepared: Iterable[Prepared]) -> Iterator[list[Prepared]]:
        """Take in what has been prepared; give what is to be settled now, failures at once and the others in groups."""
        arrived = sorted(prepared, key=lambda one: one.day)
        self.since = self.since if self.waiting else time.monotonic()
        good = [one for one in arrived if one.failure is None]
        failed = [one for one in arrived if one.failure is not None]
        self.waiting += self._in_order(good, failed) if self.in_order else good
        if failed:
            yield failed
        while self.is_due:
            yield self.take()

    def _in_order(self, good: list[Prepared], failed: list[Prepared]) -> Iterator[Prepared]:
        """Hold back what was begun after a day that is still being prepared; give what need not wait any more."""
        self.held |= {one.day: one for one in good}
        for one in failed:
            self.begun.remove(one.day)
        while self.begun and self.begun[0] in self.held:
            yield self.held.pop(self.begun.pop(0))

    @property
    def is_due(self) -> bool:
        return bool(self.waiting) and (
            len(self.waiting) >= GROUP_PARTITIONS
            or sum(prepared.rows for prepared in self.waiting) >= GROUP_ROWS
            or self.seconds_left <= 0
        )

    @property
    def seconds_left(self) -> float:
        """Until it is due by time."""
        return self.since + GROUP_SECONDS - time.monotonic()

    def take(self) -> list[Prepared]:
        """Give what is to be committed together, at least one partition if there is any."""
        group, rows = self.waiting[:1], sum(one.rows for one in self.waiting[:1])
        for one in self.waiting[1:GROUP_PARTITIONS]:
            rows += one.rows
            if rows > GROUP_ROWS:
                break
            group.append(one)
        self.waiting = self.waiting[len(group) :]
        return group


@dataclass(slots=True)
class _SharedSession:
    """One warehouse session for many commits in a row: opening the file anew for each would cost more than they do."""

    warehouse: Warehouse
    purpose: str
    opened_at: float = 0.0
    used_at: float = 0.0
    looked_at: float = 0.0
    _stack: ExitStack | None = None
    _session: Session | None = None

    @property
    def is_open(self) -> bool:
        return self._session is not None

    def get(self) -> Session:
        if self._session is None:
            stack = ExitStack()
            self._session = stack.enter_context(self.warehouse.session(self.purpose))
            self._stack, self.opened_at, self.used_at = stack, time.monotonic(), time.monotonic()
        return self._session

    def close_if_due(self) -> None:
        if not self.is_open:
            return
        seconds, idle = time.monotonic() - self.opened_at, time.monotonic() - self.used_at
        # Closing writes all that was committed into the file, which costs as much as several commits.
        at_once = seconds > LONGEST_SESSION_SECONDS or idle > LONGEST_IDLE_SECONDS
        if at_once or ((seconds > SESSION_SECONDS or idle > IDLE_SECONDS) and self._is_wanted()):
            self.close()

    def _is_wanted(self) -> bool:
        if time.monotonic() < self.looked_at + SECONDS_BETWEEN_LOOKS:
            return False
        self.looked_at = time.monotonic()
        return self.warehouse.is_wanted()

    def close(self) -> None:
        stack, self._stack, self._session = self._stack, None, None
        if stack is not None:
            stack.close()


@dataclass(slots=True)
class _Stop:
    """Why no further partition is begun: a failure that every other one would share."""

    run_id: str
    outcome: PartitionOutcome | None = None
    failed: list[PartitionOutcome] = field(default_factory=list)

    def consider(self, outcome: PartitionOutcome) -> None:
        if outcome.status is Status.FAILED:
            self.failed.append(outcome)
            if self.outcome is None and outcome.failure is not None and outcome.failure.affects_all:
                self.outcome = outcome
                log.warning(
                    "remaining_partitions_put_off",
                    source=outcome.stream.partition("/")[0],
                    stream=outcome.stream,
                    partition=outcome.partition.isoformat(),
                    run_id=self.run_id,
                    stage=outcome.failure.stage,
                    message=outcome.message,
                )

    def put_off(self, day: date) -> PartitionOutcome | None:
        if self.outcome is None:
            return None
        return PartitionOutcome(
            stream=self.outcome.stream,
            partition=day,
            status=Status.FAILED,
            message=self.outcome.message,
            failure=self.outcome.failure,
        )


def run_partitions(
    pipeline: PartitionPipeline, days: Iterable[date], *, reporter: ProgressReporter, threads: int
) -> Iterator[PartitionOutcome]:
    """Take partitions from source to commit; one that fails costs no other.

    Args:
        pipeline: Of the stream, with the stages that are asked for.
        days: The partitions, in the order in which they are begun.
        reporter: Told of every step.
        threads: Partitions extracted at once.

    Yields:
        The outcome of each partition, as it is settled; after the commit, never before.

    Raises:
        WarehouseError: If the warehouse cannot be opened at the start; nothing was asked of the source then.
    """
    waiting, width = deque(days), threads
    if Stage.STAGE in pipeline.stages or Stage.COMMIT in pipeline.stages:
        processes = pipeline.environment.settings.staging_processes
        unstaged = pipeline.count_unstaged(waiting)
        pipeline = replace(pipeline, fill_staged=staging_workers(processes, pipeline.stream, unstaged))
        if isinstance(pipeline.fill_staged, Together):
            # Partitions that wait to be staged cost nothing, and are staged together.
            width = max(threads, pipeline.fill_staged.most)
            pipeline = replace(pipeline, extracting=BoundedSemaphore(threads))
    stages = [stage for stage in Stage if stage in pipeline.stages]
    shared = _SharedSession(pipeline.environment.warehouse, f"load {pipeline.stream.id}")
    stop = _Stop(pipeline.run_id)
    reporter.start(pipeline.stream.id, stages, len(waiting))
    recover(pipeline.environment, pipeline.stream)
    if Stage.COMMIT in pipeline.stages:
        pipeline = replace(pipeline, decisions=shared.get().decisions(pipeline.stream, list(waiting)))

    def prepare(day: date) -> Prepared:
        prepared = pipeline.prepare(day)
        for stage in (Stage.EXTRACT, Stage.STAGE):
            if stage in pipeline.stages and prepared.failure is None:
                reporter.item_stage(pipeline.stream.id, day.isoformat(), stage)
        return prepared

    try:
        for outcome in _settle_all(pipeline, waiting, prepare, shared, stop, width):
            tell_outcome(reporter, outcome)
            yield outcome
    finally:
        shared.close()
        _record_failures(pipeline, stop.failed)
        reporter.end(pipeline.stream.id)


def _settle_all(
    pipeline: PartitionPipeline,
    waiting: deque[date],
    prepare: Callable[[date], Prepared],
    shared: _SharedSession,
    stop: _Stop,
    width: int,
) -> Iterator[PartitionOutcome]:
    running: set[Future[Prepared]] = set()
    group = _Group(in_order=_is_in_order(pipeline.stream))
    pool = ThreadPoolExecutor(width, thread_name_prefix=pipeline.stream.name)
    most = max(width * LOOK_AHEAD, GROUP_PARTITIONS)
    try:
        while waiting or running or group.waiting:
            while waiting and len(running) < most and stop.outcome is None:
                if len(group.held) >= HELD_PARTITIONS:
                    break
                group.begin(waiting[0])
                running.add(pool.submit(prepare, waiting.popleft()))
            if not running:
                yield from _settle(pipeline, group.take(), shared, stop)
                yield from _put_off(waiting, stop)
                continue
            done, running = wait(running, timeout=_patience(shared, group), return_when=FIRST_COMPLETED)
            for ready in group.sort_out(future.result() for future in done):
                yield from _settle(pipeline, ready, shared, stop)
            shared.close_if_due()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for prepared in (*group.waiting, *group.held.values()):
            prepared.release()
        for future in running:
            if not future.cancelled():
                future.result().release()


def _is_in_order(stream: Stream) -> bool:
    """Whether a stream's days are committed in the order in which they are begun."""
    return stream.write.builds_on_earlier_days or any(
        audit.compares_with_earlier_days for audit in stream.audits
    )


def _patience(shared: _SharedSession, group: _Group) -> float | None:
    """Give the seconds to wait for a partition to be prepared; None for as long as it takes."""
    if group.waiting:
        return max(group.seconds_left, 0)
    return IDLE_SECONDS if shared.is_open else None


def _settle(
    pipeline: PartitionPipeline, group: list[Prepared], shared: _SharedSession, stop: _Stop
) -> Iterator[PartitionOutcome]:
    for outcome in pipeline.settle(group, shared.get):
        stop.consider(outcome)
        yield outcome
    shared.used_at = time.monotonic()


def _put_off(waiting: deque[date], stop: _Stop) -> Iterator[PartitionOutcome]:
    while waiting and stop.outcome is not None:
        outcome = stop.put_off(waiting.popleft())
        if outcome is not None:
            stop.failed.append(outcome)
            yield outcome


def _record_failures(pipeline: PartitionPipeline, failed: list[PartitionOutcome]) -> None:
    """Leave a trace of failed partitions in the warehouse, if that can be written at all."""
    if not failed:
        return
    try:
        with pipeline.environment.warehouse.session(f"record failures of {pipeline.stream.id}") as session:
            session.record_failures(failed, run_id=pipeline.run_id, at=datetime.now(UTC))
    except EtlError as error:
        log.warning("failures_not_recorded", stream=pipeline.stream.id, message=str(error))
