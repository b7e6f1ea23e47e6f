"""Any order, any number of times: live, at the end, shuffled, repeated, replayed; always the same tables.

The shop trades for a while and then only completes its orders, so that the last windows hold every latest update. (An
order that is completed after the last window and before the source was asked is in no window that was asked for.)
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl_assets.cli.days import days_between
from etl_assets.demo.clock import Clock
from etl_assets.demo.server import RunningSource, running_source
from etl_assets.settings import Settings, load_settings
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.day_files import LONGEST_WAIT_DAYS, write_day_files
from etl_assets_tests.integration.loading import FROM_LANDING, load, rebuild_marts
from etl_assets_tests.integration.shops import LINES, ORDERS
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, differences, select, tables

FIRST = date(2025, 1, 28)
TRADING = days_between(FIRST, FIRST + timedelta(days=4))
DAYS = days_between(FIRST, TRADING[-1] + timedelta(days=LONGEST_WAIT_DAYS + 1))
STREAMS = (LINES, ORDERS)
ALL_TABLES = {"shop.order_lines", "shop.orders", "marts.daily_sales"}

MakeSettings = Callable[[], Settings]


def two_in_the_morning_after(day: date) -> datetime:
    """When the daily schedule asks for a day."""
    return datetime.combine(day + timedelta(days=1), time(2), tzinfo=UTC)


@dataclass(frozen=True)
class Shop:
    """The shop of these tests, and the warehouse that one backfill at the end makes of it."""

    source: RunningSource
    make_settings: MakeSettings
    expected: Path

    def check(self, settings: Settings) -> None:
        """Compare a warehouse with the expected one."""
        assert differences(settings.warehouse_path, self.expected) == {}
        assert select(settings.warehouse_path, NOT_CONSERVED) == []
        watermarks = "SELECT stream, watermark FROM etl.watermarks ORDER BY ALL"
        assert select(settings.warehouse_path, watermarks) == select(self.expected, watermarks)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, served, and loaded once at the end."""
    root = tmp_path_factory.mktemp("any_order")
    folders = (root / f"data{number}" for number in itertools.count())
    with running_source(data=write_day_files(root / "days", TRADING), clock=Clock()) as source:

        def make_settings() -> Settings:
            return load_settings(
                {
                    "ETL_DATA_DIR": str(next(folders)),
                    "ETL_SHOP_URL": source.url,
                    "ETL_SHOP_TOKEN": source.token,
                }
            )

        expected = make_settings()
        source.clock.set_fixed(two_in_the_morning_after(DAYS[-1]))
        load_all(expected, DAYS)
        assert tables(expected.warehouse_path) == ALL_TABLES
        yield Shop(source, make_settings, expected.warehouse_path)


@pytest.fixture(autouse=True)
def _at_the_end(shop: Shop) -> None:
    shop.source.clock.set_fixed(two_in_the_morning_after(DAYS[-1]))


def load_all(settings: Settings, days: Sequence[date]) -> None:
    """Load days of both streams in the order given, then rebuild the marts."""
    for stream_id in STREAMS:
        outcomes = load(settings, stream_id, days)
        assert [outcome.message for outcome in outcomes if not outcome.status.is_published] == []
    rebuild_marts(settings)


def load_live(shop: Shop, settings: Settings) -> None:
    """Load each day at two in the morning after it."""
    for day in DAYS:
        shop.source.clock.set_fixed(two_in_the_morning_after(day))
        load_all(settings, [day])


def test_the_shop_moves_on_while_it_is_loaded(shop: Shop) -> None:
    settings = shop.make_settings()
    shop.source.clock.set_fixed(two_in_the_morning_after(TRADING[2]))
    load_all(settings, TRADING[:3])
    pending = select(settings.warehouse_path, "SELECT order_id FROM shop.orders WHERE status = 'pending'")
    assert len(pending) > 10
    statuses = "SELECT DISTINCT status FROM shop.orders ORDER BY 1"
    assert select(shop.expected, statuses) == [("cancelled",), ("completed",)]
    assert len(differences(settings.warehouse_path, shop.expected)) == len(ALL_TABLES)


def test_live_equals_backfill(shop: Shop) -> None:
    settings = shop.make_settings()
    load_live(shop, settings)
    updated = select(settings.warehouse_path, "SELECT sum(updated) FROM etl.loads WHERE stream = 'orders'")
    assert updated[0][0] > 20
    shop.check(settings)


def test_what_landed_early_never_overwrites_what_came_later(shop: Shop) -> None:
    settings = shop.make_settings()
    load_live(shop, settings)
    days = list(DAYS)
    random.Random(1).shuffle(days)
    outcomes = load(settings, ORDERS, days, stages=FROM_LANDING, run_id="replay")
    assert all(outcome.status.is_published for outcome in outcomes)
    rebuild_marts(settings)
    shop.check(settings)


@pytest.mark.parametrize("seed", [5, 6])
def test_early_answers_alone_give_the_same_in_any_order(shop: Shop, seed: int) -> None:
    """Extraction in time, commits in disorder: the newest version wins, whichever comes first."""
    live = shop.make_settings()
    load_live(shop, live)
    live.warehouse_path.unlink()
    days = list(DAYS)
    random.Random(seed).shuffle(days)
    for stream_id in STREAMS:
        load(live, stream_id, days, stages=FROM_LANDING)
        load(live, stream_id, days[::2], stages=FROM_LANDING)
    rebuild_marts(live)
    shop.check(live)


@hypothesis_settings(
    max_examples=4,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(order=st.permutations(DAYS), repeats=st.lists(st.sampled_from(DAYS), max_size=6))
def test_shuffled_and_repeated_days_give_the_same(shop: Shop, order: list[date], repeats: list[date]) -> None:
    settings = shop.make_settings()
    for days in (order[:4], order[2:], repeats):
        load_all(settings, days)
    shop.check(settings)


@hypothesis_settings(
    max_examples=4,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    history=st.lists(st.tuples(st.integers(0, len(DAYS) - 1), st.integers(0, 40)), min_size=3, max_size=10),
    order=st.permutations(DAYS),
)
def test_no_history_of_early_loads_leaves_a_trace(
    shop: Shop, history: list[tuple[int, int]], order: list[date]
) -> None:
    settings = shop.make_settings()
    now = datetime.combine(FIRST, time(9), tzinfo=UTC)
    end = two_in_the_morning_after(DAYS[-1])
    for number, hours in history:
        now = min(now + timedelta(hours=hours), end)
        shop.source.clock.set_fixed(now)
        for stream_id in STREAMS:
            load(settings, stream_id, [DAYS[number]])
    shop.source.clock.set_fixed(end)
    load_all(settings, order)
    shop.check(settings)


def test_live_equals_backfill_by_the_command(shop: Shop, use: Use, etl: Etl) -> None:
    settings = use(shop.source)
    daily, rest = DAYS[:4], DAYS[4:]
    for day in daily:
        shop.source.clock.set_fixed(two_in_the_morning_after(day))
        done = etl("backfill", *STREAMS, "--from", str(day), "--to", str(day), "--json")
        assert done.exit_code == 0, done.out
    shop.source.clock.set_fixed(two_in_the_morning_after(DAYS[-1]))
    done = etl("backfill", *STREAMS, "--from", str(rest[0]), "--to", str(rest[-1]), "--json")
    assert done.exit_code == 0, done.out
    shop.check(settings)
