"""Staging in processes of their own, beside the one that extracts and commits.

Python runs one thread at a time, and staging is mostly Python: in a process of its own it costs the others nothing. A
worker gets the names of files and writes files; where they belong, and whether they are taken, is decided by whoever
asked. What belongs here: the workers, and when they pay. What does not: what staging does
(`etl_assets.pipeline.staging`).
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path

import structlog

from etl_assets.failures import EtlError, FailureClass
from etl_assets.landing.store import LandedPartition
from etl_assets.pipeline.staging import FillStaged, fill_staged
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.streams.base import Stream
from etl_assets.warehouse.decisions import Decision

log = structlog.get_logger(__name__)

LEAST_PARTITIONS = 16
"""Partitions of a run from which on workers pay: to start one costs about as much as staging some tens of days."""

_MODULE = __name__
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
        self._workers = _started(processes)

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
            _started.cache_clear()
            raise EtlError(
                f"{stream.id} {day}: a process that stages ended before it was done",
                hint="its memory may have run out; ETL_STAGING_PROCESSES=0 stages without",
                failure_class=FailureClass.TRANSIENT,
            ) from error
        if answer == _NOT_HERE:
            fill_staged(directory, stream, day, landed, pseudonymiser, decisions)
        elif isinstance(answer, EtlError):
            raise answer


@cache
def _started(processes: int) -> ProcessPoolExecutor:
    """Start the workers, once in a process; they import what they need while the caller goes on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_MODULE])
    workers = ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent)
    for _ in range(processes):
        workers.submit(os.getpid)
    return workers


os.register_at_fork(after_in_child=_started.cache_clear)


def _end_with_parent() -> None:
    """End this worker when the process that it works for is gone, however that came, and not before."""
    # Ctrl-C reaches every process of the terminal; the parent decides what becomes of work that was begun.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


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
