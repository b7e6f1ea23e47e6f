"""What is struck, how, and what became of it.

What belongs here: plain values that travel between the tests and the nursery. What does not: striking
(`etl_assets_tests.crash.nursery`).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from etl_assets_tests.crash.tracing import Blow


@dataclass(frozen=True, slots=True)
class Point:
    """A step of a load, found again in another run by its name and number.

    Attributes:
        call: The system call.
        path: The file, below the data folder, without what differs from run to run.
        number: How many such calls on the file came before.
        place: The innermost line of this project that led there, as `<file>:<line>`; empty for a thread that is not
            Python's.
    """

    call: str
    path: str
    number: int
    place: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A load that is struck.

    Attributes:
        workload: Its name.
        point: Where; None to kill at an instant.
        blow: How.
        error: Number of the error that a failing call gives; every later call that takes room fails as well.
        instants: Seconds after which it is killed, time and again, for kills at an instant.
    """

    workload: str
    point: Point | None = None
    blow: Blow = Blow.KILL_BEFORE
    error: int = errno.ENOSPC
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
