"""Memory of several processes together, while they run.

What belongs here: finding processes and adding up what they hold, out of Linux's `/proc`. What does not: the greatest
memory of a single process, which the system itself accounts for (`measure`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
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


def held_mib(numbers: Iterable[int]) -> float:
    """Give the memory of processes together in MiB; those that have ended count nothing.

    What each has for itself is added up. Files that they map, libraries above all, are mostly the same in all of them,
    and count once, as those of the process with most. So it does not matter what others on the machine share.
    """
    own, files = 0, 0
    for number in numbers:
        with suppress(OSError, ValueError, KeyError):
            held = _account_of(number)
            own += held["Pss_Anon"] + held["Pss_Shmem"]
            files = max(files, held["Rss"] - held["Anonymous"])
    return (own + files) / 1024


def _account_of(number: int) -> dict[str, int]:
    """Read Linux's account of a process, in KiB."""
    lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


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
            self.greatest_mib = max(self.greatest_mib, held_mib(seen))
