"""Processes that stage beside the one that extracts and commits: started once, and never left over.

Imports nothing of what they do, so that they can be started before the caller has imported it. What belongs here: their
life. What does not: what they are asked to do (`etl_assets.pipeline.staging_workers`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import date
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path

LEAST_PARTITIONS = 16
"""Partitions to stage from which on workers pay: to start one costs about as much as staging some tens of days."""

_PRELOADED = "etl_assets.pipeline.staging_workers"


@cache
def started(processes: int) -> ProcessPoolExecutor:
    """Start the workers, once in a process; they import what they need while the caller goes on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    workers = ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent)
    # Starting the first returns when the fork server has imported all that it is to preload.
    threading.Thread(target=_start, args=(workers, processes), daemon=True, name="start workers").start()
    return workers


def _start(workers: ProcessPoolExecutor, processes: int) -> None:
    # Whoever asks them for something is told why they could not be started, or that it is too late.
    with suppress(OSError, RuntimeError):
        for _ in range(processes):
            workers.submit(os.getpid)


def start_early(processes: int, staged: Path, streams: Sequence[str], days: Sequence[date]) -> None:
    """Start the workers if they will be needed as far as can be seen at a glance; being wrong costs time only.

    Args:
        processes: Workers that may run at once; 0 for none.
        staged: Where staged partitions are, in folders by source, stream and day.
        streams: Streams or sources that are asked for; empty for all.
        days: The days.
    """
    if processes < 1 or len(days) < LEAST_PARTITIONS:
        return
    named = [staged / name for name in streams if "/" in name]
    of_sources = [name for name in streams if "/" not in name] or ([] if streams else ["*"])
    folders = [*named, *(folder for source in of_sources for folder in staged.glob(f"{source}/*/"))]
    if not folders or any(_lacks_many(folder, days) for folder in folders):
        started(processes)


def _lacks_many(stream: Path, days: Sequence[date]) -> bool:
    staged = set(os.listdir(stream)) if stream.is_dir() else set()
    return sum(day.isoformat() not in staged for day in days) >= LEAST_PARTITIONS


def forget() -> None:
    """Start others when they are asked for again, after one of them ended."""
    started.cache_clear()


os.register_at_fork(after_in_child=forget)


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
