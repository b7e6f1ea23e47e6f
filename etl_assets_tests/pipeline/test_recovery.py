"""What killed processes left behind is gone before the next load, and what is somebody's stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etl_assets.landing.files import make_temporary
from etl_assets.observability.progress import SilentReporter
from etl_assets.pipeline.doctor import examine
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.recovery import partition_lock, recover, recover_partition
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets_tests.pipeline.landings import land
from etl_assets_tests.quality.samples import DAY, ORDER_LINES, line

ROOMS = ("landing", "staged")
FROM_LANDING = frozenset({Stage.STAGE, Stage.COMMIT})
OF_ANOTHER_MACHINE = f".tmp-01234567-{os.getpid()}-89abcdef-01234567"
"""The name's process is there, its machine is not known: by the name alone it could be somebody's for a day."""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An empty data folder."""
    return Environment.of(load_settings({"ETL_DATA_DIR": str(tmp_path)}), {ORDER_LINES.id: "v1"})


@pytest.fixture
def dead() -> int:
    """The id of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(environment: Environment, room: str, name: str = OF_ANOTHER_MACHINE) -> Path:
    """Leave a half-written folder in a room of the day."""
    folder: Path = getattr(environment, room).root / ORDER_LINES.id / DAY.isoformat() / name
    folder.mkdir(parents=True)
    (folder / "half").write_bytes(b"x")
    return folder


@pytest.mark.parametrize("room", ROOMS)
def test_who_has_a_partition_to_itself_clears_away_all_that_is_left_in_it(
    environment: Environment, room: str
) -> None:
    left = leave(environment, room)
    with partition_lock(environment, ORDER_LINES, DAY):
        assert recover_partition(environment, ORDER_LINES, DAY) == 1
        assert recover_partition(environment, ORDER_LINES, DAY) == 0
    assert not left.exists()


@pytest.mark.parametrize("room", ROOMS)
def test_a_load_of_another_day_clears_away_what_is_left_in_any(environment: Environment, room: str) -> None:
    left = leave(environment, room)
    pipeline = PartitionPipeline(environment, ORDER_LINES, FROM_LANDING, "run")
    assert list(run_partitions(pipeline, [], reporter=SilentReporter(), threads=1)) == []
    assert not left.exists()


@pytest.mark.parametrize("room", ROOMS)
def test_a_partition_that_is_being_loaded_is_left_alone(environment: Environment, room: str) -> None:
    left = leave(environment, room)
    with partition_lock(environment, ORDER_LINES, DAY):
        assert recover(environment, ORDER_LINES) == 0
    assert left.exists()
    assert recover(environment, ORDER_LINES) == 1


def test_only_temporary_folders_are_removed(environment: Environment, tmp_path: Path) -> None:
    land(tmp_path, [[line("a")]])
    leave(environment, "landing", ".partial")
    leave(environment, "staged", "a-version")
    before = sorted(path for path in tmp_path.rglob("*") if path.name != ".lock")
    leave(environment, "landing")
    assert recover(environment, ORDER_LINES) == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.name != ".lock") == before


def test_half_written_state_of_a_dead_process_is_told_and_removed(
    environment: Environment, dead: int
) -> None:
    state = environment.settings.state_dir / "requests"
    state.mkdir(parents=True)
    left, ours, whole = state / f"shop.{dead}.tmp", state / f"shop.{os.getpid()}.tmp", state / "shop.json"
    for path in (left, ours, whole):
        path.write_bytes(b"{}")
    assert [finding.where for finding in examine(environment, []) if "MiB" not in finding.what] == [str(left)]
    assert recover(environment, ORDER_LINES) == 1
    assert sorted(state.iterdir()) == sorted((ours, whole))


def test_a_folder_of_ours_is_not_taken_away_while_we_load(environment: Environment) -> None:
    with partition_lock(environment, ORDER_LINES, DAY):
        ours = make_temporary(environment.landing.partition_path(ORDER_LINES.id, DAY))
        assert recover(environment, ORDER_LINES) == 0
    assert ours.exists()
