"""Opening the warehouse: one holder at a time, told plainly when it cannot be had, safe when its holder dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from etl_assets.failures import FailureClass, StorageFullError, WarehouseBusyError, WarehouseError
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.errors import opening_error, told_plainly
from etl_assets.warehouse.failed_items import known_items
from etl_assets.warehouse.lock import WarehouseLock
from etl_assets_tests.warehouse.samples import LINES, Stager, line, select

HOLD_SESSION = """
import sys, time
from pathlib import Path
from etl_assets.warehouse.database import Warehouse
with Warehouse(Path(sys.argv[1])).session("load shop/orders") as session:
    session.connection.execute("BEGIN TRANSACTION")
    session.connection.execute("DELETE FROM shop.order_lines")
    session.connection.execute("INSERT INTO etl.loads (load_id) VALUES (77)")
    print("ready", flush=True)
    time.sleep(60)
"""
COUNT_SESSIONS = """
import sys, time
from pathlib import Path
from etl_assets.warehouse.lock import WarehouseLock
lock, counter = WarehouseLock(Path(sys.argv[1])), Path(sys.argv[2])
number = 0
while True:
    with lock.held("one session after the other", 60):
        number += 1
        counter.write_text(str(number))
        time.sleep(0.02)
        if number == 1:
            print("ready", flush=True)
"""
HOLD_FILE = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("ready", flush=True)
time.sleep(60)
"""


@contextmanager
def waiting_for(path: Path, counter: Path) -> Iterator[None]:
    """Run a process that waits for the warehouse."""
    with subprocess.Popen([sys.executable, "-c", COUNT_SESSIONS, str(path), str(counter)]) as process:
        try:
            yield
        finally:
            process.kill()


