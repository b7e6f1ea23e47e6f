"""Four processes load different days and streams into one warehouse file, and two more read it meanwhile.

A few seconds of it run with the suite. Two minutes, with every process's share of turns and longest wait:

    pytest -m slow -s etl_assets_tests/warehouse/test_many_processes.py
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etl_assets.observability.logging import configure_logging
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.database import Warehouse
from etl_assets_tests.warehouse.samples import LINES, ORDERS, Stager, at, line, order, select

LOADERS, READERS = 4, 2
PATIENCE = 60.0
"""Seconds that a process may have to wait for its turn, as the settings have it."""

ROWS = 25
WHOLE = """
    SELECT (SELECT count(*) FROM shop.order_lines), (SELECT count(*) FROM shop.orders),
        (SELECT sum(loaded) FROM etl.loads WHERE stream = 'order_lines'),
        (SELECT sum(loaded - updated) FROM etl.loads WHERE stream = 'orders')"""
NOT_CONSERVED = "SELECT * FROM etl.loads WHERE extracted <> loaded + unchanged + deduplicated + quarantined"
MISSING_NUMBERS = "SELECT count(*) - count(DISTINCT load_id), max(load_id) - count(*) FROM etl.loads"

Turn = Callable[[Warehouse, int], None]


def request_of(stager: Stager, loader: int, turn: int) -> CommitRequest:
    """Make the next day of a loader: half of them load lines, the others orders of their own."""
    number = loader * 10_000 + turn
    if loader % 2:
        rows = [order(f"{loader}-{turn}-{index}", at(number)) for index in range(ROWS)]
        return stager.request(ORDERS, number, rows)
    return stager.request(LINES, number, [line(number, str(index)) for index in range(ROWS)])


def take_turns(path: Path, result: Path, seconds: float, loader: int | None) -> None:
    """Load, or read, again and again for some seconds, and write down what was done; runs in a process of its own."""
    configure_logging("console", "ERROR")
    warehouse, stager = Warehouse(path, lock_timeout=PATIENCE), Stager(result.with_suffix(""))
    turns, waits, end = 0, [0.0], time.monotonic() + seconds
    while time.monotonic() < end:
        request = None if loader is None else request_of(stager, loader, turns)
        asked = time.monotonic()
        if request is None:
            with warehouse.read("look") as connection:
                waits.append(time.monotonic() - asked)
                lines, orders, loaded_lines, loaded_orders = select(connection, WHOLE)[0]
                assert (lines, orders) == (loaded_lines, loaded_orders)
        else:
            with warehouse.session(f"load {request.what}") as session:
                waits.append(time.monotonic() - asked)
                session.commit(request)
        turns += 1
    result.write_text(json.dumps({"turns": turns, "longest_wait": max(waits)}))


def run_together(folder: Path, seconds: float) -> dict[str, dict[str, Any]]:
    """Let all processes take turns; give what each wrote down."""
    path, stager = folder / "w.duckdb", Stager(folder / "first")
    with Warehouse(path).session("make the tables") as session:
        for loader in (0, 1):
            session.commit(request_of(stager, loader, 9_999))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    loaders: list[int | None] = [*range(LOADERS), *[None] * READERS]
    results = [
        folder / f"{'reader' if loader is None else 'loader'}-{n}.json" for n, loader in enumerate(loaders)
    ]
    processes = [
        context.Process(target=take_turns, args=(path, result, seconds, loader))
        for result, loader in zip(results, loaders, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
    return {result.stem: json.loads(result.read_text()) for result in results}


def check_nothing_is_lost(path: Path, done: dict[str, dict[str, Any]]) -> None:
    """Every load of every process is there, once."""
    turns = [done[f"loader-{loader}"]["turns"] for loader in range(LOADERS)]
    of_lines, of_orders = (1 + sum(turns[first::2]) for first in (0, 1))
    with Warehouse(path).read("check") as connection:
        assert select(connection, WHOLE) == [(of_lines * ROWS, of_orders * ROWS) * 2]
        assert select(connection, NOT_CONSERVED) == []
        assert select(connection, MISSING_NUMBERS) == [(0, 0)]
        held = "SELECT count(*), min(n), max(n) FROM (SELECT count(*) AS n FROM shop.{} GROUP BY _partition)"
        for table, days in (("order_lines", of_lines), ("orders", of_orders)):
            assert select(connection, held.format(table)) == [(days, ROWS, ROWS)]


def test_a_few_seconds(tmp_path: Path) -> None:
    done = run_together(tmp_path, seconds=5)
    assert all(one["turns"] for one in done.values()), "every process got in"
    check_nothing_is_lost(tmp_path / "w.duckdb", done)


@pytest.mark.slow
def test_two_minutes(tmp_path: Path) -> None:
    done = run_together(tmp_path, seconds=120)
    print(json.dumps(done, indent=2))
    check_nothing_is_lost(tmp_path / "w.duckdb", done)
    for kind in ("loader", "reader"):
        turns = [one["turns"] for name, one in done.items() if name.startswith(kind)]
        assert min(turns) * 3 > max(turns), "no process gets a much smaller share than others of its kind"
