"""Measuring one process: wall time, CPU time and the most memory that it held.

What belongs here: starting a process and reading the operating system's account of it. What does not: what is run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryFile

MAXRSS_PER_MIB = 1024 * 1024 if sys.platform == "darwin" else 1024
"""Units of `ru_maxrss` in a MiB: kilobytes on Linux, bytes on macOS."""

TAIL_CHARACTERS = 2_000


class BenchmarkError(Exception):
    """A measured process did not do its work, so that its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one process took.

    Attributes:
        wall: Seconds from start to end.
        cpu: Seconds of CPU, in user and system mode, over all threads.
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
    with TemporaryFile() as output, TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=dict(environment)
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
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
        cpu=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / MAXRSS_PER_MIB,
        output=said[0],
    )


def medians(runs: Sequence[Measurement]) -> dict[str, float]:
    """Give the median of each figure over some runs."""
    return {
        "wall_seconds": median(run.wall for run in runs),
        "cpu_seconds": median(run.cpu for run in runs),
        "peak_mib": median(run.peak_mib for run in runs),
    }
