"""The cases: what is measured, each a function that gives results.

What belongs here: the table of them. What does not: how a process is measured, how results are written.
"""

from __future__ import annotations

from benchmarks.bench import Case
from benchmarks.cases.daemon import through_the_daemon
from benchmarks.cases.large_tables import day_into_large_tables
from benchmarks.cases.processes import four_processes
from benchmarks.cases.spans import large_days, month_and_year, one_day
from benchmarks.cases.start_up import imports, status_and_ticks
from benchmarks.cases.year import share_of_quality, year_of_order_lines, year_of_orders, year_of_the_shop

CASES: dict[str, Case] = {
    "order-lines": year_of_order_lines,
    "quality": share_of_quality,
    "orders": year_of_orders,
    "shop": year_of_the_shop,
    "daemon": through_the_daemon,
    "processes": four_processes,
    "month-and-year": month_and_year,
    "one-day": one_day,
    "large-day": large_days,
    "imports": imports,
    "status": status_and_ticks,
    "large-tables": day_into_large_tables,
}
ONLY_BY_NAME = frozenset({"large-tables"})
"""Cases that are measured only when they are asked for, because they take long."""