def seen(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


@contextmanager
def holder(code: str, *paths: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the warehouse until it is killed."""
    command = [sys.executable, "-c", code, *map(str, paths)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def number_in(path: Path) -> int:
    """Read a number from a file that may just be written."""
    while not (text := path.read_text()):
        pass
    return int(text)


def test_a_second_process_is_told_who_holds_it_and_gets_it_when_that_one_dies(
    warehouse: Warehouse, stager: Stager
) -> None:
    with warehouse.session("first load") as session:
        session.commit(stager.request(LINES, 0, [line(0, "a")]))
    with holder(HOLD_SESSION, warehouse.path) as process:
        impatient = Warehouse(warehouse.path, lock_timeout=0.2)
        for open_it in (impatient.session, impatient.read):
            with pytest.raises(WarehouseBusyError) as caught, open_it("second"):
                pass
            message = str(caught.value)
            assert f"in use by process {process.pid} on " in message
            assert "(load shop/orders, since 20" in message
            assert "waited 0.2 s" in message
            assert "\n" not in message
            assert caught.value.failure_class is FailureClass.TRANSIENT
        process.send_signal(signal.SIGKILL)
        process.wait()
    with warehouse.read("see what is left") as connection:
        assert select(connection, "SELECT line_id FROM shop.order_lines") == [("0-a",)]
    with warehouse.session("go on") as session:
        assert select(session.connection, "SELECT load_id FROM etl.loads") == [(1,)]
        assert session.commit(stager.request(LINES, 1, [line(1, "a")])).load_id == 2


def test_a_foreign_process_is_named_by_its_pid_and_waited_for(warehouse: Warehouse) -> None:
    with warehouse.session("make it"):
        pass
    with holder(HOLD_FILE, warehouse.path) as process:
        impatient = Warehouse(warehouse.path, lock_timeout=0.2)
        with pytest.raises(WarehouseBusyError) as caught, impatient.session("second"):
            pass
        assert f"process {process.pid}, which is not one of ours" in str(caught.value)
        timer = threading.Timer(0.3, process.kill)
        timer.start()
        with Warehouse(warehouse.path, lock_timeout=30).session("patient"):
            pass
        timer.join()


def test_threads_queue_and_none_is_lost(warehouse: Warehouse) -> None:
    with warehouse.session("make it") as session:
        session.connection.execute("CREATE TABLE main.counter AS SELECT 0 AS n")
    errors: list[BaseException] = []

    def count() -> None:
        try:
            for _ in range(5):
                with Warehouse(warehouse.path, lock_timeout=30).session("count") as session:
                    session.connection.execute("UPDATE main.counter SET n = n + 1")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with warehouse.read("result") as connection:
        assert select(connection, "SELECT n FROM main.counter") == [(20,)]


def test_a_process_that_never_pauses_lets_others_in(warehouse: Warehouse, tmp_path: Path) -> None:
    lock, counter = WarehouseLock(warehouse.path), tmp_path / "sessions"
    passed = []
    with holder(COUNT_SESSIONS, warehouse.path, counter):
        for _ in range(20):
            before = number_in(counter)
            with lock.held("look", 60):
                passed.append(number_in(counter) - before)
            while number_in(counter) <= before + passed[-1]:
                pass
    # The session that it is in, and one or two that pass before our place in the queue; without a queue, hundreds.
    assert sum(passed) <= 3 * len(passed), passed


def test_the_holder_sees_another_process_wait(warehouse: Warehouse, tmp_path: Path) -> None:
    with warehouse.session("hold"):
        assert not warehouse.is_wanted()
        assert not warehouse.is_wanted()
    with warehouse.session("hold"), waiting_for(warehouse.path, tmp_path / "sessions"):
        assert seen(warehouse.is_wanted)


def test_the_holder_sees_another_thread_wait(warehouse: Warehouse) -> None:
    def look() -> None:
        with WarehouseLock(warehouse.path).held("look", 60):
            pass

    waiting = threading.Thread(target=look)
    with warehouse.session("hold"):
        waiting.start()
        assert seen(warehouse.is_wanted)
    waiting.join()


def test_another_thread_that_waits_too_long_is_told(warehouse: Warehouse) -> None:
    caught: list[BaseException] = []

    def second() -> None:
        try:
            with Warehouse(warehouse.path, lock_timeout=0.05).session("second"):
                pass
        except BaseException as error:
            caught.append(error)

    with warehouse.session("first"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert isinstance(caught[0], WarehouseBusyError)
    assert f"process {os.getpid()} on" in str(caught[0])


def test_opening_it_twice_in_one_thread_is_an_error_at_once(warehouse: Warehouse) -> None:
    with (
        warehouse.session("outer"),
        pytest.raises(WarehouseError, match=r"this thread has the warehouse .* open already"),
        warehouse.read("inner"),
    ):
        pass
    with warehouse.session("after"):
        pass


def test_the_holder_is_recorded_while_it_holds(warehouse: Warehouse) -> None:
    record = warehouse.path.with_name("warehouse.duckdb.holder.json")
    with warehouse.session("load shop/orders"):
        holder_record = json.loads(record.read_text())
    assert (holder_record["pid"], holder_record["purpose"]) == (os.getpid(), "load shop/orders")
    assert not record.exists()


def test_the_lock_is_released_when_a_session_fails(warehouse: Warehouse) -> None:
    with pytest.raises(KeyError), warehouse.session("fails"):
        raise KeyError
    with warehouse.session("next"):
        pass


def test_reading_before_the_first_load_says_what_to_do(warehouse: Warehouse) -> None:
    assert not warehouse.exists()
    hint = r"there is no warehouse at .* yet .*etl-assets backfill"
    with pytest.raises(WarehouseError, match=hint), warehouse.read("status"):
        pass
    assert not warehouse.path.parent.exists()


def test_readers_cannot_write(warehouse: Warehouse) -> None:
    with warehouse.session("make it"):
        pass
    with warehouse.read("look") as connection, pytest.raises(duckdb.Error, match="read-only"):
        connection.execute("DELETE FROM etl.loads")


@pytest.mark.parametrize("content", [b"", b"x", b"not a database at all" * 1000])
def test_a_damaged_file_is_told_with_what_to_do(warehouse: Warehouse, content: bytes) -> None:
    warehouse.path.parent.mkdir()
    warehouse.path.write_bytes(content)
    with pytest.raises(WarehouseError) as caught, warehouse.session("load"):
        pass
    message = str(caught.value)
    assert f"the warehouse file {warehouse.path} is damaged" in message
    assert "restore a copy, or move it and its .wal away and run `etl-assets backfill --replay`" in message
    assert "\n" not in message
    assert warehouse.path.read_bytes() == content


@pytest.mark.parametrize("where", [0, 4096, 12288, 274432])
def test_damage_within_a_once_good_file_is_told_whenever_it_shows(
    warehouse: Warehouse, stager: Stager, where: int
) -> None:
    with warehouse.session("load") as session:
        session.commit(stager.request(LINES, 0, [line(0, f"n{number}") for number in range(100)]))
    # Behind the headers, where the rows are depends on all that was written before them: all of it is damaged.
    size = 4096 if where <= 12288 else warehouse.path.stat().st_size - where
    with warehouse.path.open("r+b") as file:
        file.seek(where)
        file.write(b"\xa5" * size)
    request = stager.request(LINES, 0, [line(0, "b")])
    with pytest.raises(WarehouseError, match="is damaged"), warehouse.session("load") as session:
        session.commit(request)


def test_a_data_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = Warehouse(tmp_path / "file" / "warehouse.duckdb")
    hint = r"data folder .* cannot be written to: .*ETL_DATA_DIR"
    with pytest.raises(WarehouseError, match=hint), blocked.session("load"):
        pass


def test_a_file_written_by_a_newer_version_is_refused(warehouse: Warehouse) -> None:
    with warehouse.session("make it") as session:
        session.connection.execute("INSERT INTO etl.schema_version (version) VALUES (99)")
    hint = r"bookkeeping version 99.*update etl_assets"
    with pytest.raises(WarehouseError, match=hint), warehouse.session("load"):
        pass


def test_the_bookkeeping_is_made_once(warehouse: Warehouse) -> None:
    for _ in range(2):
        with warehouse.session("load") as session:
            versions = select(session.connection, "SELECT version FROM etl.schema_version")
            assert versions == [(number,) for number in range(1, len(versions) + 1)]
            assert len(versions) >= 8


def test_bookkeeping_of_before_failed_items_is_brought_up(warehouse: Warehouse, stager: Stager) -> None:
    with warehouse.session("load") as session:
        session.commit(stager.request(LINES, 0, [line(0, "a")]))
        for statement in (
            "DROP TABLE etl.schema_changes",
            "DROP TABLE etl.known_fields",
            "DROP TABLE etl.check_results",
            "DROP TABLE etl.partition_statistics",
            "DROP TABLE etl.quarantine_moves",
            "DROP TABLE etl.quarantine_decisions",
            "ALTER TABLE etl.quarantine DROP COLUMN landing_version",
            "ALTER TABLE etl.loads DROP COLUMN decisions",
            "DROP TABLE etl.failed_items",
            "ALTER TABLE etl.loads DROP COLUMN failed_items",
            "ALTER TABLE etl.partitions DROP COLUMN failed_items",
            "ALTER TABLE etl.loads DROP COLUMN restores",
            "ALTER TABLE etl.loads DROP COLUMN restates",
            "DELETE FROM etl.schema_version WHERE version >= 3",
        ):
            session.connection.execute(statement)
    with warehouse.read("look at the old file") as connection:
        assert known_items(connection, "shop/order_lines") == []
    with warehouse.session("load") as session:
        session.commit(stager.request(LINES, 1, [line(1, "b")]))
        assert select(session.connection, "SELECT failed_items FROM etl.loads") == [(0,), (0,)]
        assert select(session.connection, "SELECT failed_items FROM etl.partitions") == [(0,), (0,)]
        assert known_items(session.connection, "shop/order_lines") == []


def test_times_are_utc_and_memory_is_bounded(warehouse: Warehouse) -> None:
    with Warehouse(warehouse.path, memory_limit="500MB").session("settings") as session:
        found = select(
            session.connection,
            "SELECT current_setting('TimeZone'), current_setting('memory_limit'), "
            "current_setting('temp_directory'), current_setting('autoinstall_known_extensions')",
        )
    assert found == [("UTC", "476.8 MiB", f"{warehouse.path}.tmp", False)]


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    full = duckdb.IOException('IO Error: Could not write file "x": No space left on device')
    assert isinstance(opening_error(full, tmp_path / "w"), StorageFullError)
    hint = "everything committed so far is safe"
    with pytest.raises(StorageFullError, match=hint), told_plainly("commit x", tmp_path / "w"):
        raise full
