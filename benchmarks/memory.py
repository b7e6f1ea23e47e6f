"""Memory of several processes together, while they run.

What belongs here: finding processes and adding up what they hold, out of Linux's `/proc`. What does not: the greatest
memory of a single process, which the system itself accounts for (`measure`).
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

SECONDS_BETWEEN_LOOKS = 0.5
"""Often enough for loads of many seconds; each look holds up what it looks at for some milliseconds."""


def children_of(number: int) -> set[int]:
    """Give the processes that a process has started, and those it has adopted."""
    found: set[int] = set()
    with suppress(OSError):
        for listed in Path(f"/proc/{number}/task").glob("*/children"):
            with suppress(OSError):
                found.update(int(child) for child in listed.read_text().split())
    return found


def proportional_mib(number: int) -> float:
    """Give the memory of a process in MiB, of what it shares its share; 0 when it has ended."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Sampler:
    """Looks, for the time of a `with` block, at all that this process starts.

    Args:
        known: Children of this process that are not looked at.

    Attributes:
        greatest_mib: Greatest sum seen so far, in MiB.
    """

    def __init__(self, known: set[int]) -> None:
        self.greatest_mib = 0.0
        self._known = known
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            waiting, seen = list(children_of(os.getpid()) - self._known), set[int]()
            while waiting:
                number = waiting.pop()
                if number not in seen:
                    seen.add(number)
                    waiting += children_of(number)
            self.greatest_mib = max(self.greatest_mib, sum(proportional_mib(number) for number in seen))
