"""A generated shop with days larger than the demo's own, as a process: `python -m benchmarks.large_source LINES`.

What belongs here: lifting the demo's limit, which keeps invoice numbers apart from day to day; only one day of this is
loaded. What does not: what is served.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from benchmarks.workload import ROOT, clean_environment
from etl_assets.demo.clock import Clock, parse_time
from etl_assets.demo.control import SourceControl
from etl_assets.demo.generator import GeneratedShop
from etl_assets.demo.server import DEFAULT_TOKEN, SpawnedSource, running_source

NOW = "2024-02-01T00:00:00Z"


class LargeShop(GeneratedShop):
    """Serves days of any number of lines.

    Args:
        lines: Exact number of lines of every day.
    """

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines = lines

    def _size(self, day: int) -> int:
        return self._lines


@contextmanager
def spawn_large_source(lines: int) -> Iterator[SpawnedSource]:
    """Run the shop as a process of its own for a `with` block."""
    command = [sys.executable, "-m", "benchmarks.large_source", str(lines)]
    with subprocess.Popen(
        command, env=clean_environment(), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with closing(SourceControl(url)) as control:
            yield SpawnedSource(url, DEFAULT_TOKEN, process.pid, control)
        process.stdin.close()


def main(lines: str) -> None:
    """Serve until the input ends."""
    with running_source(LargeShop(int(lines)), clock=Clock(fixed=parse_time(NOW))) as source:
        print(source.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
