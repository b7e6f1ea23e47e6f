"""Dagster's daemon over the project, in processes of its own.

What belongs here: starting, waiting and ending. What does not: what it is expected to do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from etl_assets.settings import Settings
from etl_assets_tests.integration.commands import PROJECT, clean_environment

DAEMON_SECONDS = 180
PROJECT_DEFINITIONS = ("-m", "etl_assets.definitions")


@contextmanager
def running_daemon(
    settings: Settings, log: Path, definitions: Sequence[str] = PROJECT_DEFINITIONS
) -> Iterator[Callable[[], str]]:
    """Run Dagster's daemon over the project; gives a function that tells why it ended, if it has."""
    with killable_daemon(settings, log, definitions) as process:
        yield lambda: "" if process.poll() is None else log.read_text(errors="replace")[-2_000:]


@contextmanager
def killable_daemon(
    settings: Settings, log: Path, definitions: Sequence[str] = PROJECT_DEFINITIONS
) -> Iterator[subprocess.Popen[bytes]]:
    """Run Dagster's daemon over the project, or over other definitions, as the leader of a group of its own."""
    variables = clean_environment({"DAGSTER_HOME": str(settings.dagster_home)}) | {
        name: value for name, value in settings.environment.items() if name.startswith("ETL_")
    }
    command = [sys.executable, "-m", "dagster._daemon", "run", *definitions]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=variables, cwd=PROJECT, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


def wait_until(done: Callable[[], bool], problem: Callable[[], str] = lambda: "") -> None:
    """Wait until something is so; fails at once when there is a problem."""
    wait_for_none(lambda: [] if done() else ["it is not so yet"], problem)


def wait_for_none(
    lacking: Callable[[], Collection[str]],
    problem: Callable[[], str] = lambda: "",
    *,
    seconds: float = DAEMON_SECONDS,
) -> None:
    """Wait until nothing is lacking any more; fails at once when there is a problem."""
    give_up = monotonic() + seconds
    while found := lacking():
        assert problem() == ""
        assert monotonic() < give_up, found
        sleep(0.2)
