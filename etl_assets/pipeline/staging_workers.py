"""Staging in processes of their own, beside the one that extracts and commits.

Python runs one thread at a time, and staging is mostly Python: in a process of its own it costs the others nothing. A
worker gets the names of files and writes files; where they belong, and whether they are taken, is decided by whoever
asked. What belongs here: what the workers are asked to do, and when that pays. What does not: what staging does
(`etl_assets.pipeline.staging`), and their life (`etl_assets.pipeline.worker_processes`).
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from functools import cache
from pathlib import Path

import structlog

from etl_assets.failures import EtlError, FailureClass
from etl_assets.landing.store import LandedPartition
from etl_assets.pipeline.staging import FillStaged, fill_staged
from etl_assets.pipeline.worker_processes import LEAST_PARTITIONS, forget, started
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.streams.base import Stream
from etl_assets.warehouse.decisions import Decision

log = structlog.get_logger(__name__)

_NOT_HERE = "not here"


def staging_workers(processes: int, stream: Stream, partitions: int) -> FillStaged:
    """Give what stages the partitions of a run: workers if they pay, and else the caller itself.

    Args:
        processes: Workers that may run at once; 0 for none.
        stream: The stream. One that another process cannot import (made by a test, say) is staged by the caller.
        partitions: How many there are to stage.
    """
    if processes < 1 or partitions < LEAST_PARTITIONS:
        return fill_staged
    try:
        pickled = pickle.dumps(stream)
    except (pickle.PicklingError, AttributeError, TypeError):
        return fill_staged
    return _Delegated(processes, pickled)


class _Delegated:
    """Fills staged partitions of one stream by the workers."""

    def __init__(self, processes: int, pickled: bytes) -> None:
        self._processes = processes
        self._pickled = pickled
        self._workers = started(processes)

    def __call__(
        self,
        directory: Path,
        stream: Stream,
        day: date,
        landed: LandedPartition,
        pseudonymiser: Pseudonymiser,
        decisions: Sequence[Decision] = (),
    ) -> None:
        try:
            answer = self._workers.submit(
                _fill, self._pickled, directory, day, landed, pseudonymiser, decisions
            ).result()
        except BrokenProcessPool as error:
            forget()
            raise EtlError(
                f"{stream.id} {day}: a process that stages ended before it was done",
                hint="its memory may have run out; ETL_STAGING_PROCESSES=0 stages without",
                failure_class=FailureClass.TRANSIENT,
            ) from error
        if answer == _NOT_HERE:
            fill_staged(directory, stream, day, landed, pseudonymiser, decisions)
        elif isinstance(answer, EtlError):
            raise answer


def _fill(
    pickled: bytes,
    directory: Path,
    day: date,
    landed: LandedPartition,
    pseudonymiser: Pseudonymiser,
    decisions: Sequence[Decision],
) -> EtlError | str | None:
    """Fill a staged partition in a worker.

    Returns:
        None if that is done, the failure if it failed as foreseen, or that the stream is not to be had here.
    """
    try:
        stream = _stream(pickled)
    except (ImportError, AttributeError, pickle.UnpicklingError):
        return _NOT_HERE
    try:
        fill_staged(directory, stream, day, landed, pseudonymiser, decisions)
    except EtlError as error:
        plain = EtlError(error.message, hint=error.hint, failure_class=error.failure_class)
        return error if _survives_pickling(error) else plain
    return None


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
