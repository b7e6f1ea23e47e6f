"""Four commands at once against one, at a source that takes its time.

What belongs here: sharing days out among commands. What does not: what one command does with its own processes.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from benchmarks.bench import Bench, Result, loading
from benchmarks.measure import Measurement, medians
from benchmarks.workload import backfill, backfill_at_once, served

LINES = "shop/order_lines"
PROCESSES = 4
LATENCY = 0.05


def four_processes(bench: Bench) -> list[Result]:
    """Load the same days by one command, and by four at once into one warehouse, by turns.

    One command is what a user types: with its default threads and staging processes, as each of the four has them too.
    """
    days = bench.days
    one: list[Measurement] = []
    four: list[Measurement] = []
    with served(days, "--latency", str(LATENCY)) as source:
        for number in range(bench.runs):
            folder = bench.scratch / f"one_process_{number}"
            one.append(backfill(source, folder, LINES, days.first, days.last))
            folder = bench.scratch / f"processes_{number}"
            four.append(backfill_at_once(source, folder, LINES, shared_out(days.first, days.count)))
    answers = f"each answer after {LATENCY * 1000:.0f} ms"
    alone = loading("one_process", f"{days.count} days of order lines, {answers}, by one command", one)
    times = alone.figures["wall_seconds"] / medians(four)["wall_seconds"]
    what = f"The same by {PROCESSES} commands at once, a quarter of the days each, into one warehouse"
    shared = loading("four_processes", what, four, f"{times:.2f} times the throughput of one command")
    shared.figures["throughput_to_one"] = times
    return [alone, shared]


def shared_out(first: date, count: int, parts: int = PROCESSES) -> list[tuple[date, date]]:
    """Cut consecutive days into parts of about the same length; gives first and last day of each."""
    starts = [first + timedelta(days=count * part // parts) for part in range(parts + 1)]
    return [(start, following - timedelta(days=1)) for start, following in pairwise(starts)]
