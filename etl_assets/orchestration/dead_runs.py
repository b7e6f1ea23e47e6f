"""Runs whose process is gone: Dagster shows them as under way for ever, because nobody told it of their end.

What belongs here: runs of the command line, which have no launcher to look after them. What does not: runs that the
daemon launched; its run monitoring ends those.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import dagster as dg

from etl_assets.landing.files import is_alive

HOST_TAG, PROCESS_TAG = "etl/host", "etl/pid"
_UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def process_tags() -> dict[str, str]:
    """Give the tags by which a run of this process is known."""
    return {HOST_TAG: socket.gethostname(), PROCESS_TAG: str(os.getpid())}


def dead_runs(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """Find runs that were begun on this machine by a process that is not there any more."""
    here = dg.RunsFilter(statuses=_UNDER_WAY, tags={HOST_TAG: socket.gethostname()})
    return [run for run in instance.get_runs(filters=here) if _is_gone(run.tags.get(PROCESS_TAG, ""))]


def end_dead_runs(instance: dg.DagsterInstance) -> int:
    """Have Dagster show all dead runs as failed; gives how many there were."""
    dead = dead_runs(instance)
    for run in dead:
        end_run(instance, run.run_id)
    return len(dead)


def end_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Have Dagster show a run as failed, and give back its slots of pools; what it committed stays."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, "Its process was killed; everything that it had committed is safe.")
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _is_gone(process: str) -> bool:
    return process.isdigit() and not is_alive(int(process))
