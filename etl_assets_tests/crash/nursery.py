"""Where processes are raised to be killed: a process that has all imported, and forks one child for each case.

A case costs what its load costs, not what importing does. The nursery itself opens no database and starts no thread, so
that forking it is safe. What belongs here: recording the steps of a load, striking at one, running again, judging. What
does not: seeing steps (`etl_assets_tests.crash.tracing`), and choosing which to strike (the tests).
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from etl_assets.observability.logging import configure_logging
from etl_assets_tests.crash.aftermath import Aftermath, aftermath, content_of, same_in_every_run
from etl_assets_tests.crash.tracing import NOTES, TAKING_ROOM, Blow, Ended, Step, follow, traced_from_here
from etl_assets_tests.crash.workloads import WORKLOADS, Workload, day

PACKAGE = "/etl_assets/"
PATIENCE = 120
"""Seconds after which a child that hangs is given up."""


@dataclass(frozen=True, slots=True)
class Point:
    """A step of a load, found again in another run by its name and number.

    Attributes:
        call: The system call.
        path: The file, below the data folder, without what differs from run to run.
        number: How many such calls on the file came before.
        place: The innermost line of this project that led there, as `<file>:<line>`; empty for a thread of DuckDB's.
    """

    call: str
    path: str
    number: int
    place: str = ""

    @property
    def site(self) -> tuple[str, str]:
        """What tells kinds of steps apart: the call, and the line that led there."""
        return self.call, self.place


@dataclass(frozen=True, slots=True)
class Case:
    """A load that is struck.

    Attributes:
        workload: Its name.
        point: Where; None to kill at an instant.
        blow: How.
        fails: Error numbers of a call that fails: which one, and whether every later one that takes room does too.
        seconds: When, for a kill at an instant.
    """

    workload: str
    point: Point | None = None
    blow: Blow = Blow.KILL_BEFORE
    error: int = errno.ENOSPC
    lasting: bool = True
    instants: tuple[float, ...] = ()

    def __str__(self) -> str:
        at = (
            f"{self.point.call} {self.point.path} #{self.point.number} ({self.point.place})"
            if self.point
            else ""
        )
        return f"{self.workload}: {self.blow.value} {at or self.instants}"


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a case.

    Attributes:
        case: The case.
        struck: How often the process was really struck before it was through.
        problems: What is not as it must be; empty when all is well.
    """

    case: Case
    struck: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a workload that nobody disturbs."""

    before: dict[str, str]
    variables: dict[str, str]
    states: frozenset[str]
    expected: Aftermath
    points: tuple[Point, ...]
    seconds: float


class Nursery:
    """Strikes at loads; lives in a process of its own, see `running_nursery`.

    Args:
        root: An empty folder.
        library: Address of the documents.
    """

    def __init__(self, root: Path, library: str) -> None:
        self._root = root
        self._library = library
        self._known: dict[str, Known] = {}
        self._cases = 0
        configure_logging("console", "CRITICAL")

    def points(self, name: str) -> tuple[Point, ...]:
        """Record the steps of a workload."""
        return self._know(name).points

    def seconds(self, name: str) -> float:
        """Tell how long an undisturbed load takes."""
        return self._know(name).seconds

    def judge(self, case: Case) -> Judged:
        """Strike, look, run again, look again."""
        workload, known = WORKLOADS[case.workload], self._know(case.workload)
        folder = self._root / f"case-{self._cases}"
        self._cases += 1
        self._copy(case.workload, folder)
        variables = {**known.variables, "ETL_DATA_DIR": str(folder)}
        problems: list[str] = []
        struck = 0
        for blow in case.instants or (None,):
            if case.point is not None:
                hit, found = self._strike(workload, variables, case, case.point)
            else:
                hit, found = self._kill_after(workload, variables, blow or 0.0)
            struck += hit
            problems += found
        answer = self._ask(lambda: _run_again(workload, variables, known.states))
        problems += answer["problems"]
        if "aftermath" in answer:
            problems += _from_json(answer["aftermath"]).differences(known.expected)
        shutil.rmtree(folder)
        return Judged(case, struck, tuple(problems))

    def _know(self, name: str) -> Known:
        if name not in self._known:
            self._known[name] = self._record(name, WORKLOADS[name])
        return self._known[name]

    def _record(self, name: str, workload: Workload) -> Known:
        home = self._root / name
        variables = [workload.make_source(home, state, self._library) for state in (0, 1)]
        first, then = (
            {**one, "ETL_DATA_DIR": str(home / "before"), "ETL_LOCK_TIMEOUT": "30"} for one in variables
        )
        workload.warm_up(first)
        (home / "before").mkdir(parents=True)
        if workload.loaded:
            self._ask(lambda: _load(workload, first, workload.loaded))
        undisturbed, watched = home / "undisturbed", home / "watched"
        self._copy(name, undisturbed)
        states = self._ask(lambda: _load_one_by_one(workload, {**then, "ETL_DATA_DIR": str(undisturbed)}))[
            "states"
        ]
        self._copy(name, watched)
        points, seconds = self._watch(workload, {**then, "ETL_DATA_DIR": str(watched)})
        expected = self._ask(lambda: _look(workload, {**then, "ETL_DATA_DIR": str(watched)}))
        return Known(first, then, frozenset(states), _from_json(expected["aftermath"]), points, seconds)

    def _watch(self, workload: Workload, variables: dict[str, str]) -> tuple[tuple[Point, ...], float]:
        """Load while each step is told."""
        folder = variables["ETL_DATA_DIR"]
        seen: list[Point] = []
        counted = Counter[tuple[str, str]]()

        def watch(step: Step) -> tuple[Blow, int]:
            seen.append(_numbered(step, folder, counted))
            return Blow.TELL, 0

        ended = self._traced(workload, variables, watch, telling=True)
        assert os.waitstatus_to_exitcode(ended.status) == 0, "the undisturbed load failed"
        assert len(seen) == len(ended.stacks)
        points = tuple(
            replace(point, place=_place(stack)) for point, stack in zip(seen, ended.stacks, strict=True)
        )
        started = time.monotonic()
        again = Path(folder).with_name("timed")
        self._copy(Path(folder).parent.name, again)
        self._ask(lambda: _load(workload, {**variables, "ETL_DATA_DIR": str(again)}))
        return points, time.monotonic() - started

    def _strike(
        self, workload: Workload, variables: dict[str, str], case: Case, point: Point
    ) -> tuple[int, list[str]]:
        """Load, and strike at a step."""
        counted = Counter[tuple[str, str]]()
        struck = False
        wanted = replace(point, place="")

        def watch(step: Step) -> tuple[Blow, int]:
            nonlocal struck
            is_it = _numbered(step, variables["ETL_DATA_DIR"], counted) == wanted
            if is_it or (struck and case.blow is Blow.FAIL and case.lasting and _takes_room(step)):
                struck = True
                return case.blow, case.error
            return Blow.NONE, 0

        ended = self._traced(workload, variables, watch)
        if case.blow is not Blow.FAIL:
            problems = [] if ended.killed or not struck else [f"it ended with status {ended.status}"]
            return int(struck), problems
        answer = self._answer() if os.waitstatus_to_exitcode(ended.status) == 0 else None
        if answer is None:
            return int(struck), [f"it ended with status {ended.status}"]
        return int(struck), [problem for problem in answer["problems"] if not _is_told(problem, case.error)]

    def _kill_after(
        self, workload: Workload, variables: dict[str, str], seconds: float
    ) -> tuple[int, list[str]]:
        """Load in two threads, and kill at an instant."""
        child = _fork(lambda: _load(workload, variables, threads=2), self._answer_path)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        # A process that was through may have failed as well.
        problems = [] if killed else self._answer()["problems"]
        return int(killed), problems

    def _traced(
        self,
        workload: Workload,
        variables: dict[str, str],
        watch: Callable[[Step], tuple[Blow, int]],
        telling: bool = False,
    ) -> Ended:
        reading, writing = os.pipe()

        def work() -> dict[str, Any]:
            os.dup2(writing, NOTES)
            traced_from_here(telling)
            return _load(workload, variables)

        child = _fork(work, self._answer_path)
        os.close(writing)
        try:
            return follow(child, Path(variables["ETL_DATA_DIR"]), watch, reading)
        finally:
            os.close(reading)

    def _ask(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Have a child do something, and give its answer."""
        child = _fork(work, self._answer_path)
        deadline = time.monotonic() + PATIENCE
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        if ended[1]:
            return {"problems": [f"running again ended with status {ended[1]}"]}
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._answer_path.read_bytes())
        return answer

    @property
    def _answer_path(self) -> Path:
        return self._root / "answer.json"

    def _copy(self, name: str, folder: Path) -> None:
        shutil.copytree(self._root / name / "before", folder)


