"""A damaged warehouse gives the rows of whole commits, or one line that tells the way back."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from etl_assets.failures import WarehouseError
from etl_assets.warehouse.consistency import read_everything
from etl_assets.warehouse.database import Warehouse
from etl_assets_tests.damage import DAMAGES, Damage
from etl_assets_tests.warehouse.samples import LINES, Stager, everything, line

Content = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Left:
    """What a killed process left: a warehouse, and a log of two commits that are not in it yet.

    Attributes:
        file: The warehouse file.
        log: The log.
        states: What the tables held after each of the commits.
        place: Where copies are damaged.
    """

    file: bytes
    log: bytes
    states: list[Content]
    place: Path

    def lay_out(self, file: bytes, log: bytes | None = None) -> Warehouse:
        """Give a warehouse of its own that looks like that."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        warehouse = Warehouse(self.place / "warehouse.duckdb", lock_timeout=5)
        warehouse.path.write_bytes(file)
        if log is not None:
            warehouse.path.with_name("warehouse.duckdb.wal").write_bytes(log)
        return warehouse


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """A warehouse of some days, copied at the instant at which its writer is killed."""
    folder = tmp_path_factory.mktemp("damage")
    stager, warehouse = Stager(folder / "staged"), Warehouse(folder / "warehouse.duckdb")
    with warehouse.session("load") as session:
        for number in range(2):
            session.commit(
                stager.request(LINES, number, [line(number, f"n{row}") for row in range(500)], ["bad"])
            )
    with warehouse.session("load") as session:
        states = [everything(session.connection)]
        for number in (2, 3):
            # One row: DuckDB's checksum is a XOR, so that of two equal values of a column both may go unseen.
            session.commit(stager.request(LINES, number, [line(number, "n")]))
            states.append(everything(session.connection))
        file, log = (folder / f"warehouse.duckdb{ending}" for ending in ("", ".wal"))
        return Left(file.read_bytes(), log.read_bytes(), states, folder / "damaged")


def check(warehouse: Warehouse, states: list[Content]) -> None:
    """Read everything there is: it is a whole state, or an error that tells what to do."""
    try:
        with warehouse.read("look") as connection:
            read_everything(connection)
            assert everything(connection) in states
            return
    except WarehouseError as error:
        told = str(error)
    assert told.startswith(f"the warehouse file {warehouse.path} is damaged (")
    assert "move it and its .wal away and run `etl-assets backfill --replay`" in told
    assert "\n" not in told


@settings(deadline=None, max_examples=25)
@given(damage=DAMAGES)
def test_a_damaged_file_is_told_or_read_as_it_was(left: Left, damage: Damage) -> None:
    check(left.lay_out(damage(left.file)), left.states[:1])


@settings(deadline=None, max_examples=15)
@given(damage=DAMAGES)
def test_a_damaged_log_is_told_or_gives_whole_commits(left: Left, damage: Damage) -> None:
    check(left.lay_out(left.file, damage(left.log)), left.states)


@pytest.mark.parametrize("content", [b"", b"\0", b"this is no database" * 1000])
def test_a_file_that_is_no_warehouse_is_never_taken_for_a_new_one(left: Left, content: bytes) -> None:
    warehouse = left.lay_out(content)
    check(warehouse, [])
    with pytest.raises(WarehouseError, match="is damaged"), warehouse.session("load"):
        pass
    assert warehouse.path.read_bytes() == content


def test_what_a_killed_process_committed_is_there(left: Left) -> None:
    check(left.lay_out(left.file, left.log), left.states[-1:])


def test_commits_of_a_warehouse_that_is_not_there_are_kept(left: Left) -> None:
    warehouse = left.lay_out(left.file, left.log)
    warehouse.path.rename(warehouse.path.with_name("elsewhere"))
    with (
        pytest.raises(WarehouseError, match=r"holds the last commits of a warehouse, but .* is not there"),
        warehouse.session("load"),
    ):
        pass
    warehouse.path.with_name("elsewhere").rename(warehouse.path)
    check(warehouse, left.states[-1:])


def test_a_new_warehouse_appears_whole(left: Left) -> None:
    """What a killed process left of making one is in nobody's way."""
    warehouse = left.lay_out(b"")
    warehouse.path.rename(warehouse.path.with_name("warehouse.duckdb.new"))
    with warehouse.session("load") as session:
        assert "etl.loads" in everything(session.connection)
    assert sorted(path.name for path in left.place.iterdir()) == [
        "warehouse.duckdb",
        "warehouse.duckdb.lock",
        "warehouse.duckdb.queue",
    ]


def test_what_was_spilled_by_a_killed_process_goes_with_the_next_writer(left: Left) -> None:
    warehouse = left.lay_out(left.file)
    spilled = warehouse.path.with_name("warehouse.duckdb.tmp") / "duckdb_temp_storage.tmp"
    spilled.parent.mkdir()
    spilled.write_bytes(b"x")
    with warehouse.read("look"):
        pass
    assert spilled.exists()
    with warehouse.session("load"):
        pass
    assert not spilled.exists()
