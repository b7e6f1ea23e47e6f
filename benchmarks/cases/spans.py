"""One day, a month, a year, and days of very many rows: what grows, and with what.

What belongs here: sizes of loads into empty warehouses. What does not: tables that are large already (`large_tables`).
"""

from __future__ import annotations

from datetime import date, timedelta

from benchmarks.bench import Bench, Result, loading, loading_of
from benchmarks.measure import BenchmarkError, Measurement, medians
from benchmarks.peers.environment import rows_of_dlt
from benchmarks.workload import backfill, served
from etl_assets.demo.server import spawn_source

LINES = "shop/order_lines"
LARGE_DAY = date(2024, 1, 3)
AFTER_LARGE_DAY = "2024-02-01T00:00:00Z"
MONTH, TWELVE = 30, 12


def one_day(bench: Bench) -> list[Result]:
    """Load a single day, once more, and by dlt, by turns: mostly the cost of starting."""
    day = bench.days.busy_day
    first_loads, repeats, by_dlt = [], [], []
    with served(bench.days) as source:
        for number in range(bench.runs):
            folder = bench.scratch / f"one_day_{number}"
            first_loads.append(backfill(source, folder, LINES, day, day))
            if bench.peers:
                by_dlt.append(bench.peers.load_by_dlt(source, bench.scratch / f"dlt_day_{number}", day, day))
            repeats.append(backfill(source, folder, LINES, day, day))
    load = loading("one_day", f"One day of order lines ({day}) into an empty warehouse", first_loads)
    share = medians(repeats)["wall_seconds"] / load.figures["wall_seconds"]
    compared = f"{share:.2f} of the first load's time"
    again = loading("one_day_again", "The same day again, nothing changed", repeats, compared)
    again.figures["share_of_first_load"] = share
    if not bench.peers:
        return [load, again]
    rows, share = rows_of_dlt(by_dlt[-1]), load.figures["wall_seconds"] / medians(by_dlt)["wall_seconds"]
    if rows != load.figures["extracted"]:
        raise BenchmarkError(f"dlt loaded {rows:,} rows of {load.figures['extracted']:,.0f}")
    what = "The same day by dlt, without checks"
    compared = f"etl_assets takes {share:.2f} of dlt's time"
    peer = loading_of("one_day_dlt", what, by_dlt, {"extracted": rows}, compared)
    peer.figures["ours_to_dlt"] = share
    return [load, again, peer]


def month_and_year(bench: Bench) -> list[Result]:
    """Load 30 and 365 days by turns; a quick measurement takes 5 and 30."""
    few, many = (5, 30) if bench.quick else (MONTH, 365)
    first = bench.days.first
    runs: dict[int, list[Measurement]] = {few: [], many: []}
    with served(bench.days) as source:
        for number in range(bench.runs):
            for count, taken in runs.items():
                folder = bench.scratch / f"span_{count}_{number}"
                taken.append(backfill(source, folder, LINES, first, first + timedelta(days=count - 1)))
    small, large = (
        loading(f"days_{count}", f"{count} days of order lines", taken) for count, taken in runs.items()
    )
    parts = many // few
    growth = large.figures["wall_seconds"] / (parts * small.figures["wall_seconds"])
    rows = large.figures["extracted"] / (parts * small.figures["extracted"])
    large.figures.update({"parts": parts, "time_to_parts": growth, "rows_to_parts": rows})
    compared = f"{growth:.2f} times {parts} times {few} days, with {rows:.2f} times their rows"
    return [small, Result(large.name, large.what, large.figures, large.walls, compared)]


def large_day(bench: Bench) -> list[Result]:
    """Load a day of a million generated lines, and a tenth of it, to see how memory grows."""
    large = 100_000 if bench.quick else 1_000_000
    small, big = (_day_of(bench, size, bench.runs) for size in (large // 10, large))
    growth = big.figures["peak_mib"] / small.figures["peak_mib"]
    big.figures["peak_to_tenth_of_the_day"] = growth
    compared = f"{growth:.2f} times the memory of a tenth of the day"
    return [small, Result(big.name, big.what, big.figures, big.walls, compared)]


def huge_day(bench: Bench) -> list[Result]:
    """Load a day of five million generated lines, once: it takes minutes and says the same each time."""
    return [_day_of(bench, 200_000 if bench.quick else 5_000_000, 1)]


def _day_of(bench: Bench, lines: int, runs: int) -> Result:
    with spawn_source(lines_per_day=lines, now=AFTER_LARGE_DAY) as source:
        measured = [
            backfill(source, bench.scratch / f"day_{lines}_{number}", LINES, LARGE_DAY, LARGE_DAY)
            for number in range(runs)
        ]
    once = "" if runs == bench.runs else "measured once"
    return loading(f"day_of_{lines}", f"One generated day of {lines:,} order lines", measured, once)
