"""Many partitions at once: prepared in threads, committed one after the other, every outcome collected.

What belongs here: overlapping the source's waiting time with our own work, and going on when a partition fails. What
does not: the way of one partition (`etl_assets.pipeline.partition`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import structlog

from etl_assets.failures import EtlError
from etl_assets.observability.progress import ProgressReporter
from etl_assets.outcomes import PartitionOutcome, Status
from etl_assets.pipeline.partition import PartitionPipeline, Prepared, Stage
from etl_assets.warehouse.database import Session, Warehouse

log = structlog.get_logger(__name__)

LOOK_AHEAD = 2
"""Partitions prepared or waiting to be committed, per thread: bounds memory and keeps the threads busy."""

SESSION_SECONDS = 2.0
"""How long commits in a row may keep the warehouse before another process gets its turn."""

IDLE_SECONDS = 0.3
"""How long the warehouse stays open while no partition is ready."""


@dataclass(slots=True)
class _SharedSession:
    """One warehouse session for many commits in a row: opening the file anew for each would cost more than they do."""

    warehouse: Warehouse
    purpose: str
    opened_at: float = 0.0
    _stack: ExitStack | None = None
    _session: Session | None = None

    @property
    def is_open(self) -> bool:
        return self._session is not None

    def get(self) -> Session:
        if self._session is None:
            stack = ExitStack()
            self._session = stack.enter_context(self.warehouse.session(self.purpose))
            self._stack, self.opened_at = stack, time.monotonic()
        return self._session

    def close_if_due(self) -> None:
        if self.is_open and time.monotonic() - self.opened_at > SESSION_SECONDS:
            self.close()

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
        threads: Partitions prepared at once.

    Yields:
        The outcome of each partition, as it is settled; after the commit, never before.

    Raises:
        WarehouseError: If the warehouse cannot be opened at the start; nothing was asked of the source then.
    """
    waiting = deque(days)
    stages = [stage for stage in Stage if stage in pipeline.stages]
    shared = _SharedSession(pipeline.environment.warehouse, f"load {pipeline.stream.id}")
    stop = _Stop(pipeline.run_id)
    reporter.start(pipeline.stream.id, stages, len(waiting))
    if Stage.COMMIT in pipeline.stages:
        shared.get()

    def prepare(day: date) -> Prepared:
        prepared = pipeline.prepare(day)
        for stage in (Stage.EXTRACT, Stage.STAGE):
            if stage in pipeline.stages and prepared.failure is None:
                reporter.stage_done(pipeline.stream.id, day.isoformat(), stage)
        return prepared

    try:
        for outcome in _settle_all(pipeline, waiting, prepare, shared, stop, threads):
            reporter.partition_done(outcome)
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
    threads: int,
) -> Iterator[PartitionOutcome]:
    running: set[Future[Prepared]] = set()
    pool = ThreadPoolExecutor(threads, thread_name_prefix=pipeline.stream.name)
    try:
        while waiting or running:
            while waiting and len(running) < threads * LOOK_AHEAD and stop.outcome is None:
                running.add(pool.submit(prepare, waiting.popleft()))
            if not running and stop.outcome is not None:
                yield from _put_off(waiting, stop)
                continue
            done, running = wait(
                running, timeout=IDLE_SECONDS if shared.is_open else None, return_when=FIRST_COMPLETED
            )
            if not done:
                shared.close()
            for prepared in sorted((future.result() for future in done), key=lambda ready: ready.day):
                outcome = pipeline.settle(prepared, shared.get)
                stop.consider(outcome)
                yield outcome
            shared.close_if_due()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for future in running:
            if not future.cancelled():
                future.result().release()


def _put_off(waiting: deque[date], stop: _Stop) -> Iterator[PartitionOutcome]:
    while waiting:
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
