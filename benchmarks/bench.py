"""What every case is given, and what it gives back.

What belongs here: the two, and figures made of measurements. What does not: the cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import BenchmarkError, Measurement, medians
from benchmarks.peers.environment import Peers, rows_of_dlt
from benchmarks.workload import Days, rows_of

TABLE_ROWS = (1_000_000, 10_000_000, 100_000_000)


@dataclass(frozen=True, slots=True)
class Result:
    """What a case found.

    Attributes:
        name: The case.
        what: One sentence on what was measured.
        figures: The figures by name: medians over the runs, sizes and ratios.
        walls: Seconds of each run, for judging how steady they are.
        compared: What a reader should know beside the figures, above all ratios.
    """

    name: str
    what: str
    figures: dict[str, float]
    walls: list[float] = field(default_factory=list)
    compared: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every case is given.

    Attributes:
        days: The days to load.
        scratch: A folder for warehouses, emptied afterwards.
        runs: How often each thing is measured.
        quick: Whether to take smaller sizes.
        peers: Those that are compared with; None where they are not installed.
        table_rows: Rows of the tables of the case `large-tables`.
    """

    days: Days
    scratch: Path
    runs: int
    quick: bool
    peers: Peers | None = None
    table_rows: tuple[int, ...] = TABLE_ROWS


Case = Callable[[Bench], list[Result]]


def ratio_name(part: str, sizes: Sequence[int]) -> str:
    """Name the figure that holds the largest against the smallest."""
    return f"{part}_{max(sizes)}_to_{min(sizes)}"


def loading(name: str, what: str, runs: Sequence[Measurement], compared: str = "") -> Result:
    """Give the result of loads that printed a backfill's JSON."""
    return loading_of(name, what, runs, rows_of(runs[-1]), compared)


def beside_dlt(name: str, what: str, load: Result, runs: Sequence[Measurement]) -> Result:
    """Give the result of loads by dlt, beside ours of the same days.

    Raises:
        BenchmarkError: If dlt did not load as many rows.
    """
    rows = rows_of_dlt(runs[-1])
    if rows != load.figures["extracted"]:
        raise BenchmarkError(f"dlt loaded {rows:,} rows of {load.figures['extracted']:,.0f}")
    share = load.figures["wall_seconds"] / medians(runs)["wall_seconds"]
    result = loading_of(name, what, runs, {"extracted": rows}, f"etl_assets takes {share:.2f} of dlt's time")
    result.figures["ours_to_dlt"] = share
    return result


def loading_of(
    name: str, what: str, runs: Sequence[Measurement], rows: dict[str, int], compared: str = ""
) -> Result:
    """Give the result of loads of so many rows, at least `extracted`."""
    figures: dict[str, float] = {**medians(runs), **rows}
    figures["rows_per_second"] = rows["extracted"] / figures["wall_seconds"]
    return Result(name, what, figures, [run.wall for run in runs], compared)
