"""Clearing away what killed processes left behind, on the way of the next load.

Who has a partition's lock has all of the partition to itself, in landing and in staged alike; so whatever temporary
directory lies there then has no owner any more, whichever machine or process its name tells of. An extraction that was
cut short is not removed: the next one takes it up, or starts again (`etl_assets.landing.partial`). Staged rows that
were never committed are found again by their manifest (`etl_assets.pipeline.staged`). What belongs here: the
partition's lock, and removing what is nobody's. What does not: telling people (`etl_assets.pipeline.doctor`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from etl_assets.landing.files import TEMPORARY_PREFIX, is_alive
from etl_assets.pipeline.environment import Environment
from etl_assets.streams.base import Stream

log = structlog.get_logger(__name__)

_STATE_DRAFT = re.compile(r"\.(?P<pid>\d+)\.tmp$")


def partition_lock(environment: Environment, stream: Stream, day: date) -> FileLock:
    """Give the lock that whoever loads a partition holds; released by the system when its holder dies.

    Raises:
        OSError: If its folder cannot be made.
    """
    path = environment.staged.partition_dir(stream, day) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, thread_local=False)


def recover(environment: Environment, stream: Stream) -> int:
    """Clear away leftovers of all partitions of a stream, before any is loaded; gives how many there were.

    Those of partitions that another process has locked are left alone. Nothing here fails a load: what cannot be
    removed stays, and the doctor tells of it.
    """
    removed = sum(_unlink(draft) for draft in state_drafts(environment.settings.state_dir))
    for day in sorted(_days_with_leftovers(environment, stream)):
        with suppress(OSError, Timeout), partition_lock(environment, stream, day).acquire(timeout=0):
            removed += recover_partition(environment, stream, day)
    return removed


def recover_partition(environment: Environment, stream: Stream, day: date) -> int:
    """Clear away leftovers of a partition whose lock the caller holds; gives how many there were."""
    found = [entry for folder in _folders(environment, stream, day) for entry in _temporary_in(folder)]
    for entry in found:
        shutil.rmtree(entry, ignore_errors=True)
    if found:
        log.info(
            "leftovers_removed",
            source=stream.source.name,
            stream=stream.id,
            partition=day.isoformat(),
            leftovers=len(found),
        )
    return len(found)


def state_drafts(folder: Path) -> list[Path]:
    """Give half-written state files whose process is gone."""
    drafts = [(path, _STATE_DRAFT.search(path.name)) for path in sorted(folder.rglob("*.tmp"))]
    return [path for path, owner in drafts if owner is not None and not is_alive(int(owner["pid"]))]


def _days_with_leftovers(environment: Environment, stream: Stream) -> set[date]:
    found = set()
    for root in (environment.landing.root / stream.id, environment.staged.root / stream.id):
        for folder in root.glob("????-??-??"):
            if _temporary_in(folder):
                with suppress(ValueError):
                    found.add(date.fromisoformat(folder.name))
    return found


def _folders(environment: Environment, stream: Stream, day: date) -> Iterator[Path]:
    yield environment.landing.partition_path(stream.id, day)
    yield environment.staged.partition_dir(stream, day)


def _temporary_in(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.name.startswith(TEMPORARY_PREFIX)]
    except OSError:
        return []


def _unlink(path: Path) -> bool:
    with suppress(OSError):
        path.unlink()
        return True
    return False
