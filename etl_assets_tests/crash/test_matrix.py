"""The crash matrix: a load is killed before or after each step that changes files, then plainly run again.

Nobody lists the steps: they are what the kernel sees of a load that is not disturbed. Killed after a step is killed
before the next one, as far as files go, so that the suite strikes on one side of each line of code that leads to a
step. What `-m slow` adds strikes on both sides of every step, at 200 instants, and has the disk run full at every
write.
"""

from __future__ import annotations

import inspect
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from etl_assets.warehouse.lock import WarehouseLock
from etl_assets_tests.crash.cases import Case, Judged, Point
from etl_assets_tests.crash.nursery import RunningNursery, running_nursery
from etl_assets_tests.crash.tracing import TAKING_ROOM, Blow
from etl_assets_tests.crash.workloads import CARELESS, WORKLOADS, answer
from etl_assets_tests.sources.scripted import scripted_server

pytestmark = pytest.mark.crash

EVERY_DISPOSITION = ("append", "replace_nothing", "merge", "hard_changes", "history")
SIDES = (Blow.KILL_BEFORE, Blow.KILL_AFTER)
MEMORY, ENOUGH_MEMORY = Path("/dev/shm"), 1024**3
FULL_DISKS = 4
KILLS, KILLS_IN_A_FOLDER = 200, 4


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNursery]:
    """The nursery, in memory where there is enough: what a killed process has written stays without a flush."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY
    root = Path(tempfile.mkdtemp(dir=MEMORY)) if in_memory else tmp_path_factory.mktemp("nursery")
    try:
        with scripted_server(answer) as library, running_nursery(root, library.url) as running:
            yield running
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def traced(nursery: RunningNursery) -> RunningNursery:
    """The nursery, where processes can be traced; skips where they cannot."""
    if (reason := nursery.reason_not_to_trace()) is not None:
        pytest.skip(reason)
    return nursery


def judge(nursery: RunningNursery, cases: Sequence[Case]) -> list[Judged]:
    """Judge some cases; most of them must have been struck, as few steps depend on how fast the machine is."""
    judged = [nursery.judge(case) for case in cases]
    assert sum(each.struck > 0 for each in judged) >= 0.9 * len(cases)
    return judged


def problems(judged: Sequence[Judged]) -> dict[str, tuple[str, ...]]:
    """Give what is wrong, by case."""
    return {str(each.case): each.problems for each in judged if each.problems}


def one_of_each_place(
    nursery: RunningNursery, workloads: Sequence[str], chance: random.Random
) -> list[tuple[str, Point]]:
    """Choose a step for each line of code that leads to one, from whichever workload."""
    by_place: dict[str, list[tuple[str, Point]]] = {}
    for name in workloads:
        for point in nursery.points(name):
            by_place.setdefault(point.place, []).append((name, point))
    return [chance.choice(found) for _, found in sorted(by_place.items())]


def places_of_looking() -> set[str]:
    """Give the lines that see whether others wait for the warehouse: loads that take longer come by, others do not."""
    lines, first = inspect.getsourcelines(WarehouseLock.is_wanted)
    return {f"warehouse/lock.py:{line}" for line in range(first, first + len(lines))}


def test_killed_at_each_line_that_changes_files(traced: RunningNursery) -> None:
    chance = random.Random(20250106)
    chosen = one_of_each_place(traced, EVERY_DISPOSITION, chance)
    assert {name for name, _ in chosen} == set(EVERY_DISPOSITION)
    assert len(chosen) > 30
    cases = [Case(name, point, chance.choice(SIDES)) for name, point in chosen]
    assert problems(judge(traced, cases)) == {}


def test_a_new_step_is_found_by_itself_and_what_it_leaves_is_noticed(traced: RunningNursery) -> None:
    """The step is nowhere but in the load itself, and clears nothing away when it is killed."""
    known = {point.place for point in traced.points("append")} | places_of_looking()
    new = [point for point in traced.points(next(iter(CARELESS))) if point.place not in known]
    assert [(point.call, point.path) for point in new] == [
        ("openat", "report.<pid>.tmp"),
        ("write", "report.<pid>.tmp"),
        ("rename", "report.<pid>.tmp"),
    ]
    assert traced.judge(Case("careless", new[2], Blow.KILL_AFTER)).problems == ()
    left = traced.judge(Case("careless", new[2], Blow.KILL_BEFORE))
    assert left.problems == ("left over: 1 of report.<pid>.tmp",)


def test_the_disk_is_full_from_some_write_on(traced: RunningNursery) -> None:
    chance = random.Random(20250107)
    chosen = [
        each for each in one_of_each_place(traced, EVERY_DISPOSITION, chance) if each[1].call in TAKING_ROOM
    ]
    cases = [Case(name, point, Blow.FAIL) for name, point in chance.sample(chosen, FULL_DISKS)]
    assert problems(judge(traced, cases)) == {}


@pytest.mark.parametrize("below", ["landing", "staged"])
def test_a_folder_that_cannot_be_written_costs_nothing_else(nursery: RunningNursery, below: str) -> None:
    said = nursery.without_rights("append", below)
    told, wrong = said[: said.index("")], said[said.index("") + 1 :]
    assert len(told) == 2
    for message in told:
        assert "cannot be written" in message
        assert "Permission denied" in message
        assert "ETL_DATA_DIR" in message
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_killed_before_and_after_every_step(traced: RunningNursery, name: str) -> None:
    cases = [Case(name, point, side) for point in traced.points(name) for side in SIDES]
    assert problems(judge(traced, cases)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_disk_is_full_from_every_write_on(traced: RunningNursery, name: str) -> None:
    cases = [Case(name, point, Blow.FAIL) for point in traced.points(name) if point.call in TAKING_ROOM]
    assert problems(judge(traced, cases)) == {}


@pytest.mark.slow
def test_killed_at_two_hundred_instants(nursery: RunningNursery) -> None:
    chance = random.Random(20250108)
    seconds = {name: nursery.seconds(name) for name in WORKLOADS}
    judged: list[Judged] = []
    # A load that goes on with what a killed one had done already may be through before it is killed.
    while sum(each.struck for each in judged) < KILLS:
        name = [*WORKLOADS][len(judged) % len(WORKLOADS)]
        instants = tuple(chance.uniform(0, seconds[name]) for _ in range(KILLS_IN_A_FOLDER))
        judged.append(nursery.judge(Case(name, instants=instants)))
        assert len(judged) < KILLS
    assert problems(judged) == {}
