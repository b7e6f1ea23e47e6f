"""Where processes are raised to be killed: a process that has all imported, and forks one child for each case.

A case costs what its load costs, not what importing does. The nursery itself opens no database and starts no thread, so
that forking it is safe. What belongs here: recording the steps of a load, striking at one, running again, judging. What
does not: seeing steps (`etl_assets_tests.crash.tracing`), and choosing which to strike (the tests).
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from etl_assets.observability.logging import configure_logging
from etl_assets_tests.crash.aftermath import Aftermath, same_in_every_run
from etl_assets_tests.crash.cases import Case, Judged, Point
from etl_assets_tests.crash.children import fork, load_days, load_one_by_one, look, run_again
from etl_assets_tests.crash.tracing import (
    NOTES,
    TAKING_ROOM,
    Blow,
    Ended,
    Step,
    follow,
    reason_not_to_trace,
    traced_from_here,
)
from etl_assets_tests.crash.workloads import CARELESS, WORKLOADS, Workload

_WORKLOADS = WORKLOADS | CARELESS

PACKAGES = ("/etl_assets/", "/etl_assets_tests/")
NOBODY = 65534
PATIENCE = 120
"""Seconds after which a child that hangs is given up."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a workload that nobody disturbs."""

    variables: dict[str, str]
    states: frozenset[str]
    expected: Aftermath
    points: tuple[Point, ...]


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
        """Measure how long an undisturbed load takes."""
        known, folder = self._know(name), self._root / f"{name}-timed"
        self._copy(name, folder)
        started = time.monotonic()
        self._ask(lambda: load_days(_WORKLOADS[name], {**known.variables, "ETL_DATA_DIR": str(folder)}))
        shutil.rmtree(folder)
        return time.monotonic() - started

    def reason_not_to_trace(self) -> str | None:
        """Say why nothing can be struck at here; None where it can."""
        return reason_not_to_trace()

    def judge(self, case: Case) -> Judged:
        """Strike, look, run again, look again."""
        workload, known = _WORKLOADS[case.workload], self._know(case.workload)
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
        problems += self._run_again(workload, variables, known)
        shutil.rmtree(folder)
        return Judged(case, struck, tuple(problems))

    def _know(self, name: str) -> Known:
        if name not in self._known:
            self._known[name] = self._record(name, _WORKLOADS[name])
        return self._known[name]

    def _record(self, name: str, workload: Workload) -> Known:
        home = self._root / name
        variables = [workload.make_source(home, state, self._library) for state in (0, 1)]
        first, then = (
            {**one, "ETL_DATA_DIR": str(home / "before"), "ETL_LOCK_TIMEOUT": "30"} for one in variables
        )
        workload.warm_up(first)
        gc.freeze()  # so that the children's collections do not copy all that they share with their parent
        (home / "before").mkdir(parents=True)
        if workload.loaded:
            self._ask(lambda: load_days(workload, first, workload.loaded))
        undisturbed, watched = home / "undisturbed", home / "watched"
        self._copy(name, undisturbed)
        told = self._ask(lambda: load_one_by_one(workload, {**then, "ETL_DATA_DIR": str(undisturbed)}))
        self._copy(name, watched)
        points = self._watch(workload, {**then, "ETL_DATA_DIR": str(watched)})
        seen = self._ask(lambda: look(workload, {**then, "ETL_DATA_DIR": str(watched)}))
        expected = _from_json(seen["aftermath"])
        assert (expected.content, expected.unconserved, expected.unusual) == (told["states"][-1], (), ())
        return Known(then, frozenset(told["states"]), expected, points)

    def _watch(self, workload: Workload, variables: dict[str, str]) -> tuple[Point, ...]:
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
        return tuple(
            replace(point, place=_place(stack)) for point, stack in zip(seen, ended.stacks, strict=True)
        )

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
            if is_it or (struck and case.blow is Blow.FAIL and _takes_room(step)):
                struck = True
                return case.blow, case.error
            return Blow.NONE, 0

        ended = self._traced(workload, variables, watch)
        kills = case.blow is not Blow.FAIL
        if ended.killed != (kills and struck) or (not ended.killed and ended.status):
            return int(struck), [f"it ended with status {ended.status}"]
        answer = {"problems": []} if ended.killed else self._answer()
        return int(struck), [problem for problem in answer["problems"] if not _is_told(problem)]

    def without_rights(self, name: str, below: str) -> list[str]:
        """Load while a folder cannot be written, and again when it can; gives what was told, then what is wrong.

        Args:
            name: The workload.
            below: The folder, below the data folder.
        """
        workload, known, folder = _WORKLOADS[name], self._know(name), self._root / "without-rights"
        self._copy(name, folder)
        variables = {**known.variables, "ETL_DATA_DIR": str(folder)}
        everything = [folder, *folder.rglob("*")]
        if os.geteuid() == 0:  # who may write anywhere, and so becomes nobody
            self._root.chmod(0o711)
            for path in everything:
                os.chown(path, NOBODY, NOBODY)
        closed = [path for path in (folder / below, *(folder / below).rglob("*")) if path.is_dir()]
        for path in closed:
            path.chmod(0o500)

        def work() -> dict[str, Any]:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            return load_days(workload, variables)

        told = self._ask(work)["problems"]
        for path in closed:
            path.chmod(0o700)
        problems = self._run_again(workload, variables, known)
        shutil.rmtree(folder)
        return [*told, "", *problems]

    def _run_again(self, workload: Workload, variables: dict[str, str], known: Known) -> list[str]:
        answer = self._ask(lambda: run_again(workload, variables, known.states))
        differences = (
            _from_json(answer["aftermath"]).differences(known.expected) if "aftermath" in answer else ()
        )
        return [*answer["problems"], *differences]

    def _kill_after(
        self, workload: Workload, variables: dict[str, str], seconds: float
    ) -> tuple[int, list[str]]:
        """Load in two threads, and kill at an instant."""
        child = fork(lambda: load_days(workload, variables, threads=2), self._answer_path)
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
            return load_days(workload, variables)

        child = fork(work, self._answer_path)
        os.close(writing)
        signal.signal(signal.SIGALRM, lambda number, frame: os.kill(child, signal.SIGKILL))
        signal.alarm(PATIENCE)
        try:
            return follow(child, Path(variables["ETL_DATA_DIR"]), watch, reading)
        finally:
            signal.alarm(0)
            os.close(reading)

    def _ask(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Have a child do something, and give its answer."""
        child = fork(work, self._answer_path)
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


def _from_json(found: dict[str, Any]) -> Aftermath:
    return Aftermath(found["content"], *(tuple(found[name]) for name in ("files", "unconserved", "unusual")))


def _numbered(step: Step, folder: str, counted: Counter[tuple[str, str]]) -> Point:
    path = same_in_every_run(step.path.removeprefix(folder).lstrip("/"))
    counted[step.call, path] += 1
    return Point(step.call, path, counted[step.call, path] - 1)


def _place(stack: list[str]) -> str:
    for package in PACKAGES:
        for line in stack:
            file, _, rest = line.partition('", line ')
            if package in file:
                return f"{file.rpartition(package)[2]}:{rest.partition(' in ')[0]}"
    return ""


def _takes_room(step: Step) -> bool:
    """Whether a full disk refuses a call; opening a file that is there takes none."""
    return step.call in TAKING_ROOM and not (step.call.startswith("open") and os.path.exists(step.path))


def _is_told(problem: str) -> bool:
    return "no room left" in problem or "no space left" in problem


def _serve(root: Path, library: str, listener: Connection) -> None:
    nursery = Nursery(root, library)
    while True:
        try:
            method, arguments = listener.recv()
        except EOFError:
            return
        listener.send(getattr(nursery, method)(*arguments))


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

    def reason_not_to_trace(self) -> str | None:
        """See `Nursery`."""
        reason = self._call("reason_not_to_trace")
        return None if reason is None else str(reason)

    def judge(self, case: Case) -> Judged:
        """See `Nursery`."""
        judged = self._call("judge", case)
        assert isinstance(judged, Judged)
        return judged

    def without_rights(self, workload: str, below: str) -> list[str]:
        """See `Nursery`."""
        return list(self._call("without_rights", workload, below))

    def _call(self, method: str, *arguments: Any) -> Any:
        self.connection.send((method, arguments))
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
