"""Bad input: one line that says what to do, the right exit code, no traceback, and nothing lost."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl_assets.cli.main import run
from etl_assets.demo.server import RunningSource
from etl_assets.settings import Settings
from etl_assets_tests.integration.commands import Finished, clean_environment, command_line, run_process
from etl_assets_tests.integration.conftest import LINES_PER_DAY, Etl, Use
from etl_assets_tests.integration.disks import SmallDisk, mounted_disk
from etl_assets_tests.integration.shops import LINES, ORDERS
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, differences, select, tables

RANGE = ("--from", "2025-01-06", "--to", "2025-01-08")
COMMAND = ("backfill", LINES, ORDERS, *RANGE, "--json")
WIDE = ("backfill", LINES, "--from", "2025-01-06", "--to", "2025-01-25", "--json")
HOLD = """
import sys
from pathlib import Path
from etl_assets.warehouse.database import Warehouse
with Warehouse(Path(sys.argv[1])).session("hold it for a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


def check_refused(done: Finished, exit_code: int, *words: str) -> None:
    """Check that a command ended with one line that says what is wrong."""
    assert done.exit_code == exit_code, done.out + done.err
    lines = [line for line in done.err.splitlines() if line.strip()]
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in done.out + done.err
    assert done.out == ""


@dataclass(frozen=True)
class Loaded:
    """A data folder that holds some days, and a copy of its warehouse from before anything went wrong."""

    settings: Settings
    source: RunningSource
    before: Path

    @property
    def variables(self) -> dict[str, str]:
        """The settings as another process gets them."""
        return {name: value for name, value in os.environ.items() if name.startswith("ETL_")}

    def check_nothing_lost(self) -> None:
        """Compare all tables with those from before, stamps included."""
        assert differences(self.before, self.settings.warehouse_path, leaving_out=()) == {}


@pytest.fixture(scope="module")
def loaded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the loaded days of this module are kept; each test works on a copy."""
    return tmp_path_factory.mktemp("loaded") / "data"


@pytest.fixture
def loaded(scripted: RunningSource, use: Use, loaded_folder: Path, tmp_path: Path) -> Loaded:
    """Three loaded days of both streams."""
    settings = use(scripted, ETL_LOCK_TIMEOUT="1", ETL_STEP_RETRIES="0")
    if not loaded_folder.exists():
        assert run([*COMMAND]) == 0
        shutil.copytree(settings.data_dir, loaded_folder, ignore=shutil.ignore_patterns("dagster_home"))
        shutil.rmtree(settings.data_dir)
        os.environ.pop("DAGSTER_HOME", None)
    shutil.copytree(loaded_folder, settings.data_dir)
    before = tmp_path / "before.duckdb"
    shutil.copy(settings.warehouse_path, before)
    assert tables(before) == {"shop.order_lines", "shop.orders", "marts.daily_sales"}
    return Loaded(settings, scripted, before)


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 24 MB; skips where none can be mounted."""
    with mounted_disk(tmp_path / "disk", megabytes=24) as disk:
        if disk is None:
            pytest.skip("no small disk can be mounted here: that takes Linux, root, unshare and nsenter")
        yield disk


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("backfill", "--from", "2025-02-30", "--to", "2025-03-01"), ("--from", "2025-02-30", "YYYY-MM-DD")),
        (("backfill", "--from", "yesterday", "--to", "2025-03-01"), ("--from", "yesterday")),
        (("backfill", "--from", "2025-01-06", "--to", "20250108"), ("--to", "20250108")),
        (("backfill", "--from", "2025-01-06"), ("--to",)),
        (("backfill",), ("--from",)),
        (("backfill", "--from", "2025-01-08", "--to", "2025-01-06"), ("after", "swap")),
        (("backfill", "shop/order_line", *RANGE), ("shop/order_line", "shop/order_lines", "shop/orders")),
        (("backfill", LINES, "till/orders", *RANGE), ("till/orders",)),
        (("backfill", *RANGE, "--forse"), ("--forse",)),
        (("backfil",), ("backfil",)),
        (("status", "--from", "2025-13-01"), ("--from", "2025-13-01")),
        (("status", "shop/nothing"), ("shop/nothing",)),
        (("source", "--errors", "2"), ("errors",)),
        (("source", "--data", "/nowhere/at/all"), ("/nowhere/at/all",)),
    ],
)
def test_wrong_usage(use: Use, etl: Etl, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    settings = use()
    check_refused(etl(*arguments), 2, *words)
    assert not settings.data_dir.exists()


@pytest.mark.parametrize("days_ahead", [0, 1, 400])
def test_a_day_that_is_not_over(use: Use, etl: Etl, days_ahead: int) -> None:
    use()
    day = str(datetime.now(UTC).date() + timedelta(days=days_ahead))
    check_refused(etl("backfill", "--from", "2025-01-06", "--to", day), 2, day, "not over")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ETL_START_DATE", "the first"),
        ("ETL_PARTITIONS_PER_RUN", "0"),
        ("ETL_PARTITIONS_PER_RUN", "many"),
        ("ETL_LOG_FORMAT", "xml"),
        ("ETL_LOG_LEVEL", "LOUD"),
        ("ETL_LOCK_TIMEOUT", "-1"),
        ("ETL_STEP_RETRIES", "999"),
        ("ETL_STEP_RETRY_DELAY", "soon"),
        ("ETL_MEMORY_LIMIT", "lots"),
        ("ETL_SHOP_URL", "ftp://127.0.0.1"),
        ("ETL_SHOP_URL", "http://someone:secret-word@127.0.0.1:1"),
    ],
)
def test_a_setting_that_cannot_be_used(use: Use, etl: Etl, name: str, value: str) -> None:
    use()
    os.environ[name] = value
    done = etl(*COMMAND)
    check_refused(done, 2, name)
    assert "secret-word" not in done.err


