"""Staging several days at a time, in processes of their own beside the one that extracts and commits, or in that one.

Python runs one thread at a time, and staging is mostly Python: in a process of its own it costs the others nothing. A
worker gets the names of files and writes files; where they belong, and whether they are taken, is decided by whoever
asked. What belongs here: who stages which days, and when workers pay. What does not: what staging does
(`etl_assets.pipeline.staging`), and the workers' life (`etl_assets.pipeline.worker_processes`).
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from etl_assets.failures import EtlError, FailureClass
from etl_assets.landing.store import LandedPartition
from etl_assets.pipeline.staging import (
    CHUNK_ROWS,
    FillStaged,
    StagingJob,
    fill_staged,
    fill_staged_together,
    may_be_together,
)
from etl_assets.pipeline.worker_processes import LEAST_PARTITIONS, forget, started
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.streams.base import Stream
from etl_assets.warehouse.decisions import Decision

Answer = Exception | None

TOGETHER = 16
"""Small days that are staged together, at most."""


def staging_workers(processes: int, stream: Stream, partitions: int) -> FillStaged:
    """Give what stages the partitions of a run: workers if they pay, and else this process.

    Args:
        processes: Workers that may run at once; 0 for none.
        stream: The stream. One that another process cannot import (made by a test, say) is staged by this one.
        partitions: How many there are to stage.
    """
    if processes >= 1 and partitions >= LEAST_PARTITIONS:
        try:
            return Delegated(processes, stream, pickle.dumps(stream))
        except (pickle.PicklingError, AttributeError, TypeError):
            pass
    return Together(stream) if may_be_together(stream) and partitions > 1 else fill_staged


class Together:
    """Fills staged partitions of one stream in this process, small days several at a time.

    Each caller waits for its own partition. What callers ask for while as many are busy as may be at once is done by
    the next one that is free.

    Args:
        stream: The stream.
        at_once: How many may be busy.
    """

    def __init__(self, stream: Stream, at_once: int = 1) -> None:
        self._stream = stream
        self._at_once = at_once
        self.most = TOGETHER if may_be_together(stream) else 1
        """Partitions that are staged together, at most."""
        self._state = threading.Condition()
        self._waiting: deque[_Asked] = deque()
        self._busy = 0

    def __call__(
        self,
        directory: Path,
        stream: Stream,
        day: date,
        landed: LandedPartition,
        pseudonymiser: Pseudonymiser,
        decisions: Sequence[Decision] = (),
    ) -> None:
        """See `fill_staged`."""
        asked = _Asked(StagingJob(directory, day, landed, tuple(decisions)))
        with self._state:
            self._waiting.append(asked)
        while not asked.is_done:
            batch = self._take(asked)
            if batch:
                self._work(batch, pseudonymiser)
        if asked.answer is not None:
            raise asked.answer

    def _fill(self, jobs: Sequence[StagingJob], pseudonymiser: Pseudonymiser) -> Sequence[Answer]:
        """Fill several partitions; gives for each None if that is done, or why not."""
        return fill_staged_together(self._stream, jobs, pseudonymiser)

    def _take(self, asked: _Asked) -> list[_Asked]:
        """Wait for something to do: give what is to be done next, or nothing once one's own is done."""
        with self._state:
            while not asked.is_done and (self._busy >= self._at_once or not self._waiting):
                self._state.wait()
            if asked.is_done:
                return []
            self._busy += 1
            batch = [self._waiting.popleft()]
            rows = batch[0].job.landed.records
            while self._waiting and len(batch) < self.most:
                rows += self._waiting[0].job.landed.records
                if rows > CHUNK_ROWS:
                    break
                batch.append(self._waiting.popleft())
            return batch

    def _work(self, batch: Sequence[_Asked], pseudonymiser: Pseudonymiser) -> None:
        answers: Sequence[Answer]
        try:
            answers = self._fill([asked.job for asked in batch], pseudonymiser)
        except Exception as error:
            answers = [error] * len(batch)
        with self._state:
            self._busy -= 1
            for asked, answer in zip(batch, answers, strict=True):
                asked.answer, asked.is_done = answer, True
            self._state.notify_all()


class Delegated(Together):
    """Fills staged partitions of one stream by the workers.

    Args:
        processes: Workers that may run at once.
        stream: The stream.
        pickled: The stream, for the workers.
    """

    def __init__(self, processes: int, stream: Stream, pickled: bytes) -> None:
        super().__init__(stream, at_once=processes)
        self._pickled = pickled
        self._workers = started(processes)

    def _fill(self, jobs: Sequence[StagingJob], pseudonymiser: Pseudonymiser) -> Sequence[Answer]:
        """See `Together`."""
        try:
            answers = self._workers.submit(_fill_in_worker, self._pickled, jobs, pseudonymiser).result()
        except BrokenProcessPool as error:
            forget()
            return [self._ended(job, error) for job in jobs]
        return super()._fill(jobs, pseudonymiser) if answers is None else answers

    def _ended(self, job: StagingJob, error: BrokenProcessPool) -> EtlError:
        failure = EtlError(
            f"{self._stream.id} {job.day}: a process that stages ended before it was done",
            hint="its memory may have run out; ETL_STAGING_PROCESSES=0 stages without",
            failure_class=FailureClass.TRANSIENT,
        )
        failure.__cause__ = error
        return failure


@dataclass(slots=True, eq=False)
class _Asked:
    """A partition that somebody waits for."""

    job: StagingJob
    is_done: bool = False
    answer: Answer = None


def _fill_in_worker(
    pickled: bytes, jobs: Sequence[StagingJob], pseudonymiser: Pseudonymiser
) -> list[Answer] | None:
    """Fill staged partitions in a worker.

    Returns:
        For each None if that is done, or the failure if it failed as foreseen; nothing if the stream is not to be had
        here.
    """
    try:
        stream = _stream(pickled)
    except (ImportError, AttributeError, pickle.UnpicklingError):
        return None
    failed = fill_staged_together(stream, jobs, pseudonymiser)
    return [_portable(error) if isinstance(error, EtlError) else error for error in failed]


def _portable(error: EtlError) -> EtlError:
    if _survives_pickling(error):
        return error
    return EtlError(error.message, hint=error.hint, failure_class=error.failure_class)


@cache
def _stream(pickled: bytes) -> Stream:
    stream: Stream = pickle.loads(pickled)
    return stream


def _survives_pickling(error: EtlError) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
