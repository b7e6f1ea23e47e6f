"""Killing a loading process at random instants: what is there is whole, and the next run needs no clean-up."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from etl_assets.warehouse.database import Warehouse
from etl_assets_tests.warehouse.samples import LINES, ORDERS, Stager, at, line, order, select

DAYS = 12
CONTENT = (
    "SELECT line_id, amount, _partition FROM shop.order_lines ORDER BY ALL",
    "SELECT order_id, status, updated_at, _partition FROM shop.orders ORDER BY ALL",
    "SELECT stream, watermark FROM etl.watermarks ORDER BY ALL",
    "SELECT stream, partition, raw_payload, state FROM etl.quarantine ORDER BY ALL",
)
LOAD = """
import sys
from pathlib import Path
from etl_assets_tests.warehouse.test_crash import load
print("ready", flush=True)
load(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def load(path: Path, folder: Path) -> None:
    """Load all days of both streams."""
    stager = Stager(folder)
    with Warehouse(path).session("load") as session:
        for number in range(DAYS):
            lines = [line(number, f"n{index}") for index in range(200)]
            session.commit(stager.request(LINES, number, lines, ["bad"]))
            orders = [order(f"o{index}", at(number, 1), status=str(number)) for index in range(50)]
            session.commit(stager.request(ORDERS, number, orders))


@pytest.mark.crash
def test_kill_at_random_instants_then_a_plain_rerun(tmp_path: Path) -> None:
    load(tmp_path / "undisturbed.duckdb", tmp_path / "undisturbed")
    with Warehouse(tmp_path / "undisturbed.duckdb").read("compare") as connection:
        expected = [select(connection, sql) for sql in CONTENT]
    chance = random.Random(7)
    killed = Warehouse(tmp_path / "killed.duckdb")
    for number in range(3):
        _load_and_kill(killed, tmp_path / f"staged-{number}", chance.uniform(0.03, 0.4))
        _check_whole(killed)
    load(killed.path, tmp_path / "rerun")
    with killed.read("compare") as connection:
        assert [select(connection, sql) for sql in CONTENT] == expected


def _load_and_kill(warehouse: Warehouse, folder: Path, after: float) -> None:
    command = [sys.executable, "-c", LOAD, str(warehouse.path), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after)
        os.kill(process.pid, signal.SIGKILL)


def _check_whole(warehouse: Warehouse) -> None:
    """Every partition in the load log is there with all of its rows, and no other one is."""
    with warehouse.session("check") as session:
        if not select(session.connection, "SELECT 1 FROM etl.loads LIMIT 1"):
            return
        logged = select(
            session.connection,
            "SELECT DISTINCT partition, 200 FROM etl.loads WHERE stream = 'order_lines' ORDER BY 1",
        )
        held = select(
            session.connection, "SELECT _partition, count(*) FROM shop.order_lines GROUP BY 1 ORDER BY 1"
        )
        assert held == logged
        last = select(
            session.connection, "SELECT max(partition) + 1 FROM etl.loads WHERE stream = 'order_lines'"
        )
        watermark = "SELECT CAST(watermark AS DATE) FROM etl.watermarks WHERE stream = 'order_lines'"
        assert select(session.connection, watermark) == last