def test_no_server(loaded: Loaded, use: Use, etl: Etl, unused_port: int) -> None:
    use(loaded.source, ETL_SHOP_URL=f"http://127.0.0.1:{unused_port}")
    check_refused(etl(*COMMAND), 1, "cannot be reached", "ETL_SHOP_URL")
    loaded.check_nothing_lost()


def test_a_wrong_token(loaded: Loaded, use: Use, etl: Etl) -> None:
    use(loaded.source, ETL_SHOP_TOKEN="not-the-right-word", ETL_STEP_RETRIES="3")
    loaded.source.stats.reset()
    done = etl(*COMMAND)
    assert done.exit_code == 1
    for stream in (LINES, ORDERS):
        assert set(done.problems(stream).values()) == {"failed"}
        messages = set(done.messages(stream).values())
        assert len(messages) == 1, messages
        assert "401" in messages.pop()
    assert "ETL_SHOP_TOKEN" in done.out
    assert "not-the-right-word" not in done.out + done.err
    assert "Traceback" not in done.out + done.err
    # Every further day would be refused the same way; those already under way may still be asked for.
    assert loaded.source.stats.total <= 6
    loaded.check_nothing_lost()


def test_a_damaged_warehouse(loaded: Loaded, etl: Etl) -> None:
    damaged = b"this is no database" * 1_000
    loaded.settings.warehouse_path.write_bytes(damaged)
    loaded.source.stats.reset()
    check_refused(etl(*COMMAND), 1, "warehouse.duckdb")
    check_refused(etl("status"), 1, "warehouse.duckdb")
    assert loaded.settings.warehouse_path.read_bytes() == damaged
    assert loaded.source.stats.total == 0


