"""A source that goes down in the middle of a backfill and comes back: every day is there, and it was hardly asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from dagster import DagsterEventType

from etl_assets.cli.backfill import run_backfill
from etl_assets.cli.days import days_between
from etl_assets.demo.clock import Clock, parse_time
from etl_assets.demo.faults import Faults
from etl_assets.demo.generator import GeneratedShop
from etl_assets.demo.server import running_source
from etl_assets.demo.shop import LinePage
from etl_assets.settings import Settings
from etl_assets.sources.circuit_file import read_circuits
from etl_assets.sources.circuit_state import CircuitStatus
from etl_assets.sources.statistics_file import read_counts
from etl_assets.streams.base import Breaker, RestSource
from etl_assets.streams.discovery import StreamCatalogue, discover_streams
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.instances import MATERIALIZED, events_of_runs, partition_statuses
from etl_assets_tests.integration.shops import LINES, ScriptedShop

DAYS = days_between(date(2025, 1, 1), date(2025, 1, 1) + timedelta(days=59))
GOES_DOWN_AFTER = 20
BREAKER = Breaker(failures=5, open_seconds=0.5)


@dataclass
class FailingShop(ScriptedShop):
    """A shop that takes its server down when it was asked a number of times.

    Attributes:
        faults: Of the server.
        went_down: Set when it did.
    """

    faults: Faults = field(default_factory=Faults)
    went_down: threading.Event = field(default_factory=threading.Event)

    def lines(self, start: int, end: int, cursor: str | None, limit: int, now: int) -> LinePage:
        """Order lines; see `Shop.lines`."""
        page = super().lines(start, end, cursor, limit, now)
        if self.asked.total() >= GOES_DOWN_AFTER and not self.went_down.is_set():
            self.faults.set_to(Faults(down=True))
            self.went_down.set()
        return page


def test_a_source_that_goes_down_and_comes_back_costs_no_day_and_is_hardly_asked(use: Use, etl: Etl) -> None:
    shop = FailingShop(GeneratedShop(seed=3, lines_per_day=5))
    with running_source(shop, clock=Clock(fixed=parse_time("2025-04-01T00:00:00Z"))) as source:
        shop.faults = source.faults
        settings = use(source, ETL_STEP_RETRIES="10", ETL_STEP_RETRY_DELAY="0.01")
        catalogue = _with_breaker(discover_streams())
        with _comes_back(settings, shop):
            result = run_backfill(settings, catalogue, [catalogue[LINES]], DAYS, quiet=True)
        while_down = source.stats.requests["/v1/order-lines", "closed"]
        answered = source.stats.requests["/v1/order-lines", "200"]
    assert result.exit_code == 0, result.as_json()
    assert result.streams[0].published == len(DAYS)
    for statuses in partition_statuses(settings, LINES).values():
        assert statuses == {day.isoformat(): MATERIALIZED for day in DAYS}
    # Those that opened the circuit, those under way meanwhile, and the trials.
    concurrency = catalogue[LINES].source.concurrency
    assert BREAKER.failures < while_down <= BREAKER.failures + concurrency - 1 + 4
    assert answered == len(DAYS), "no day that was good before was asked for again"
    assert events_of_runs(settings, result.run_ids, DagsterEventType.STEP_RESTARTED) <= 6

    counts = read_counts(settings.state_dir)["shop"]
    assert counts.requests == while_down + answered
    assert counts.failures == counts.failures_by_class["transient"] == while_down
    assert read_circuits(settings.state_dir)["shop"].state is CircuitStatus.CLOSED
    assert f"source shop: {counts.requests} requests in the last run" in etl("status", LINES).out
    assert etl("status", "--json").json()["requests"]["shop"]["failures_by_class"] == {
        "transient": while_down
    }


@contextmanager
def _comes_back(settings: Settings, shop: FailingShop) -> Iterator[None]:
    """Let the source answer again as soon as a trial has failed."""
    over = threading.Event()

    def watch() -> None:
        shop.went_down.wait()
        opened = None
        while not over.wait(0.01):
            circuit = read_circuits(settings.state_dir).get("shop")
            if circuit is None or circuit.state is not CircuitStatus.OPEN:
                continue
            opened = opened or circuit.since
            if circuit.since > opened:
                shop.faults.set_to(Faults())
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        shop.went_down.set()
        thread.join()


def _with_breaker(catalogue: StreamCatalogue) -> StreamCatalogue:
    streams = {}
    for name, stream in catalogue.streams.items():
        if isinstance(stream.source, RestSource):
            stream = replace(stream, source=replace(stream.source, breaker=BREAKER))
        streams[name] = stream
    return StreamCatalogue(streams, catalogue.files)
