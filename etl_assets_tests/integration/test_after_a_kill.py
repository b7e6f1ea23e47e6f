"""After `kill -9`: the doctor explains what was left, mends it, and the next backfill needs none of that."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etl_assets.cli.main import run
from etl_assets.demo.server import RunningSource, running_source
from etl_assets_tests.integration.commands import clean_environment, command_line

DAY = "2025-03-10"
LOAD = ("backfill", "shop/orders", "--from", DAY, "--to", DAY)


@pytest.fixture
def source() -> Iterator[RunningSource]:
    """A small shop."""
    with running_source(lines_per_day=20) as running:
        yield running


@pytest.fixture
def killed(source: RunningSource, environment_of: Callable[..., dict[str, str]]) -> dict[str, str]:
    """Settings of a backfill that was killed while it waited for the source."""
    variables = environment_of(source)
    source.faults.latency = 30.0
    process = subprocess.Popen(
        command_line(*LOAD),
        env=clean_environment(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    landing = Path(variables["ETL_DATA_DIR"]) / "landing"
    while not any(landing.glob("*/*/*/.tmp-*")) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    source.faults.latency = 0.0
    return variables


def doctor(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Ask the doctor; gives exit code and output."""
    capsys.readouterr()
    exit_code = run(["doctor", *options])
    return exit_code, capsys.readouterr().out


def test_the_doctor_explains_and_mends(
    killed: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in killed.items():
        monkeypatch.setenv(name, value)
    exit_code, said = doctor(capsys)
    assert exit_code == 1
    assert "half-written files of a process that was killed" in said
    assert "Dagster shows it as under way, but its process is gone" in said
    assert "2 found, 0 mended; 2 can be mended with --mend" in said
    exit_code, said = doctor(capsys, "--mend", "--json")
    assert exit_code == 0
    told = json.loads(said)
    assert told["found"] == []
    assert [entry["weight"] for entry in told["mended"]] == ["leftover", "leftover"]
    assert doctor(capsys) == (0, "nothing unusual\n")


def test_the_next_backfill_cleans_up_by_itself(
    killed: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in killed.items():
        monkeypatch.setenv(name, value)
    assert run([*LOAD]) == 0
    assert doctor(capsys) == (0, "nothing unusual\n")
