"""Kill a replay of the quarantine at random instants: each day is as before or as after it; a plain rerun ends it."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import time
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from etl_assets.observability.logging import configure_logging
from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import PartitionOutcome
from etl_assets.pipeline.run import run_partitions
from etl_assets_tests.pipeline.meters import DAY, NOT_CONSERVED, WiderReadings, Yard, reading

pytestmark = pytest.mark.crash

DAYS = [DAY + timedelta(days=number) for number in range(5)]
KILLS = 5
PAUSE = 0.1
"""Seconds at most from a day that is done to the kill: about as long as a day takes, so that any instant is struck."""

TABLE = "SELECT _partition, reading_id, value, _waived FROM meter.readings ORDER BY ALL"
STATES = "SELECT partition, raw_payload->>'reading_id', state FROM etl.quarantine ORDER BY ALL"
UNTRACED = (
    "SELECT partition, payload_hash FROM etl.quarantine AS q WHERE state <> 'pending' AND NOT EXISTS "
    "(SELECT 1 FROM etl.quarantine_moves AS m WHERE m.partition = q.partition AND m.payload_hash = q.payload_hash "
    "AND m.to_state = q.state)"
)
DOUBLED = "SELECT reading_id FROM meter.readings GROUP BY _partition, reading_id HAVING count(*) > 1"


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    """Days with good, waived, mended and hopeless rows, decided on and not yet loaded again; one has a waived row."""
    yard = Yard(tmp_path_factory.mktemp("decided") / "yard")
    for day in DAYS:
        rows = [reading(f"{name}{day.day}", value, day) for name, value in (("a", 1), ("w", 101), ("n", -1))]
        yard.land(*rows, reading(f"m{day.day}", "x", day), reading(f"h{day.day}", "y", day), day=day)
    yard.load(*DAYS)
    yard.waive(f"w{DAY.day}")
    yard.load(DAY)
    for day in DAYS:
        yard.mend_rows({f"m{day.day}": {"value": 7}})
    yard.waive(*(f"w{day.day}" for day in DAYS[1:]))
    return yard


class _Announcer(SilentReporter):
    """Sends a word for every day that is done."""

    def __init__(self, listener: Connection) -> None:
        self._listener = listener

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        assert outcome is not None
        self._listener.send(outcome.status.value)


def _replay(folder: Path, listener: Connection) -> None:
    """Replay the quarantine by a mended contract, each day in a commit of its own."""
    configure_logging("console", "CRITICAL")
    yard = Yard(folder)
    yard.mend(contract=WiderReadings)
    listener.send("begun")
    for day in DAYS:
        list(run_partitions(yard.pipeline("killed"), [day], reporter=_Announcer(listener), threads=1))


def by_day(yard: Yard, query: str) -> dict[Any, list[Any]]:
    """Give the rows of a query by their first column."""
    found: dict[Any, list[Any]] = {day: [] for day in DAYS}
    for day, *row in yard.ask(query):
        found[day].append(row)
    return found


@pytest.fixture
def processes() -> ForkServerContext:
    """Makes processes that have imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def test_a_killed_replay_loses_and_doubles_nothing(decided: Yard, tmp_path: Path, processes: Any) -> None:
    chance = random.Random(20250310)
    before = by_day(decided, TABLE), by_day(decided, STATES)
    undisturbed = copy_of(decided, tmp_path / "undisturbed")
    undisturbed.load(*DAYS)
    after = by_day(undisturbed, TABLE), by_day(undisturbed, STATES)
    assert all(len(rows) == 4 for rows in after[0].values())
    struck = 0
    for number in range(KILLS):
        yard = copy_of(decided, tmp_path / f"killed{number}")
        struck += kill(processes, yard.folder, number % len(DAYS), chance.uniform(0, PAUSE))
        check(yard, before, after)
        yard.load(*DAYS)
        assert (by_day(yard, TABLE), by_day(yard, STATES)) == after
        assert yard.ask(DOUBLED) == yard.ask(UNTRACED) == yard.ask(NOT_CONSERVED) == []
    assert struck >= KILLS - 1


def check(yard: Yard, before: tuple[Any, Any], after: tuple[Any, Any]) -> None:
    """Each day's rows and states are those of before or those of after, together."""
    assert yard.ask(NOT_CONSERVED) == yard.ask(UNTRACED) == []
    found = by_day(yard, TABLE), by_day(yard, STATES)
    for day in DAYS:
        whole = (found[0][day], found[1][day])
        assert whole in ((before[0][day], before[1][day]), (after[0][day], after[1][day]))


def copy_of(yard: Yard, folder: Path) -> Yard:
    """Copy a place, to go on there by a mended contract."""
    shutil.copytree(yard.folder, folder)
    copied = Yard(folder)
    copied.mend(contract=WiderReadings)
    return copied


def kill(processes: Any, folder: Path, after_days: int, pause: float) -> bool:
    """Kill a replaying process after some days and a moment; tells whether it was still at work."""
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=_replay, args=(folder, sender))
    process.start()
    sender.close()
    for _ in range(after_days + 1):
        receiver.recv()
    time.sleep(pause)
    process.kill()
    process.join()
    receiver.close()
    return bool(process.exitcode == -signal.SIGKILL)
