"""The cases: what is measured, each a function that gives a result.

What belongs here: one function a case, and the table of them. What does not: how a process is measured, how results are
written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import large_tables, without_quality
from benchmarks.measure import Measurement, measure, medians
from benchmarks.workload import COMMAND_LINE, Days, backfill, clean_environment, rows_of, served
from etl_assets.demo.server import spawn_source

LARGE_DAY = date(2024, 1, 3)
LARGE_STREAMS = ("shop/order_lines", "shop/orders")
SATURDAY = 5
IMPORTS = ("import dagster", "import etl_assets.definitions")


@dataclass(frozen=True, slots=True)
class Result:
    """What a case found.

    Attributes:
        name: The case.
        what: One sentence on what was measured.
        figures: The figures by name: medians over the runs, sizes and ratios.
        walls: Seconds of each run, for judging how steady they are.
    """

    name: str
    what: str
    figures: dict[str, float]
    walls: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every case is given.

    Attributes:
        days: The days to load.
        scratch: A folder for warehouses, emptied afterwards.
        runs: How often each thing is measured.
        quick: Whether to take smaller sizes.
        table_rows: Rows of the small and the large table of the case `large-tables`.
    """

    days: Days
    scratch: Path
    runs: int
    quick: bool
    table_rows: tuple[int, int] = large_tables.ROWS


Case = Callable[[Bench], list[Result]]


def year_of_order_lines(bench: Bench) -> list[Result]:
    """Load every day of order lines into an empty warehouse, and then once more with nothing changed."""
    days = bench.days
    first_loads, repeats = [], []
    with served(days) as source:
        for number in range(bench.runs):
            folder = bench.scratch / f"order_lines_{number}"
            first_loads.append(backfill(source, folder, "shop/order_lines", days.first, days.last))
            repeats.append(backfill(source, folder, "shop/order_lines", days.first, days.last))
    load = _loading("order_lines", f"{days.count} days of order lines into an empty warehouse", first_loads)
    again = _loading("order_lines_again", "The same days again, nothing changed", repeats)
    again.figures["share_of_first_load"] = again.figures["wall_seconds"] / load.figures["wall_seconds"]
    return [load, again]


def share_of_quality(bench: Bench) -> list[Result]:
    """Load every day of order lines with all rules and audits, and with none, by turns."""
    days = bench.days
    declared: list[Measurement] = []
    unchecked: list[Measurement] = []
    programs = (("declared", COMMAND_LINE, declared), ("unchecked", without_quality.COMMAND, unchecked))
    with served(days) as source:
        for number in range(bench.runs):
            for name, program, runs in programs:
                folder = bench.scratch / f"{name}_{number}"
                runs.append(
                    backfill(source, folder, "shop/order_lines", days.first, days.last, program=program)
                )
    what = f"{days.count} days of order lines without rules and audits"
    result = _loading("order_lines_unchecked", what, unchecked)
    everything = medians(declared)
    for name in ("wall", "cpu"):
        figure = f"{name}_seconds"
        result.figures[f"declared_{figure}"] = everything[figure]
        result.figures[f"quality_share_of_{name}"] = 1 - result.figures[figure] / everything[figure]
    return [result]


def year_of_orders(bench: Bench) -> list[Result]:
    """Load every day of orders, which are merged by key, into an empty warehouse."""
    days = bench.days
    with served(days) as source:
        runs = [
            backfill(source, bench.scratch / f"orders_{number}", "shop/orders", days.first, days.last)
            for number in range(bench.runs)
        ]
    return [_loading("orders", f"{days.count} days of orders into an empty warehouse", runs)]


def one_day(bench: Bench) -> list[Result]:
    """Load a single day: mostly the cost of starting."""
    day = bench.days.busy_day
    with served(bench.days) as source:
        runs = [
            backfill(source, bench.scratch / f"one_day_{number}", "shop/order_lines", day, day)
            for number in range(bench.runs)
        ]
    return [_loading("one_day", f"One day of order lines ({day}) into an empty warehouse", runs)]


def imports(bench: Bench) -> list[Result]:
    """Import dagster, and the project's definitions, each in fresh processes, by turns."""
    environment = clean_environment(ETL_DATA_DIR=str(bench.scratch / "imports"))
    runs: dict[str, list[Measurement]] = {statement: [] for statement in IMPORTS}
    # One round that does not count: it writes byte code and fills the system's file cache.
    for number in range(bench.runs * 2 + 1):
        for statement in IMPORTS:
            run = measure([sys.executable, "-c", statement], environment)
            if number:
                runs[statement].append(run)
    alone, ours = (medians(runs[statement]) for statement in IMPORTS)
    figures = {
        "dagster_seconds": alone["wall_seconds"],
        "definitions_seconds": ours["wall_seconds"],
        "added_seconds": ours["wall_seconds"] - alone["wall_seconds"],
        "times_dagster": ours["wall_seconds"] / alone["wall_seconds"],
        "definitions_peak_mib": ours["peak_mib"],
    }
    walls = [run.wall for run in runs[IMPORTS[1]]]
    return [Result("imports", "`import etl_assets.definitions` against `import dagster`", figures, walls)]


