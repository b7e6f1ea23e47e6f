"""A year of order lines, and of all streams of the shop that have a past, by the command line.

What belongs here: the year as declared, again, without rules and audits, and by the peers, all by turns. What does not:
other numbers of days (`spans`), other ways to ask for them (`daemon`, `processes`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from statistics import median

from benchmarks import without_quality
from benchmarks.bench import Bench, Result, beside_dlt, loading, loading_of
from benchmarks.measure import BenchmarkError, Measurement, medians
from benchmarks.peers.environment import Peers, rows_of_plain_dagster
from benchmarks.workload import LINES, ORDERS, backfill, open_days, read_all, served
from etl_assets.demo.server import SpawnedSource

STREAMS_WITH_A_PAST = (LINES, ORDERS, "shop/products")
"""`shop/customers` shows only the present, so that no year of it can be had afterwards."""


def year_of_order_lines(bench: Bench) -> list[Result]:
    """Load every day of order lines, once more with nothing changed, and by the peers, by turns."""
    days = bench.days
    first_loads, repeats, by_dlt, readings = [], [], [], []
    by_plain_dagster: list[Measurement] = []
    opened = open_days(days, bench.runs)
    with served(days) as source:
        for number in range(bench.runs):
            folder = bench.scratch / f"order_lines_{number}"
            started = time.perf_counter()
            read_all(source, days)
            readings.append(time.perf_counter() - started)
            first_loads.append(backfill(source, folder, LINES, days.first, days.last))
            if bench.peers:
                by_dlt.append(
                    bench.peers.load_by_dlt(source, bench.scratch / f"dlt_{number}", days.first, days.last)
                )
            repeats.append(backfill(source, folder, LINES, days.first, days.last))
            if bench.peers:
                by_plain_dagster.append(_plain_day(bench, bench.peers, source, opened[number]))
    floor = median(readings)
    what = f"{days.count} days of order lines into an empty warehouse"
    load = loading("order_lines", what, first_loads, f"reading its pages alone takes {floor:.1f} s")
    load.figures["reading_seconds"] = floor
    again = loading("order_lines_again", "The same days again, nothing changed", repeats)
    again.figures["share_of_first_load"] = again.figures["wall_seconds"] / load.figures["wall_seconds"]
    compared = f"{again.figures['share_of_first_load']:.2f} of the first load's time"
    results = [load, replace(again, compared=compared)]
    if bench.peers:
        what = f"The same {days.count} days by dlt, in one window and without checks"
        by_peers = beside_dlt("order_lines_dlt", what, load, by_dlt)
        results += [by_peers, _plain_days(bench, load, opened, by_plain_dagster)]
    return results


def _plain_day(bench: Bench, peers: Peers, source: SpawnedSource, day: date) -> Measurement:
    folder = bench.scratch / "plain_dagster"
    run = peers.load_by_plain_dagster(source, folder, bench.days.first, day)
    if not rows_of_plain_dagster(folder, day):
        raise BenchmarkError(f"plain Dagster loaded nothing of {day}")
    return run


def _plain_days(bench: Bench, load: Result, opened: list[date], runs: list[Measurement]) -> Result:
    rows = rows_of_plain_dagster(bench.scratch / "plain_dagster", opened[-1])
    what = "One day by plain Dagster: three chained assets, a run a day by `dagster asset materialize`"
    result = loading_of("plain_dagster_day", what, runs, {"extracted": rows})
    ours = load.figures["wall_seconds"] / bench.days.count
    times = result.figures["wall_seconds"] / ours
    result.figures.update({"our_seconds_per_day": ours, "plain_dagster_to_ours": times})
    compared = f"etl_assets takes {ours:.3f} s a day of the {bench.days.count}, {times:,.0f} times less"
    return replace(result, compared=compared)


def share_of_quality(bench: Bench) -> list[Result]:
    """Load every day of order lines with all rules and audits, and with none, by turns."""
    days = bench.days
    declared: list[Measurement] = []
    unchecked: list[Measurement] = []
    with served(days) as source:
        for number in range(bench.runs):
            declared.append(
                backfill(source, bench.scratch / f"declared_{number}", LINES, days.first, days.last)
            )
            folder = bench.scratch / f"unchecked_{number}"
            unchecked.append(
                backfill(source, folder, LINES, days.first, days.last, program=without_quality.COMMAND)
            )
    what = f"{days.count} days of order lines without rules and audits"
    result = loading("order_lines_unchecked", what, unchecked)
    everything = medians(declared)
    for name in ("wall", "cpu"):
        figure = f"{name}_seconds"
        result.figures[f"declared_{figure}"] = everything[figure]
        result.figures[f"quality_share_of_{name}"] = 1 - result.figures[figure] / everything[figure]
    compared = (
        f"rules and audits take {result.figures['quality_share_of_wall']:.0%} of the time of a load that has them, "
        f"by turns with this one, and {result.figures['quality_share_of_cpu']:.0%} of its CPU"
    )
    return [replace(result, compared=compared)]


def year_of_orders(bench: Bench) -> list[Result]:
    """Load every day of orders, which are merged by key, into an empty warehouse."""
    runs = _loads(bench, "orders", ORDERS)
    return [loading("orders", f"{bench.days.count} days of orders into an empty warehouse", runs)]


def year_of_the_shop(bench: Bench) -> list[Result]:
    """Load every day of all streams of the shop that have a past, and the mart, by one command."""
    runs = _loads(bench, "shop", STREAMS_WITH_A_PAST)
    what = (
        f"{bench.days.count} days of order lines, orders and product changes, and their mart, by one command"
    )
    return [loading("shop", what, runs, "`shop/customers` shows only the present")]


def _loads(bench: Bench, name: str, streams: str | Sequence[str]) -> list[Measurement]:
    """Load every day of streams into empty warehouses."""
    days = bench.days
    with served(days) as source:
        return [
            backfill(source, bench.scratch / f"{name}_{number}", streams, days.first, days.last)
            for number in range(bench.runs)
        ]
