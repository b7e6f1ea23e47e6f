"""Four processes at once against one, at a source that takes its time.

What belongs here: sharing days out among commands. What does not: what a command does by itself.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from benchmarks.bench import Bench, Result, loading
from benchmarks.measure import Measurement, medians
from benchmarks.workload import LINES, backfill, backfill_at_once, served

PROCESSES = 4
LATENCY = 0.05
ALONE = {"ETL_STAGING_PROCESSES": "0"}
"""A command is one process then. By itself it takes staging processes to its help, one on two cores."""


def four_processes(bench: Bench) -> list[Result]:
    """Load the same days in one process, by one command as it is, and in four processes at once, by turns.

    Each process asks the source in as many threads as it always does, so that one is not slowed down to be compared.
    """
    days = bench.days
    one: list[Measurement] = []
    command: list[Measurement] = []
    four: list[Measurement] = []
    parts = shared_out(days.first, days.count)
    with served(days, "--latency", str(LATENCY)) as source:
        for number in range(bench.runs):
            folder = bench.scratch / f"processes_{number}"
            one.append(backfill(source, folder / "one", LINES, days.first, days.last, **ALONE))
            four.append(backfill_at_once(source, folder / "four", LINES, parts, **ALONE))
            command.append(backfill(source, folder / "command", LINES, days.first, days.last))
    answers = f"each answer after {LATENCY * 1000:.0f} ms"
    what = f"{days.count} days of order lines, {answers}, in one process"
    alone = loading("one_process", what, one, "without staging processes")
    seconds = medians(four)["wall_seconds"]
    times = alone.figures["wall_seconds"] / seconds
    usual = loading("one_command", "The same by one command, with its staging processes", command)
    to_command = usual.figures["wall_seconds"] / seconds
    what = f"The same in {PROCESSES} processes at once, a quarter of the days each, into one warehouse"
    compared = f"{times:.2f} times the throughput of one process, {to_command:.2f} times that of the command"
    shared = loading("four_processes", what, four, compared)
    shared.figures.update({"throughput_to_one": times, "throughput_to_command": to_command})
    return [alone, usual, shared]


def shared_out(first: date, count: int, parts: int = PROCESSES) -> list[tuple[date, date]]:
    """Cut consecutive days into parts of about the same length; gives first and last day of each."""
    starts = [first + timedelta(days=count * part // parts) for part in range(parts + 1)]
    return [(start, following - timedelta(days=1)) for start, following in pairwise(starts)]