def large_day(bench: Bench) -> list[Result]:
    """Load a day of a million generated lines, and a tenth of it, to see how memory grows."""
    large = 100_000 if bench.quick else 1_000_000
    results = [_day_of(bench, size) for size in (large // 10, large)]
    small, big = results
    big.figures["peak_to_tenth_of_the_day"] = big.figures["peak_mib"] / small.figures["peak_mib"]
    return results


def _day_of(bench: Bench, lines: int) -> Result:
    with spawn_source(lines_per_day=lines, now="2024-02-01T00:00:00Z") as source:
        runs = [
            backfill(
                source, bench.scratch / f"day_{lines}_{number}", "shop/order_lines", LARGE_DAY, LARGE_DAY
            )
            for number in range(bench.runs)
        ]
    return _loading(f"day_of_{lines}", f"One generated day of {lines:,} order lines", runs)


def day_into_large_tables(bench: Bench) -> list[Result]:
    """Load a day into a small and into a large table; a hundred million rows take minutes to make, and 3 GB."""
    paths = {
        rows: bench.scratch / f"table_of_{rows}" / "warehouse.duckdb"
        for rows in dict.fromkeys(bench.table_rows)
    }
    for rows, path in paths.items():
        large_tables.build(path, rows)
    few, many = bench.table_rows
    against = f"into {many:,} rows against {few:,}"
    results = []
    for loading in large_tables.LOADINGS:
        took = large_tables.compare_commits(paths, loading, bench.runs)
        small, large = took[few], took[many]
        figures = {
            **_compared("commit", small.commit, large.commit),
            **_compared("commit_cpu", small.commit_cpu, large.commit_cpu),
            **_compared("session", small.session, large.session),
        }
        results.append(
            Result(f"large_{loading.name}", f"{loading.what}, {against}, by {loading.write}", figures)
        )
    marts = large_tables.compare_marts(paths, bench.runs)
    what = f"A day of the mart daily_sales, out of {many:,} rows against {few:,}"
    results.append(Result("large_mart", what, _compared("whole", marts[few], marts[many])))
    generated = [LARGE_DAY + timedelta(days=number) for number in range(bench.runs)]
    per_day = large_tables.ROWS_PER_DAY
    with spawn_source(lines_per_day=per_day, now="2024-02-01T00:00:00Z") as source:
        for stream in LARGE_STREAMS:
            loads = large_tables.compare_loads(paths, source, stream, generated)
            what = (
                f"A day of {stream} ({per_day:,} lines), from the source to the closed warehouse, {against}"
            )
            results.append(Result(f"large_load_{stream}", what, _compared("whole", loads[few], loads[many])))
    all_days = (bench.days.first + timedelta(days=number) for number in range(bench.days.count))
    # The real shop is closed on Saturdays.
    days = [day for day in all_days if day.weekday() != SATURDAY][: bench.runs]
    with served(bench.days) as source:
        for stream in LARGE_STREAMS:
            walls = {
                rows: median(backfill(source, path.parent, stream, day, day).wall for day in days)
                for rows, path in paths.items()
            }
            what = f"The whole command for a day of {stream}, {against}"
            results.append(
                Result(f"large_command_{stream}", what, _compared("whole", walls[few], walls[many]))
            )
    return results


def _compared(name: str, small: float, large: float) -> dict[str, float]:
    return {f"small_{name}": small, f"large_{name}": large, f"{name}_to_small": large / small}


def _loading(name: str, what: str, runs: list[Measurement]) -> Result:
    rows = rows_of(runs[-1])
    figures: dict[str, Any] = {**medians(runs), **rows}
    figures["rows_per_second"] = rows["extracted"] / figures["wall_seconds"]
    return Result(name, what, figures, [run.wall for run in runs])


CASES: dict[str, Case] = {
    "order-lines": year_of_order_lines,
    "quality": share_of_quality,
    "orders": year_of_orders,
    "one-day": one_day,
    "imports": imports,
    "large-day": large_day,
    "large-tables": day_into_large_tables,
}
ONLY_BY_NAME = frozenset({"large-tables"})
"""Cases that are measured only when they are asked for, because they take long."""
