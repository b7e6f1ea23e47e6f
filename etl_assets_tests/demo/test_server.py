"""Starting and stopping: in a thread, as a process, and by the command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from etl_assets.cli.source import source as source_command
from etl_assets.demo.server import listen, running_source, spawn_source
from etl_assets.failures import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


def is_up(url: str) -> bool:
    """Whether a source answers."""
    try:
        return httpx.get(f"{url}/_control/stats", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_a_thread_ends_with_its_block() -> None:
    with running_source() as source:
        assert is_up(source.url)
        with running_source() as other:
            assert other.url != source.url
    assert not is_up(source.url)


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} on 127.0.0.1 is taken .*--port"):
            listen("127.0.0.1", port)
        with pytest.raises(ConfigurationError, match=f"port {port}"), spawn_source(port=port):
            pass


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on nowhere\.invalid"):
        listen("nowhere.invalid", 0)


def test_a_process_is_worked_by_its_control(small_days: Path) -> None:
    with spawn_source(data=small_days, token="s3cret", now="2010-12-02T00:00:00Z") as source:
        client = httpx.Client(base_url=source.url, headers={"Authorization": f"Bearer {source.token}"})
        window = {"from": "2010-12-01T00:00:00Z", "to": "2010-12-05T00:00:00Z"}
        assert len(client.get("/v1/order-lines", params=window).json()["data"]) == 5
        source.control.set_clock(fixed="2010-12-05T00:00:00Z")
        assert len(client.get("/v1/order-lines", params=window).json()["data"]) == 7
        source.control.set_faults(down=True)
        with pytest.raises(httpx.TransportError):
            client.get("/v1/health")
        assert source.control.stats()["requests"]["/v1/health"] == {"closed": 1}
    assert not is_up(source.url)


def test_a_process_ends_when_its_parent_is_killed() -> None:
    script = textwrap.dedent(
        """
        import time
        from etl_assets.demo.server import spawn_source
        with spawn_source() as source:
            print(source.url, flush=True)
            time.sleep(60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    assert is_up(url)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    give_up = time.monotonic() + 20
    while is_up(url):
        assert time.monotonic() < give_up, "the source outlived its parent"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "absent"], "no such folder"),
        (["--data", "."], "no day files in"),
        (["--errors", "1.5"], "errors must be a number from 0 to 1"),
        (["--errors", "0.6", "--html", "0.6"], "must not add up to more than 1"),
        (["--now", "soon"], "--now is not an RFC 3339 time"),
        (["--lines-per-day", "0"], "--lines-per-day"),
        (["--fail-day", "2025-13-01"], "fail_days must be a list of days"),
        (["--rename-field", "country"], "--rename-field needs an old and a new name"),
        (["--port", "70000"], "--port"),
    ],
)
def test_bad_options_end_with_2(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(source_command)
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output
