"""One more day into tables of some sizes, against the smallest.

What belongs here: what is compared and how that is told. What does not: the tables and the loads
(`benchmarks.large_tables`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from statistics import median

from benchmarks import large_tables
from benchmarks.bench import Bench, Result, ratio_name
from benchmarks.cases.spans import LARGE_DAY
from benchmarks.large_source import NOW
from benchmarks.workload import backfill, open_days, served
from etl_assets.demo.server import spawn_source

STREAMS = ("shop/order_lines", "shop/orders")


def day_into_large_tables(bench: Bench) -> list[Result]:
    """Load a day into tables of each size; a hundred million rows take minutes to make, and 3 GB."""
    paths = {
        rows: bench.scratch / f"table_of_{rows}" / "warehouse.duckdb"
        for rows in sorted(set(bench.table_rows))
    }
    for rows, path in paths.items():
        large_tables.build(path, rows)
    results = []
    for way in large_tables.LOADINGS:
        took = large_tables.compare_commits(paths, way, bench.runs)
        figures: dict[str, float] = {}
        for part in ("commit", "commit_cpu", "session"):
            figures |= compared(part, {rows: getattr(each, part) for rows, each in took.items()})
        results.append(Result(f"large_{way.name}", f"{way.what}, by {way.write}", figures))
    marts = compared("whole", large_tables.compare_marts(paths, bench.runs))
    results.append(Result("large_mart", "A day of the mart daily_sales", marts))
    generated = [LARGE_DAY + timedelta(days=number) for number in range(bench.runs)]
    per_day = large_tables.ROWS_PER_DAY
    with spawn_source(lines_per_day=per_day, now=NOW) as source:
        for stream in STREAMS:
            loads = large_tables.compare_loads(paths, source, stream, generated)
            what = f"A day of {stream} ({per_day:,} lines), from the source to the closed warehouse"
            results.append(Result(f"large_load_{stream}", what, compared("whole", loads)))
    days = open_days(bench.days, bench.runs)
    with served(bench.days) as source:
        for stream in STREAMS:
            walls: dict[int, list[float]] = {rows: [] for rows in paths}
            for day in days:
                for rows, path in paths.items():
                    walls[rows].append(backfill(source, path.parent, stream, day, day).wall)
            whole = compared("whole", {rows: median(taken) for rows, taken in walls.items()})
            results.append(
                Result(f"large_command_{stream}", f"The whole command for a day of {stream}", whole)
            )
    return results


def compared(part: str, seconds: Mapping[int, float]) -> dict[str, float]:
    """Give the figures of one part, by rows of the table, and the largest table's as a ratio to the smallest's."""
    times = {ratio_name(part, list(seconds)): seconds[max(seconds)] / seconds[min(seconds)]}
    return {f"{part}_at_{rows}": taken for rows, taken in seconds.items()} | times
