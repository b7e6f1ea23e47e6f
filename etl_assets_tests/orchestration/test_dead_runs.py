"""Runs whose process is gone: found by their tags, ended, and what they held is given back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from etl_assets.orchestration.dead_runs import HOST_TAG, PROCESS_TAG, dead_runs, end_dead_runs, process_tags
from etl_assets.orchestration.instance import opened_instance
from etl_assets.settings import load_settings

POOL = "shop"


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    """An instance of its own, whose pool has one slot."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    with opened_instance(load_settings({"ETL_DATA_DIR": str(tmp_path)})) as opened:
        opened.event_log_storage.set_concurrency_slots(POOL, 1)
        yield opened


@pytest.fixture(scope="module")
def dead_process() -> str:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return str(process.pid)


def begin(instance: DagsterInstance, tags: dict[str, str]) -> DagsterRun:
    """A run that is under way, as far as Dagster knows."""
    run: DagsterRun = create_run_for_test(
        instance, job_name="load", status=DagsterRunStatus.STARTED, tags=tags
    )
    return run


def test_a_dead_run_ends_and_gives_its_slot_back(instance: DagsterInstance, dead_process: str) -> None:
    run = begin(instance, {HOST_TAG: socket.gethostname(), PROCESS_TAG: dead_process})
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot(POOL, run.run_id, "step").is_claimed
    assert [found.run_id for found in dead_runs(instance)] == [run.run_id]
    assert end_dead_runs(instance) == 1
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is DagsterRunStatus.FAILURE
    assert storage.claim_concurrency_slot(POOL, "another-run", "step").is_claimed
    assert end_dead_runs(instance) == 0


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {HOST_TAG: "another.example.com", PROCESS_TAG: "1"},
        {HOST_TAG: socket.gethostname()},
        {HOST_TAG: socket.gethostname(), PROCESS_TAG: "no number"},
        process_tags(),
    ],
    ids=["launched", "elsewhere", "unnumbered", "odd", "ours"],
)
def test_a_run_that_may_be_alive_is_left_alone(instance: DagsterInstance, tags: dict[str, str]) -> None:
    begin(instance, tags)
    assert dead_runs(instance) == []


def test_a_process_of_somebody_else_counts_as_alive(instance: DagsterInstance) -> None:
    begin(instance, {HOST_TAG: socket.gethostname(), PROCESS_TAG: str(os.getppid())})
    assert dead_runs(instance) == []