def test_a_truncated_warehouse(loaded: Loaded, etl: Etl) -> None:
    whole = loaded.settings.warehouse_path.read_bytes()
    loaded.settings.warehouse_path.write_bytes(whole[: len(whole) // 2])
    done = etl(*COMMAND)
    assert done.exit_code == 1
    assert "Traceback" not in done.out + done.err
    assert "warehouse" in done.out + done.err
    # The landed answers are all there: with the damaged file moved away, nothing has to be asked for twice by hand.
    loaded.settings.warehouse_path.unlink()
    assert etl(*COMMAND).exit_code == 0
    assert differences(loaded.before, loaded.settings.warehouse_path) == {}


def test_a_second_writer(loaded: Loaded, etl: Etl) -> None:
    command = [sys.executable, "-c", HOLD, str(loaded.settings.warehouse_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        check_refused(etl(*COMMAND), 1, str(holder.pid), "hold it for a test", "waited 1 s")
        check_refused(etl("status"), 1, str(holder.pid))
        holder.stdin.close()
        holder.wait()
    loaded.check_nothing_lost()
    assert etl(*COMMAND).exit_code == 0


def test_a_database_shell_that_has_the_file_open(loaded: Loaded, etl: Etl) -> None:
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(loaded.settings.warehouse_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        assert shell.stdout.readline() == "held\n"
        check_refused(etl(*COMMAND), 1, str(shell.pid), "not one of ours")
        shell.stdin.close()
        shell.wait()
    loaded.check_nothing_lost()


def test_two_backfills_at_once_queue_up(loaded: Loaded, use: Use, tmp_path: Path) -> None:
    settings = use(loaded.source, "both")
    variables = clean_environment(loaded.variables)
    both = [
        subprocess.Popen(
            command_line("backfill", stream, *RANGE, "--json"),
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for stream in (LINES, ORDERS)
    ]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert differences(loaded.before, settings.warehouse_path) == {}


def test_a_folder_that_cannot_be_written(scripted: RunningSource, use: Use, etl: Etl, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    use(scripted, "file/data")
    check_refused(etl(*COMMAND), 1, "ETL_DATA_DIR")


def test_a_folder_on_a_read_only_disk(loaded: Loaded, small_disk: SmallDisk) -> None:
    small_disk.call("mount", "-o", "remount,ro", str(small_disk.path))
    variables = loaded.variables | {"ETL_DATA_DIR": str(small_disk.path / "data")}
    done = run_process(variables, *COMMAND, within=small_disk.within)
    check_refused(done, 1, "ETL_DATA_DIR", "Read-only")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("def broken(:\n", ("does not import", "SyntaxError")),
        ("import no_such_module_anywhere\n", ("does not import", "no_such_module_anywhere")),
        ("NAME = 'nothing'\n", ("declares no STREAM",)),
        ("from etl_assets.streams.shop.orders import STREAM\n", ("repeats stream shop/orders",)),
    ],
)
def test_a_broken_stream_file(tmp_path: Path, loaded: Loaded, content: str, words: tuple[str, ...]) -> None:
    project = tmp_path / "project"
    package = Path(sys.modules["etl_assets"].__file__ or "").parent
    shutil.copytree(package, project / "etl_assets", ignore=shutil.ignore_patterns("__pycache__"))
    (project / "etl_assets" / "streams" / "shop" / "returns.py").write_text(content)
    done = subprocess.run(
        command_line(*COMMAND),
        env=clean_environment(loaded.variables),
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    finished = Finished(done.returncode, done.stdout, done.stderr)
    check_refused(finished, 2, "streams/shop/returns.py", *words)
    loaded.check_nothing_lost()


def test_a_full_disk_while_loading(loaded: Loaded, small_disk: SmallDisk, tmp_path: Path) -> None:
    """Loading goes on until the disk is full, says so, and goes on where it was once there is room."""
    home = str(loaded.settings.dagster_home)
    variables = loaded.variables | {"ETL_DATA_DIR": str(small_disk.path / "data"), "DAGSTER_HOME": home}
    small_disk.take(loaded.settings.data_dir)
    small_disk.fill(leaving=150_000)
    done = run_process(variables, *WIDE, within=small_disk.within)
    assert done.exit_code == 1, done.out
    assert "Traceback" not in done.out + done.err
    said = done.out + done.err
    assert "no room left on the disk" in said
    assert "free some space" in said
    warehouse = small_disk.give(tmp_path / "full") / "warehouse.duckdb"
    early = "SELECT * FROM shop.order_lines WHERE _partition <= '2025-01-08' ORDER BY ALL"
    assert select(warehouse, early) == select(loaded.before, early)
    assert select(warehouse, NOT_CONSERVED) == []

    small_disk.make_room()
    again = run_process(variables, *WIDE, within=small_disk.within)
    assert again.exit_code == 0, again.out + again.err
    assert again.rows(LINES)["extracted"] == 20 * LINES_PER_DAY
    warehouse = small_disk.give(tmp_path / "after") / "warehouse.duckdb"
    assert select(warehouse, early) == select(loaded.before, early)


@pytest.mark.parametrize("room", [0, 600_000])
def test_a_full_disk_under_everything(
    loaded: Loaded, small_disk: SmallDisk, tmp_path: Path, room: int
) -> None:
    """Dagster's own folder lies on the full disk as well, as it does by default."""
    variables = loaded.variables | {"ETL_DATA_DIR": str(small_disk.path / "data")}
    small_disk.take(loaded.settings.data_dir)
    small_disk.fill(leaving=room)
    done = run_process(variables, *WIDE, within=small_disk.within)
    assert done.exit_code == 1
    assert "Traceback" not in done.out + done.err
    *_, last = done.err.splitlines()
    assert last.startswith("error: no room left on the disk")
    assert "free some space" in last
    warehouse = small_disk.give(tmp_path / "full") / "warehouse.duckdb"
    early = "SELECT * FROM shop.order_lines WHERE _partition <= '2025-01-08' ORDER BY ALL"
    assert select(warehouse, early) == select(loaded.before, early)

    small_disk.make_room()
    again = run_process(variables, *WIDE, within=small_disk.within)
    assert again.exit_code == 0, again.out + again.err
