"""The command `etl-assets ui`: what it starts answers and works, and all of it ends with the command."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from etl_assets_tests.browser.conftest import START_SECONDS, command_environment, free_port, wait_for_ui

pytestmark = pytest.mark.browser

PROCESSES = Path("/proc")
STOP_SECONDS = 60.0
BACKFILL_SECONDS = 180.0
FINISHED = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED")
STREAM = ("shop", "orders")
LAYERS = ("raw", "staged", "warehouse")
LAUNCH = """mutation Launch($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
PROGRESS = """query Progress($id: String!, $table: AssetKeyInput!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } }
  assetNodeOrError(assetKey: $table) {
    ... on AssetNode { partitionStats { numPartitions numMaterialized numFailed } }
  }
}"""


@dataclass(frozen=True, slots=True)
class RunningUi:
    """A running `etl-assets ui` in a process group of its own."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    days: tuple[str, ...]

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """Ask the UI's API."""
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.url}/graphql", json=body, trust_env=False, timeout=30).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data


def parents() -> dict[int, int]:
    """Every process that has not ended, with its parent."""
    found = {}
    for status in PROCESSES.glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(status.parent.name)] = int(parent)
    return found


def descendants(root: int) -> set[int]:
    """A process with all that it started, and they did."""
    family, everyone = {root}, parents()
    while more := {one for one, parent in everyone.items() if parent in family} - family:
        family |= more
    return family


def answers(url: str) -> bool:
    """Whether something listens at an address."""
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.fixture
def running_ui(tmp_path: Path) -> Iterator[RunningUi]:
    """The command, over an empty data folder of three partitions."""
    if not PROCESSES.is_dir():
        pytest.skip("no /proc here, so that left-over processes cannot be found")
    url, log = f"http://127.0.0.1:{(port := free_port())}", tmp_path / "ui.log"
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    days = tuple((yesterday - timedelta(days=number)).isoformat() for number in (2, 1, 0))
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "etl_assets", "ui", "--port", str(port)],
            env=command_environment(tmp_path / "data", ETL_START_DATE=days[0]),
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    family = {process.pid}
    try:
        wait_for_ui(url, process, log)
        family = descendants(process.pid)
        yield RunningUi(url, process, log, days)
    finally:
        for pid in (descendants(process.pid) | family) & parents().keys():
            os.kill(pid, signal.SIGKILL)
        process.wait()


def stop(ui: RunningUi, number: int, *, group: bool) -> None:
    """End the command and check that nothing of it is left."""
    family = descendants(ui.process.pid)
    assert len(family) > 5
    (os.killpg if group else os.kill)(ui.process.pid, number)
    assert ui.process.wait(STOP_SECONDS) == 0
    assert family & parents().keys() == set()
    assert not answers(ui.url)
    assert "Traceback" not in ui.log.read_text()


def source_of(ui: RunningUi) -> str:
    """Where the demo source says it is."""
    found = re.search(r"demo shop on (http://127\.0\.0\.1:\d+)", ui.log.read_text())
    assert found
    return found.group(1)


def test_ctrl_c_ends_everything(running_ui: RunningUi) -> None:
    source = source_of(running_ui)
    assert httpx.get(f"{source}/v1/health", trust_env=False).is_success
    delivered = (running_ui.log.parent / "data" / "demo" / "finance").rglob("*.csv")
    assert sorted(path.stem.removeprefix("fx_rates_") for path in delivered) == sorted(running_ui.days)
    # The line comes once the port answers, which this test may have seen first.
    give_up = time.monotonic() + START_SECONDS
    while f"Dagster UI on {running_ui.url}" not in running_ui.log.read_text():
        assert time.monotonic() < give_up, running_ui.log.read_text()
        time.sleep(0.1)
    stop(running_ui, signal.SIGINT, group=True)
    assert not answers(source)


@pytest.mark.slow
def test_a_backfill_from_the_ui_is_done_and_termination_ends_everything(running_ui: RunningUi) -> None:
    backfill = {
        "partitionNames": list(running_ui.days),
        "assetSelection": [{"path": [layer, *STREAM]} for layer in LAYERS],
    }
    launched = running_ui.ask(LAUNCH, backfill=backfill)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    table = {"path": ["warehouse", *STREAM]}
    give_up = time.monotonic() + BACKFILL_SECONDS
    status = ""
    while status not in FINISHED:
        assert time.monotonic() < give_up, f"the backfill is still {status}"
        time.sleep(0.5)
        progress = running_ui.ask(PROGRESS, id=launched["backfillId"], table=table)
        status = progress["partitionBackfillOrError"]["status"]
    assert status == "COMPLETED_SUCCESS"
    assert progress["assetNodeOrError"]["partitionStats"] == {
        "numPartitions": 3,
        "numMaterialized": 3,
        "numFailed": 0,
    }
    source = source_of(running_ui)
    stop(running_ui, signal.SIGTERM, group=False)
    assert not answers(source)
