"""One day, a month, a year, and days of very many rows: what grows, and with what.

What belongs here: sizes of loads into empty warehouses. What does not: tables that are large already (`large_tables`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from benchmarks.bench import Bench, Result, beside_dlt, loading
from benchmarks.large_source import spawn_large_source
from benchmarks.measure import Measurement, medians
from benchmarks.workload import LINES, backfill, served

LARGE_DAY = date(2024, 1, 3)
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
    return [load, again, beside_dlt("one_day_dlt", "The same day by dlt, without checks", load, by_dlt)]


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
    return [small, replace(large, compared=compared)]


def large_days(bench: Bench) -> list[Result]:
    """Load days of ever more generated lines, once each: they take long, and their memory is the same each time."""
    sizes = [10_000, 100_000] if bench.quick else [100_000, 1_000_000, 5_000_000]
    results: list[Result] = []
    for lines in sizes:
        with spawn_large_source(lines) as source:
            run = backfill(source, bench.scratch / f"day_{lines}", LINES, LARGE_DAY, LARGE_DAY)
        grown = run.peak_mib / results[0].figures["peak_mib"] if results else 1.0
        compared = f"{grown:.2f} times the peak of {sizes[0]:,} lines; " if results else ""
        what = f"One generated day of {lines:,} order lines"
        results.append(loading(f"day_of_{lines}", what, [run], f"{compared}measured once"))
        results[-1].figures[f"peak_to_{sizes[0]}"] = grown
    return results
