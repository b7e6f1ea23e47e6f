"""Staging in processes of their own: the same files, the same failures, and nothing left when either side is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import pandas as pd
import pytest

from etl_assets.failures import EtlError, FailureClass, LandingError, TransformError
from etl_assets.landing.store import PAGES_FILE
from etl_assets.pipeline import staging_workers as workers
from etl_assets.pipeline import worker_processes
from etl_assets.pipeline.staged import QUARANTINE_FILE, ROWS_FILE
from etl_assets.pipeline.staging import FillStaged, fill_staged
from etl_assets.pipeline.worker_processes import LEAST_PARTITIONS, started
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.rules import compile_contract
from etl_assets_tests.pipeline.landings import land, with_transform
from etl_assets_tests.quality.samples import DAY, ORDER_LINES, line

MANY = LEAST_PARTITIONS
PSEUDONYMISER = Pseudonymiser(compile_contract(ORDER_LINES.contract), None)


def unwilling(raw: pd.DataFrame) -> pd.DataFrame:
    """A transform that fails with a message of its own."""
    raise TransformError("not today", hint="come again tomorrow")


@pytest.fixture(scope="module")
def delegated() -> FillStaged:
    return workers.staging_workers(1, ORDER_LINES, MANY)


def test_files_are_those_of_staging_in_the_same_process(tmp_path: Path, delegated: FillStaged) -> None:
    landed = land(tmp_path, [[line("a"), line("bad", quantity=0)], [line("b")]])
    for name, fill in (("here", fill_staged), ("there", delegated)):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, ORDER_LINES, DAY, landed, PSEUDONYMISER, ())
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "there")
    )
    assert here == there
    assert {ROWS_FILE, QUARANTINE_FILE} < here.keys()


def test_workers_are_other_processes() -> None:
    workers.staging_workers(1, ORDER_LINES, MANY)
    assert started(1).submit(os.getpid).result() != os.getpid()


def test_failures_come_back_as_they_are(tmp_path: Path, delegated: FillStaged) -> None:
    landed = land(tmp_path, [[line("a")]])
    (landed.path / PAGES_FILE).write_bytes(b"")
    (tmp_path / "damaged").mkdir()
    with pytest.raises(LandingError, match=r"order_lines 20\d\d-\d\d-\d\d"):
        delegated(tmp_path / "damaged", ORDER_LINES, DAY, landed, PSEUDONYMISER, ())

    stream = with_transform(unwilling)
    (tmp_path / "unwilling").mkdir()
    fill = workers.staging_workers(1, stream, MANY)
    assert fill is not fill_staged
    with pytest.raises(TransformError) as raised:
        fill(tmp_path / "unwilling", stream, DAY, land(tmp_path / "again", [[line("a")]]), PSEUDONYMISER, ())
    assert (raised.value.message, raised.value.hint) == ("not today", "come again tomorrow")


def test_stream_that_no_other_process_can_import_is_staged_here(tmp_path: Path) -> None:
    asked: list[int] = []

    def clean(raw: pd.DataFrame) -> pd.DataFrame:
        asked.append(len(raw))
        return ORDER_LINES.transform(raw)

    stream = replace(ORDER_LINES, transform=clean)
    fill = workers.staging_workers(1, stream, MANY)
    (tmp_path / "staged").mkdir()
    fill(tmp_path / "staged", stream, DAY, land(tmp_path, [[line("a")]]), PSEUDONYMISER, ())
    assert asked == [1]


@pytest.mark.parametrize(("processes", "partitions"), [(0, MANY), (1, MANY - 1)])
def test_no_worker_where_it_does_not_pay(processes: int, partitions: int) -> None:
    assert type(workers.staging_workers(processes, ORDER_LINES, partitions)) is workers.Together
    assert (
        workers.staging_workers(processes, replace(ORDER_LINES, row_by_row=False), partitions) is fill_staged
    )
    assert workers.staging_workers(processes, ORDER_LINES, 1) is fill_staged


def test_whoever_starts_workers_does_not_wait_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ready, begun = Event(), Event()

    def submit(*arguments: object) -> None:
        begun.set()
        assert ready.wait(60)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    try:
        # Past the cache: other tests go on with the workers that it knows.
        started.__wrapped__(1)
        assert begun.wait(60)
    finally:
        ready.set()


def test_workers_are_started_early_where_many_days_have_not_been_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(worker_processes, "started", begun.append)
    days = [DAY + timedelta(days=number) for number in range(MANY + 4)]

    def begins(*streams: str, processes: int = 1, of: int = MANY + 4) -> bool:
        begun.clear()
        worker_processes.start_early(processes, tmp_path, streams, days[:of])
        return bool(begun)

    assert begins()
    assert begins("shop/order_lines")
    assert not begins(processes=0)
    assert not begins(of=MANY - 1)
    for day in days:
        (tmp_path / "shop" / "order_lines" / day.isoformat()).mkdir(parents=True)
    assert not begins()
    assert not begins("shop")
    assert not begins("shop/order_lines")
    assert begins("shop/order_lines", "shop/orders")
    (tmp_path / "shop" / "orders" / DAY.isoformat()).mkdir(parents=True)
    assert begins()
    assert begins("shop")


def test_killed_worker_is_a_failure_that_may_pass_and_the_next_run_has_another(tmp_path: Path) -> None:
    landed = land(tmp_path, [[line("a")]])
    fill = workers.staging_workers(1, ORDER_LINES, MANY)
    pool = started(1)
    os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
    (tmp_path / "first").mkdir()
    with pytest.raises(EtlError, match="a process that stages ended") as raised:
        fill(tmp_path / "first", ORDER_LINES, DAY, landed, PSEUDONYMISER, ())
    assert raised.value.failure_class is FailureClass.TRANSIENT
    (tmp_path / "second").mkdir()
    again = workers.staging_workers(1, ORDER_LINES, MANY)
    again(tmp_path / "second", ORDER_LINES, DAY, landed, PSEUDONYMISER, ())
    assert (tmp_path / "second" / ROWS_FILE).exists()


def test_workers_end_with_the_process_that_they_work_for() -> None:
    code = (
        "import os, time\n"
        "from etl_assets.pipeline.worker_processes import started\n"
        "print(started(1).submit(os.getpid).result(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 30
    while _is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_running(worker)


def _is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
