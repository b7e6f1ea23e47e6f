"""Measuring processes: wall time, CPU time and the most memory that they held.

What belongs here: starting processes and reading the operating system's account of them. What does not: what is run,
and memory while it runs (`memory`).
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile

from benchmarks.memory import Sampler, children_of

MAXRSS_PER_MIB = 1024 * 1024 if sys.platform == "darwin" else 1024
"""Units of `ru_maxrss` in a MiB: kilobytes on Linux, bytes on macOS."""

_ROOT = Path(__file__).resolve().parents[1]
TAIL_CHARACTERS = 2_000

_PR_SET_CHILD_SUBREAPER = 36
"""Of Linux, as its header <linux/prctl.h> has it."""


class BenchmarkError(Exception):
    """A measured process did not do its work, so that its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one process took, or several at once.

    Attributes:
        wall: Seconds from start to end; of several, to the end of the last.
        cpu: Seconds of CPU, in user and system mode, over all threads and all processes that it started.
        peak_mib: Greatest resident memory of one process, its own or one that it started, in MiB.
        output: What it printed; of several, one after the other.
        all_mib: Greatest memory of all of them together at one time, in MiB, as far as it was seen by looking twice a
            second; what they share is counted once.
    """

    wall: float
    cpu: float
    peak_mib: float
    output: str
    all_mib: float = 0.0


def measure(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> Measurement:
    """Run a process to its end.

    Args:
        command: Program and arguments.
        environment: All of its environment variables.
        folder: Where it runs; here if not given.

    Raises:
        BenchmarkError: If its exit code is not 0; the message ends with what it said last.
    """
    return measure_together([command], environment, folder)


def measure_together(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str], folder: Path | None = None
) -> Measurement:
    """Run processes at once, to the end of the last.

    They are started by a small process of its own: Linux counts the greatest memory of the one that starts a process as
    the least of that process, and a benchmark that has run for a while holds more than some loads.

    Args:
        commands: Program and arguments of each.
        environment: All of their environment variables.
        folder: Where they run; here if not given.

    Raises:
        BenchmarkError: If an exit code is not 0; the message ends with what that process said last.
    """
    asked = {
        "commands": [list(command) for command in commands],
        "environment": dict(environment),
        "folder": str(folder) if folder else os.getcwd(),
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
    )
    if done.returncode:
        raise BenchmarkError(f"nothing was measured: {done.stderr[-TAIL_CHARACTERS:].strip()}")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise BenchmarkError(answer["error"])
    return Measurement(**answer)


def main() -> None:
    """Measure what the input asks for, and print the measurement or an error as JSON."""
    asked = json.load(sys.stdin)
    try:
        answer: dict[str, object] = asdict(_measure_here(**asked))
    except BenchmarkError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


def _measure_here(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str], folder: str
) -> Measurement:
    # What earlier runs left to be written must not be paid for by this one.
    os.sync()
    _adopt_orphans()
    known = children_of(os.getpid())
    with ExitStack() as files:
        said = [
            (files.enter_context(TemporaryFile()), files.enter_context(TemporaryFile())) for _ in commands
        ]
        sampler = files.enter_context(Sampler(known))
        started = time.perf_counter()
        processes = [
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=dict(environment),
                cwd=folder,
            )
            for command, (output, errors) in zip(commands, said, strict=True)
        ]
        usages = [_end_of(process) for process in processes]
        wall = time.perf_counter() - started
        usages += _ends_of_orphans(known)
        printed = []
        for process, texts in zip(processes, said, strict=True):
            for file in texts:
                file.seek(0)
            output, errors = (file.read().decode(errors="replace") for file in texts)
            if process.returncode != 0:
                tail = (output + errors)[-TAIL_CHARACTERS:].strip()
                what = " ".join(str(part) for part in list(process.args)[:4])  # type: ignore[arg-type]
                raise BenchmarkError(f"{what} ... ended with {process.returncode}: {tail}")
            printed.append(output)
    peak = max(memory for _, memory in usages)
    return Measurement(
        wall=wall,
        cpu=sum(seconds for seconds, _ in usages),
        peak_mib=peak,
        output="".join(printed),
        all_mib=max(peak, sampler.greatest_mib),
    )


def _adopt_orphans() -> None:
    """Have processes that outlive the one that started them become children of this one, which then learns their CPU.

    Raises:
        OSError: If the system refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "processes of a measured command cannot be waited for")


def _end_of(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Wait for a process; gives its seconds of CPU and its greatest resident memory in MiB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / MAXRSS_PER_MIB


def _ends_of_orphans(known: set[int]) -> list[tuple[float, float]]:
    """Wait for what ended processes leave behind; gives of each what `_end_of` does."""
    found = []
    while orphans := children_of(os.getpid()) - known:
        for number in orphans:
            _, _, usage = os.wait4(number, 0)
            found.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / MAXRSS_PER_MIB))
    return found


def medians(runs: Sequence[Measurement]) -> dict[str, float]:
    """Give the median of each figure over some runs."""
    return {
        "wall_seconds": median(run.wall for run in runs),
        "cpu_seconds": median(run.cpu for run in runs),
        "peak_mib": median(run.peak_mib for run in runs),
        "all_mib": median(run.all_mib for run in runs),
    }


if __name__ == "__main__":
    main()
