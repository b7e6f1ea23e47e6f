"""Kill a backfill at random instants, then run it again: the tables are those of a backfill that nobody disturbed.

The shop moves on between the attempts, so that every one of them has rows to replace and to update.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from etl_assets.cli.days import days_between
from etl_assets.demo.clock import Clock
from etl_assets.demo.server import RunningSource, running_source
from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import PartitionOutcome
from etl_assets.pipeline.prepared import Stage
from etl_assets.settings import load_settings
from etl_assets_tests.integration.commands import PROJECT, clean_environment, command_line, run_process
from etl_assets_tests.integration.day_files import LONGEST_WAIT_DAYS, write_day_files
from etl_assets_tests.integration.instances import MATERIALIZED, partition_statuses
from etl_assets_tests.integration.loading import ALL_STAGES, FROM_LANDING, load_range
from etl_assets_tests.integration.shops import LINES, ORDERS
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, differences, select, tables

pytestmark = pytest.mark.crash

FIRST = date(2025, 1, 25)
TRADING = days_between(FIRST, FIRST + timedelta(days=7))
DAYS = days_between(FIRST, TRADING[-1] + timedelta(days=LONGEST_WAIT_DAYS + 1))
COMMAND = ("backfill", LINES, ORDERS, "--from", str(DAYS[0]), "--to", str(DAYS[-1]), "--json")
FOLDERS, KILLS_IN_A_FOLDER, COMMAND_KILLS, COMMIT_KILLS = 2, 3, 3, 4

STEPS = 2 * 3 * len(DAYS)
"""Of a whole load: two streams, and extract, stage and commit of every day."""

EVENTS = ("extracted", "staged", "committed")
PAUSE = 0.03
"""Seconds at most from a step to the kill: about as long as a step takes, so that every instant may be struck."""

LAST_LOADS = """
    WITH last AS (
        SELECT * FROM etl.loads QUALIFY row_number() OVER (PARTITION BY stream, partition ORDER BY load_id DESC) = 1
    )"""
HALF_DONE = {
    "loads that are not conserved": NOT_CONSERVED,
    "days of order lines that are there in part": f"""{LAST_LOADS}, held AS (
            SELECT _partition AS partition, count(*) AS rows FROM shop.order_lines GROUP BY 1)
        SELECT partition, loaded + unchanged, held.rows
        FROM (FROM last WHERE stream = 'order_lines') FULL JOIN held USING (partition)
        WHERE coalesce(loaded + unchanged, 0) <> coalesce(held.rows, 0)""",
    "orders that no load tells of, or that a load tells of in vain": """
        SELECT sum(loaded - updated), (SELECT count(*) FROM shop.orders) AS held
        FROM etl.loads WHERE stream = 'orders' HAVING coalesce(sum(loaded - updated), 0) <> held""",
    "watermarks that no load stands for": """
        WITH loads AS (SELECT stream, max(watermark) AS watermark FROM etl.loads GROUP BY 1)
        SELECT * FROM loads FULL JOIN etl.watermarks AS marks USING (stream)
        WHERE loads.watermark IS DISTINCT FROM marks.watermark""",
    "loads that touched no date": """
        SELECT load_id FROM etl.loads WHERE loaded > 0 AND load_id NOT IN (SELECT load_id FROM etl.touched_dates)""",
    "touched dates without a load": """
        SELECT load_id FROM etl.touched_dates WHERE load_id NOT IN (SELECT load_id FROM etl.loads)""",
    "loads that the days' outcomes do not tell of": f"""{LAST_LOADS}
        SELECT stream, partition FROM last ANTI JOIN
        (FROM etl.partitions WHERE published_at IS NOT NULL) AS told USING (stream, partition)""",
    "bad rows of published days that are not in quarantine": f"""{LAST_LOADS}, bad AS (
            SELECT stream, partition, count(*) AS rows FROM etl.quarantine WHERE state = 'pending' GROUP BY ALL)
        SELECT stream, partition, last.quarantined, bad.rows FROM last
        JOIN (FROM etl.partitions WHERE status LIKE 'published%') USING (stream, partition)
        LEFT JOIN bad USING (stream, partition) WHERE last.quarantined <> coalesce(bad.rows, 0)""",
}
"""What one transaction a partition rules out; each query gives no row then."""


@dataclass(frozen=True)
class Shop:
    """The shop, and the warehouse of an undisturbed load."""

    source: RunningSource
    root: Path
    expected: Path
    processes: ForkServerContext

    def variables(self, folder: str) -> dict[str, str]:
        """Settings for a data folder."""
        return {
            "ETL_DATA_DIR": str(self.root / folder),
            "ETL_SHOP_URL": self.source.url,
            "ETL_SHOP_TOKEN": self.source.token,
        }

    def set_clock(self, part: float) -> None:
        """Set the shop's clock to a part of the way through the days."""
        start, hours = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC), 24 * (len(DAYS) + 1)
        self.source.clock.set_fixed(start + timedelta(hours=part * hours))

    def check(self, folder: str) -> None:
        """Compare a folder, after its rerun, with the undisturbed load; nothing half done is left lying about."""
        warehouse = self.root / folder / "warehouse.duckdb"
        assert tables(warehouse) == {"shop.order_lines", "shop.orders", "marts.daily_sales"}
        assert differences(warehouse, self.expected) == {}
        _check_whole(warehouse)
        watermarks = "SELECT stream, watermark FROM etl.watermarks ORDER BY ALL"
        assert select(warehouse, watermarks) == select(self.expected, watermarks)
        assert [str(path) for path in (self.root / folder).rglob(".tmp-*")] == []


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, served, and loaded once undisturbed."""
    root = tmp_path_factory.mktemp("kill")
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([load_range.__module__])
    with running_source(data=write_day_files(root / "days", TRADING, invoices=25), clock=Clock()) as source:
        made = Shop(source, root, root / "undisturbed" / "warehouse.duckdb", processes)
        made.set_clock(1)
        assert load_range(made.variables("undisturbed"), DAYS, "undisturbed")
        yield made


def test_kill_at_random_instants_then_a_plain_rerun(shop: Shop) -> None:
    chance = random.Random(20250125)
    kills = FOLDERS * KILLS_IN_A_FOLDER
    # One instant from each equal part of the run, so that no part of it is left out.
    instants = [(number + chance.random()) / kills for number in range(kills)]
    chance.shuffle(instants)
    struck = 0
    for number in range(FOLDERS):
        folder = f"killed{number}"
        for attempt, instant in enumerate(instants[number::FOLDERS], start=1):
            shop.set_clock(attempt / KILLS_IN_A_FOLDER)
            struck += _load_and_kill(shop, folder, int(instant * STEPS), chance.uniform(0, PAUSE))
            _check_whole(shop.root / folder / "warehouse.duckdb")
        shop.set_clock(1)
        assert load_range(shop.variables(folder), DAYS, "rerun")
        shop.check(folder)
    # The last part of a run is its marts; now and then a process is through with them before it is struck.
    assert struck >= kills - 2


def test_kill_while_committing(shop: Shop) -> None:
    """Everything is staged, so that the killed processes do little else than commit."""
    chance = random.Random(20250127)
    variables = shop.variables("committing")
    shop.set_clock(1)
    assert load_range(variables, DAYS, "first")
    warehouse = shop.root / "committing" / "warehouse.duckdb"
    steps = STEPS * 2 // 3
    for number in range(COMMIT_KILLS):
        if number % 2 == 0:
            for path in (warehouse, warehouse.with_name("warehouse.duckdb.wal")):
                path.unlink(missing_ok=True)
        after = int(steps * chance.random())
        _load_and_kill(shop, "committing", after, chance.uniform(0, PAUSE), FROM_LANDING)
        _check_whole(warehouse)
    assert load_range(variables, DAYS, "rerun")
    shop.check("committing")


def test_kill_the_command_then_a_plain_rerun(shop: Shop) -> None:
    chance = random.Random(20250126)
    variables = shop.variables("command")
    struck = 0
    for attempt in range(COMMAND_KILLS):
        shop.set_clock((attempt + 1) / COMMAND_KILLS)
        after = int(STEPS * (attempt + chance.random()) / COMMAND_KILLS)
        struck += _command_killed(variables, after, chance.uniform(0, PAUSE))
        _check_whole(shop.root / "command" / "warehouse.duckdb")
    assert struck == COMMAND_KILLS
    shop.set_clock(1)
    rerun = run_process(variables, *COMMAND)
    assert rerun.exit_code == 0, rerun.out + rerun.err
    shop.check("command")
    for stream in (LINES, ORDERS):
        for statuses in partition_statuses(load_settings(variables), stream).values():
            assert statuses == {str(day): MATERIALIZED for day in DAYS}


class _Announcer(SilentReporter):
    """Sends a word for every step that is done, from whichever thread."""

    def __init__(self, listener: Connection) -> None:
        self._listener = listener
        self._lock = threading.Lock()

    def announce(self) -> None:
        with self._lock:
            self._listener.send("step")

    def item_stage(self, work: str, item: str, stage: str) -> None:
        self.announce()

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        self.announce()

    def item_failed(
        self, work: str, item: str, message: str, outcome: PartitionOutcome | None = None
    ) -> None:
        self.announce()


def _work(variables: Mapping[str, str], stages: frozenset[Stage], listener: Connection) -> None:
    load_range(variables, DAYS, "killed", stages=stages, reporter=_Announcer(listener))


def _load_and_kill(
    shop: Shop, folder: str, after_steps: int, pause: float, stages: frozenset[Stage] = ALL_STAGES
) -> bool:
    """Kill a loading process after some steps and a moment; tells whether it was still at work."""
    receiver, sender = shop.processes.Pipe(duplex=False)
    process = shop.processes.Process(target=_work, args=(shop.variables(folder), stages, sender))
    process.start()
    sender.close()
    for _ in range(after_steps):
        receiver.recv()
    time.sleep(pause)
    process.kill()
    process.join()
    receiver.close()
    return process.exitcode == -signal.SIGKILL


def _command_killed(variables: Mapping[str, str], after_steps: int, pause: float) -> bool:
    """Kill the command after some of the steps that its log tells of; tells whether it was still at work."""
    process = subprocess.Popen(
        command_line(*COMMAND),
        env=clean_environment({**variables, "ETL_LOG_FORMAT": "json", "ETL_LOG_LEVEL": "INFO"}),
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        steps = (line for line in process.stderr if any(f'"{event}"' in line for event in EVENTS))
        for _ in itertools.islice(steps, after_steps):
            pass
        time.sleep(pause)
        process.kill()
        process.communicate()
    return process.returncode == -signal.SIGKILL


def _check_whole(warehouse: Path) -> None:
    """What a killed process leaves can be opened, and holds whole partitions only."""
    if not warehouse.exists():
        return
    made = "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'shop'"
    if select(warehouse, made) == [(2,)]:
        assert {name: rows for name, query in HALF_DONE.items() if (rows := select(warehouse, query))} == {}
