"""Measuring one process: wall time, CPU time and the most memory that it held.

What belongs here: starting a process and reading the operating system's account of it. What does not: what is run.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile

MAXRSS_PER_MIB = 1024 * 1024 if sys.platform == "darwin" else 1024
"""Units of `ru_maxrss` in a MiB: kilobytes on Linux, bytes on macOS."""

TAIL_CHARACTERS = 2_000

_PR_SET_CHILD_SUBREAPER = 36
"""Of Linux, as its header <linux/prctl.h> has it."""


class BenchmarkError(Exception):
    """A measured process did not do its work, so that its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one process took.

    Attributes:
        wall: Seconds from start to end.
        cpu: Seconds of CPU, in user and system mode, over all threads and all processes that it started.
        peak_mib: Greatest resident memory, in MiB; Linux counts that of the measuring process, which is much less than
            that of any load, as the least.
        output: What it printed.
    """

    wall: float
    cpu: float
    peak_mib: float
    output: str


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Measurement:
    """Run a process to its end.

    Args:
        command: Program and arguments.
        environment: All of its environment variables.

    Raises:
        BenchmarkError: If its exit code is not 0; the message ends with what it said last.
    """
    # What earlier runs left to be written must not be paid for by this one.
    os.sync()
    _adopt_orphans()
    known = _children()
    with TemporaryFile() as output, TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=dict(environment)
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        cpu_of_orphans = _cpu_of_orphans(known)
        process.returncode = os.waitstatus_to_exitcode(status)
        said = []
        for file in (output, errors):
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
    if process.returncode != 0:
        tail = "".join(said)[-TAIL_CHARACTERS:].strip()
        raise BenchmarkError(f"{' '.join(command[:4])} ... ended with {process.returncode}: {tail}")
    return Measurement(
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime + cpu_of_orphans,
        peak_mib=usage.ru_maxrss / MAXRSS_PER_MIB,
        output=said[0],
    )


def _adopt_orphans() -> None:
    """Have processes that outlive the one that started them become children of this one, which then learns their CPU.

    Raises:
        OSError: If the system refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "processes of a measured command cannot be waited for")


def _children() -> set[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(number) for number in listed.split()}


def _cpu_of_orphans(known: set[int]) -> float:
    """Wait for what an ended process leaves behind, and give its seconds of CPU."""
    seconds = 0.0
    while orphans := _children() - known:
        for number in orphans:
            _, _, usage = os.wait4(number, 0)
            seconds += usage.ru_utime + usage.ru_stime
    return seconds


def medians(runs: Sequence[Measurement]) -> dict[str, float]:
    """Give the median of each figure over some runs."""
    return {
        "wall_seconds": median(run.wall for run in runs),
        "cpu_seconds": median(run.cpu for run in runs),
        "peak_mib": median(run.peak_mib for run in runs),
    }
