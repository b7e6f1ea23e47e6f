"""A limit on a source holds across processes: steps that read it queue for the slots of its pool.

Both tests start processes and wait for them; `orchestration/test_pools.py` looks at the parts.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from dagster import DagsterInstance, DagsterRunStatus
from dagster._cli.instance import instance_cli
from dagster._daemon.monitoring.concurrency import execute_concurrency_slots_iteration

from etl_assets.demo.clock import Clock, parse_time
from etl_assets.demo.faults import Faults
from etl_assets.demo.generator import GeneratedShop
from etl_assets.demo.server import RunningSource, running_source
from etl_assets.demo.shop import LinePage, OrderPage
from etl_assets.orchestration.instance import opened_instance, prepare_dagster_home
from etl_assets.settings import Settings
from etl_assets_tests.integration.commands import PROJECT, clean_environment, command_line
from etl_assets_tests.integration.conftest import Use
from etl_assets_tests.integration.shops import LINES, ORDERS, ScriptedShop

pytestmark = pytest.mark.slow

RANGE = ("--from", "2025-01-01", "--to", "2025-01-06")
DAYS = 6
AFTER = Clock(fixed=parse_time("2025-03-01T00:00:00Z"))


@dataclass
class RecordingShop(ScriptedShop):
    """A shop that knows in which order its streams were asked for."""

    order: list[str] = field(default_factory=list)

    def lines(self, start: int, end: int, cursor: str | None, limit: int, now: int) -> LinePage:
        """Order lines; see `Shop.lines`."""
        self.order.append(LINES)
        return super().lines(start, end, cursor, limit, now)

    def orders(self, start: int, end: int, offset: int, limit: int, now: int) -> OrderPage:
        """Orders; see `Shop.orders`."""
        self.order.append(ORDERS)
        return super().orders(start, end, offset, limit, now)


def test_two_processes_never_read_a_source_at_once_when_its_pool_has_one_slot(use: Use) -> None:
    shop = RecordingShop(GeneratedShop(seed=3, lines_per_day=5))
    with running_source(shop, clock=AFTER, faults=Faults(latency=0.02)) as source:
        settings = _limited(use, source)
        processes = [_backfill(settings, source, stream) for stream in (LINES, ORDERS)]
        ended = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert sorted(shop.order) == [LINES] * DAYS + [ORDERS] * DAYS
    assert len(list(groupby(shop.order))) == 2, "one stream after the other"
    with opened_instance(settings) as instance:
        assert _holders(instance) == set()


def test_a_slot_that_a_killed_process_held_is_given_back_when_its_run_is_ended(use: Use) -> None:
    """The daemon does it, some time after somebody told Dagster, in the UI say, that the run is over."""
    with running_source(clock=AFTER, faults=Faults(latency=60.0)) as source:
        settings = _limited(use, source)
        with opened_instance(settings) as instance:
            process = _backfill(settings, source, LINES)
            try:
                while not source.stats.total and not _holders(instance):
                    assert process.poll() is None
            finally:
                os.kill(process.pid, signal.SIGKILL)
                process.communicate()
            [run_id] = _holders(instance)
            run = instance.get_run_by_id(run_id)
            assert run is not None
            assert run.status is DagsterRunStatus.STARTED
            instance.report_run_canceled(run)
            workspace: Any = SimpleNamespace(instance=instance)  # all that the daemon's part looks at
            give_up = time.monotonic() + 60
            while _holders(instance) and time.monotonic() < give_up:
                list(execute_concurrency_slots_iteration(workspace, logging.getLogger(__name__)))
                time.sleep(0.1)
            assert _holders(instance) == set()


def _limited(use: Use, source: RunningSource) -> Settings:
    """Let one step at a time read the shop, by the command that the documentation names."""
    settings = use(source)
    home = prepare_dagster_home(settings)
    config = (home / "dagster.yaml").read_text(encoding="utf-8")
    patient, hasty = "free_slots_after_run_end_seconds: 300", "free_slots_after_run_end_seconds: 1"
    assert patient in config
    (home / "dagster.yaml").write_text(config.replace(patient, hasty), encoding="utf-8")
    done = CliRunner().invoke(instance_cli, ["concurrency", "set", "shop", "1"])
    assert done.exit_code == 0, done.output
    return settings


def _backfill(settings: Settings, source: RunningSource, stream: str) -> subprocess.Popen[str]:
    variables = {
        "PYTHONPATH": str(PROJECT),
        "ETL_DATA_DIR": str(settings.data_dir),
        "ETL_SHOP_URL": source.url,
        "ETL_SHOP_TOKEN": source.token,
    }
    return subprocess.Popen(
        command_line("backfill", stream, *RANGE),
        env=clean_environment(variables),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _holders(instance: DagsterInstance) -> set[str]:
    """Give the runs that hold slots of the shop's pool."""
    return set(instance.event_log_storage.get_concurrency_info("shop").active_run_ids)
