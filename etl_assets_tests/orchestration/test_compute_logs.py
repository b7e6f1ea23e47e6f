"""What steps write is kept for the UI in Dagster's own files, and shown all the same, without any process for it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from etl_assets.orchestration.compute_logs import ThreadedComputeLogManager, kept
from etl_assets.orchestration.instance import opened_instance
from etl_assets.settings import load_settings

KEY = ["run", "compute_logs", "step"]
WRITING = """
import os, subprocess, sys
from etl_assets.orchestration.compute_logs import ThreadedComputeLogManager
begin = subprocess.Popen.__init__
started = []
def counted(self, *arguments, **options):
    started.append(arguments)
    begin(self, *arguments, **options)
subprocess.Popen.__init__ = counted
print("before")
manager = ThreadedComputeLogManager(sys.argv[1])
with manager.capture_logs(["run", "compute_logs", "step"]):
    print("said by Python")
    os.write(1, b"said below Python\\n")
    print("an error", file=sys.stderr)
    assert not started
    subprocess.run(["sh", "-c", "echo said by another; echo its error >&2"], check=True)
    print("x" * 1_000_000)
print("after")
"""
SAID = ["said by Python", "said below Python", "said by another", "x" * 1_000_000]


def text_of(manager: LocalComputeLogManager, kind: ComputeIOType) -> list[str]:
    """Read what Dagster's own class finds to show in the UI."""
    data = manager.get_log_data(KEY)
    found = data.stdout if kind is ComputeIOType.STDOUT else data.stderr
    return (found or b"").decode().splitlines()


def test_what_is_written_is_kept_and_shown(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITING, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["before", *SAID, "after"]
    assert done.stderr.splitlines() == ["an error", "its error"]
    stock = LocalComputeLogManager(str(tmp_path))
    assert text_of(stock, ComputeIOType.STDOUT) == SAID
    assert text_of(stock, ComputeIOType.STDERR) == ["an error", "its error"]
    assert stock.is_capture_complete(KEY)


def test_what_was_written_before_an_error_is_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manager = ThreadedComputeLogManager(str(tmp_path))

    def step() -> None:
        with manager.capture_logs(KEY):
            print("so far")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        step()
    assert capfd.readouterr().out == "so far\n"
    assert text_of(manager, ComputeIOType.STDOUT) == ["so far"]
    assert not manager.is_capture_complete(KEY)


def test_a_reader_who_goes_away_costs_nothing(tmp_path: Path) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        os.close(read)
        with kept(stream, tmp_path / "out"):
            os.write(stream.fileno(), b"nobody reads this\n" * 10_000)
    assert (tmp_path / "out").read_bytes().count(b"\n") == 10_000


def test_a_stream_that_is_no_file_is_left_alone(tmp_path: Path) -> None:
    stream = io.StringIO()
    with kept(stream, tmp_path / "out"):
        stream.write("told")
    assert stream.getvalue() == "told"
    assert (tmp_path / "out").read_bytes() == b""


def test_an_instance_keeps_them_where_dagster_does(tmp_path: Path) -> None:
    settings = load_settings({"ETL_DATA_DIR": str(tmp_path)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")
        with opened_instance(settings) as instance:
            manager = instance.compute_log_manager
            assert isinstance(manager, ThreadedComputeLogManager)
            path = Path(manager.get_captured_local_path(KEY, "out"))
    assert path == settings.dagster_home / "storage" / "run" / "compute_logs" / "step.out"
