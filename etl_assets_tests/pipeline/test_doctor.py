"""What the doctor finds: each kind of trouble is named with its place and with what to do, and mended where safe."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import date, timedelta
from pathlib import Path

import pytest

from etl_assets.demo.server import RunningSource, running_source
from etl_assets.failures import SourceError
from etl_assets.landing.files import make_temporary
from etl_assets.landing.writer import LandingWriter
from etl_assets.observability.progress import SilentReporter
from etl_assets.pipeline.doctor import Finding, Weight, examine, mend
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams.discovery import discover_streams

CATALOGUE = discover_streams()
LINES = CATALOGUE["shop/order_lines"]
DAYS = [date(2025, 3, 10) + timedelta(days=number) for number in range(3)]
MAKE_TEMPORARY = """
import os, sys
from pathlib import Path
from etl_assets.landing.files import make_temporary
(make_temporary(Path(sys.argv[1])) / "pages.zst").write_bytes(b"half")
os._exit(9)
"""


@pytest.fixture(scope="module")
def source() -> Iterator[RunningSource]:
    """A small shop."""
    with running_source(lines_per_day=20) as running:
        yield running


@pytest.fixture
def environment(source: RunningSource, environment_of: Callable[..., dict[str, str]]) -> Environment:
    """Three loaded days of order lines."""
    rooms = Environment.of(load_settings(environment_of(source)), CATALOGUE.code_versions)
    with closing(rooms.open_source(LINES.source)) as reader:
        pipeline = PartitionPipeline(rooms, LINES, frozenset(Stage), "run-1", reader)
        outcomes = list(run_partitions(pipeline, DAYS, reporter=SilentReporter(), threads=1))
    assert all(outcome.status.is_published for outcome in outcomes)
    return rooms


def found(environment: Environment, *, deep: bool = False) -> list[Finding]:
    """What the doctor finds, a nearly full disk of the machine that runs the tests aside."""
    findings = examine(environment, list(CATALOGUE.values()), deep=deep)
    return [finding for finding in findings if "MiB are free" not in finding.what]


@pytest.mark.parametrize("deep", [False, True])
def test_a_healthy_folder_has_nothing_unusual(environment: Environment, deep: bool) -> None:
    assert found(environment, deep=deep) == []


def test_an_empty_folder_has_nothing_unusual(tmp_path: Path) -> None:
    settings = load_settings({"ETL_DATA_DIR": str(tmp_path / "new")})
    assert found(Environment.of(settings, CATALOGUE.code_versions)) == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("room", ["landing", "staged"])
def test_files_of_a_killed_process_are_found_and_removed(environment: Environment, room: str) -> None:
    folder = getattr(environment, room).root / LINES.id / DAYS[0].isoformat()
    ours = make_temporary(folder)
    subprocess.run([sys.executable, "-c", MAKE_TEMPORARY, str(folder)], check=False)
    [finding] = found(environment)
    assert finding.weight is Weight.LEFTOVER
    assert Path(finding.where).parent == folder
    assert mend([finding]) == []
    assert ours.exists()
    assert found(environment) == []


def test_what_was_spilled_is_found_and_removed(environment: Environment) -> None:
    spill = environment.warehouse.path.with_name("warehouse.duckdb.tmp") / "duckdb_temp_storage.tmp"
    spill.parent.mkdir(exist_ok=True)
    spill.write_bytes(b"x")
    [finding] = found(environment)
    assert (finding.weight, finding.where) == (Weight.LEFTOVER, str(spill))
    assert mend([finding]) == []
    assert not spill.exists()


def test_commits_of_a_killed_process_are_told_and_taken_into_the_file(environment: Environment) -> None:
    log = environment.warehouse.path.with_name("warehouse.duckdb.wal")
    with environment.warehouse.session("killed") as session:
        session.connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        files = {path: path.read_bytes() for path in (environment.warehouse.path, log)}
    for path, content in files.items():
        path.write_bytes(content)
    [finding] = found(environment, deep=True)
    assert (finding.weight, finding.where) == (Weight.LEFTOVER, str(log))
    assert "they are whole" in finding.what
    assert mend([finding]) == []
    assert not log.exists()
    with environment.warehouse.read("look") as connection:
        assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]


def test_a_day_that_was_landed_and_never_loaded_is_noted(environment: Environment) -> None:
    day = date(2025, 3, 20)
    window = LINES.extract.window_of(day)
    with LandingWriter(environment.landing, LINES.id, day, run_id="run", window=window) as writer:
        writer.finish()
    [finding] = found(environment)
    assert (finding.weight, finding.where) == (Weight.NOTE, LINES.id)
    assert finding.what == f"1 days were landed and never loaded ({day} to {day})"
    assert finding.advice == f"etl-assets backfill {LINES.id} --missing --from {day} --to {day}"


def test_a_cut_short_extraction_is_noted(environment: Environment) -> None:
    day = date(2025, 3, 20)
    with (
        suppress(SourceError),
        LandingWriter(
            environment.landing, LINES.id, day, run_id="run", window=LINES.extract.window_of(day), request="r"
        ) as writer,
    ):
        writer.add(b"{}", 1, resume="2")
        raise SourceError("gone", source="shop")
    [finding] = found(environment)
    assert (finding.weight, finding.where) == (Weight.NOTE, f"{LINES.id} {day}")
    assert "cut short" in finding.what


def damage_manifest(version: Path) -> None:
    """Cut a manifest short."""
    manifest = version / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:100])


def damage_pages(version: Path) -> None:
    """Change one byte of the answers."""
    pages = version / "pages.zst"
    content = bytearray(pages.read_bytes())
    content[len(content) // 2] ^= 1
    pages.write_bytes(content)


@pytest.mark.parametrize(("damage", "deep"), [(damage_manifest, False), (damage_pages, True)])
def test_damaged_answers_are_told_with_the_command_that_heals(
    environment: Environment, damage: Callable[[Path], None], deep: bool
) -> None:
    landed = environment.landing.latest(LINES.id, DAYS[1])
    assert landed is not None
    damage(landed.path)
    [finding] = found(environment, deep=deep)
    assert finding.weight is Weight.PROBLEM
    assert finding.where == f"{LINES.id} {DAYS[1]}"
    assert "damaged" in finding.what
    assert finding.advice == f"etl-assets backfill {LINES.id} --from {DAYS[1]} --to {DAYS[1]}"
    assert mend([finding]) == [finding]


def test_rows_that_no_load_left_there_are_told(environment: Environment) -> None:
    with environment.warehouse.session("someone's own change") as session:
        session.connection.execute(
            "DELETE FROM shop.order_lines WHERE _partition = ? AND quantity = (SELECT max(quantity) "
            "FROM shop.order_lines WHERE _partition = ?)",
            [DAYS[0], DAYS[0]],
        )
        session.connection.execute("DELETE FROM shop.order_lines WHERE _partition = ?", [DAYS[2]])
    first, second = found(environment)
    assert (first.where, second.where) == (f"{LINES.id} {DAYS[0]}", f"{LINES.id} {DAYS[2]}")
    assert "the table has 0 rows of the day" in second.what
    assert second.advice.startswith(f"etl-assets backfill {LINES.id} --replay")


def test_days_that_cannot_be_replayed_are_told_once(environment: Environment) -> None:
    for day in DAYS[:2]:
        shutil.rmtree(environment.landing.partition_path(LINES.id, day))
    [finding] = found(environment)
    assert finding.weight is Weight.NOTE
    assert f"2 published days are not in landing any more ({DAYS[0]} to {DAYS[1]})" in finding.what


def test_a_lost_warehouse_is_told_with_the_way_back(environment: Environment) -> None:
    environment.warehouse.path.unlink()
    [finding] = found(environment)
    assert finding.weight is Weight.PROBLEM
    assert "--replay" in finding.advice


def test_a_damaged_warehouse_is_told_with_the_way_back(environment: Environment) -> None:
    environment.warehouse.path.write_bytes(b"no database")
    [finding] = found(environment)
    assert finding.weight is Weight.PROBLEM
    assert "damaged" in finding.what
    assert "replay" in finding.advice


def test_a_damaged_block_is_found_by_a_deep_look(environment: Environment) -> None:
    path = environment.warehouse.path
    with environment.warehouse.session("fill") as session:
        session.connection.execute("CREATE TABLE shop.more AS SELECT hash(i) AS h FROM range(200000) AS t(i)")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert found(environment) == []
    [finding] = found(environment, deep=True)
    assert finding.weight is Weight.PROBLEM
    assert "damaged" in finding.what
    assert "replay" in finding.advice


def test_a_stream_that_no_file_declares_is_noted(environment: Environment) -> None:
    findings = list(examine(environment, []))
    assert [(each.weight, each.where) for each in findings if "declares" in each.what] == [
        (Weight.NOTE, LINES.id)
    ]