def _fork(work: Callable[[], dict[str, Any]], answer: Path) -> int:
    """Do something in a child, which leaves its answer in a file."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        answer.write_text(json.dumps(work()))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _load(
    workload: Workload,
    variables: dict[str, str],
    days: tuple[int, ...] | list[int] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    wanted = workload.days if days is None else [day(number) for number in days]
    try:
        outcomes = workload.load(variables, wanted, threads=threads)
    except Exception as error:
        return {"problems": [f"{type(error).__name__}: {error}"]}
    return {"problems": [each.message for each in outcomes if not each.status.is_published]}


def _load_one_by_one(workload: Workload, variables: dict[str, str]) -> dict[str, Any]:
    """Load one day after the other, and the mart; gives what the tables may hold in between."""
    folder = Path(variables["ETL_DATA_DIR"])
    states = [content_of(folder)]
    without_mart = replace(workload, mart=None)
    for number in range(len(workload.days)):
        without_mart.load(variables, [workload.days[number]])
        states.append(content_of(folder))
    workload.load(variables, [])
    return {"states": [*states, content_of(folder)]}


def _run_again(workload: Workload, variables: dict[str, str], states: frozenset[str]) -> dict[str, Any]:
    problems = []
    try:
        if content_of(Path(variables["ETL_DATA_DIR"])) not in states:
            problems.append("a part of a commit can be seen")
    except Exception as error:
        if "" not in states:
            problems.append(f"the warehouse cannot be read: {error}")
    problems += [f"running again: {problem}" for problem in _load(workload, variables)["problems"]]
    if problems:
        return {"problems": problems}
    return {"problems": problems, **_look(workload, variables)}


def _look(workload: Workload, variables: dict[str, str]) -> dict[str, Any]:
    return {"aftermath": asdict(aftermath(variables, workload.stream))}


def _from_json(found: dict[str, Any]) -> Aftermath:
    return Aftermath(found["content"], *(tuple(found[name]) for name in ("files", "unconserved", "unusual")))


def _numbered(step: Step, folder: str, counted: Counter[tuple[str, str]]) -> Point:
    path = same_in_every_run(step.path.removeprefix(folder).lstrip("/"))
    counted[step.call, path] += 1
    return Point(step.call, path, counted[step.call, path] - 1)


def _place(stack: list[str]) -> str:
    for line in stack:
        file, _, rest = line.partition('", line ')
        if PACKAGE in file:
            return f"{file.rpartition(PACKAGE)[2]}:{rest.partition(' in ')[0]}"
    return ""


def _takes_room(step: Step) -> bool:
    """Whether a full disk refuses a call; opening a file that is there takes none."""
    return step.call in TAKING_ROOM and not (step.call.startswith("open") and os.path.exists(step.path))


def _is_told(problem: str, error: int) -> bool:
    return error != errno.ENOSPC or "no room left" in problem or "no space left" in problem


def _serve(root: Path, library: str, listener: Connection) -> None:
    nursery = Nursery(root, library)
    while True:
        try:
            method, argument = listener.recv()
        except EOFError:
            return
        listener.send(getattr(nursery, method)(argument))


@dataclass(frozen=True)
class RunningNursery:
    """A nursery in another process."""

    connection: Connection

    def points(self, workload: str) -> tuple[Point, ...]:
        """See `Nursery`."""
        return tuple(self._call("points", workload))

    def seconds(self, workload: str) -> float:
        """See `Nursery`."""
        return float(self._call("seconds", workload))

    def judge(self, case: Case) -> Judged:
        """See `Nursery`."""
        judged = self._call("judge", case)
        assert isinstance(judged, Judged)
        return judged

    def _call(self, method: str, argument: Any) -> Any:
        self.connection.send((method, argument))
        return self.connection.recv()


@contextmanager
def running_nursery(root: Path, library: str) -> Iterator[RunningNursery]:
    """Run a nursery for the time of a ``with`` block; its children end with it.

    Args:
        root: An empty folder.
        library: Address of the documents.
    """
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_serve, args=(root, library, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield RunningNursery(ours)
    finally:
        ours.close()
        process.join(PATIENCE)
        process.kill()
