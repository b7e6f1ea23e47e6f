"""The command `etl-assets ui`: Dagster's UI and daemon over the project's data, with the demo source behind it.

What belongs here: starting the processes together and ending them together. What does not: configuring Dagster.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from types import FrameType

    from etl_assets.settings import Settings

STOP_SECONDS = 40.0
"""Dagster gives its own processes up to 30 seconds."""
LEFTOVER_SECONDS = 10.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI.")] = 3000,
    host: Annotated[
        str, typer.Option(help="Address of the UI; loopback unless you know why not.")
    ] = "127.0.0.1",
    with_source: Annotated[
        bool,
        typer.Option("--source/--no-source", help="Run the demo source as well, unless ETL_SHOP_URL is set."),
    ] = True,
) -> int:
    """Open the Dagster UI, with the daemon for schedules and backfills, over the same data."""
    from etl_assets.cli.ports import ensure_free
    from etl_assets.orchestration.instance import prepare_dagster_home
    from etl_assets.settings import load_settings

    ensure_free(host, port)
    settings = load_settings()
    prepare_dagster_home(settings)
    os.environ["ETL_DATA_DIR"] = str(settings.data_dir)
    os.environ.setdefault("ETL_UI_URL", f"http://{host}:{port}")
    _warn_of_channels(settings)
    with _interrupted_by_signals(), ExitStack() as stack:
        if with_source and not os.environ.get("ETL_SHOP_URL"):
            from etl_assets.cli.demo_source import point_at_datasets, point_at_shop
            from etl_assets.demo.server import spawn_source
            from etl_assets.settings import DEMO_TOKEN

            source = stack.enter_context(spawn_source(token=DEMO_TOKEN, deliver=True))
            point_at_shop(source)
            if not os.environ.get("ETL_EIDC_URL"):
                point_at_datasets(source)
            typer.echo(f"demo shop on {source.url}")
        return _run_dagster(host, port)


def _warn_of_channels(settings: Settings) -> None:
    """Say at start which alerts would not arrive."""
    from etl_assets.alerts.channels.examine import channel_problems
    from etl_assets.alerts.rules import load_rules

    for problem in channel_problems(settings, load_rules(settings)):
        typer.echo(f"warning: alerts: {problem}", err=True)


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Make every usual way of ending a program an interrupt, so that no process stays behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Once is enough: a second one would break off the orderly end.
        for other in STOP_SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_dagster(host: str, port: int) -> int:
    command = [sys.executable, "-m", "dagster", "dev", "-m", "etl_assets.definitions"]
    command += ["--host", host, "--port", str(port), "--log-level", "warning"]
    environment = {**os.environ, "PYTHONWARNINGS": _warnings_to_leave_out()}
    typer.echo("starting Dagster ...")
    # A session of its own: a terminal's Ctrl-C reaches only this process, which passes it on exactly once.
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        if _answers(process, host, port):
            typer.echo(f"Dagster UI on http://{host}:{port}  (stop with Ctrl+C)")
        return process.wait()
    except KeyboardInterrupt:
        typer.echo("stopping ...")
        return 0
    finally:
        _end(process)


def _warnings_to_leave_out() -> str:
    """Keep Dagster from advising, at every start, a command that this project has no use for."""
    ours = "ignore:Function `dev_command` is superseded"
    return ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), ours]))


def _answers(process: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """Wait until the UI can be opened; false when Dagster ended instead."""
    while process.poll() is None:
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End Dagster in its own order, and then whatever is left of its session, such as runs under way."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_session(process.pid, number):
            return
        give_up = time.monotonic() + LEFTOVER_SECONDS
        while time.monotonic() < give_up and _signal_session(process.pid, 0):
            process.poll()
            time.sleep(0.1)


def _signal_session(leader: int, number: int) -> bool:
    """Send a signal to all processes of a session; false when there are none."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Where a group holds only ended processes, some systems answer so.
        return False
    return True
