"""What the project has set itself, and whether the figures of a measurement reach it.

What belongs here: each target with the figure that decides it. What does not: measuring.
Nothing fails by a target missed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, le

from benchmarks.bench import TABLE_ROWS, Result, ratio_name

MIB = 2**20
SHOWN_APART = frozenset({"large_load_shop/order_lines", "large_load_shop/orders"})


@dataclass(frozen=True, slots=True)
class Target:
    """One of them.

    Attributes:
        what: In words, with the bound.
        case: The result that holds the figure.
        figure: Its name there.
        bound: What it is held against.
        holds: Whether a figure and the bound are as they should be.
        unit: What stands after the figure.
    """

    what: str
    case: str
    figure: str
    bound: float
    holds: Callable[[float, float], bool] = le
    unit: str = ""


TARGETS = (
    Target("A year of order lines in a third of dlt's time", "order_lines_dlt", "ours_to_dlt", 1 / 3),
    Target(
        "Greatest resident memory of one process in it below 500 MB",
        "order_lines",
        "peak_mib",
        500e6 / MIB,
        unit=" MiB",
    ),
    Target(
        "Memory of all its processes together below 500 MB",
        "order_lines",
        "all_mib",
        500e6 / MIB,
        unit=" MiB",
    ),
    Target(
        "A day of it 100 times faster than one of plain Dagster's runs",
        "plain_dagster_day",
        "plain_dagster_to_ours",
        100,
        ge,
    ),
    Target(
        "Again, nothing changed, in half the time of the first",
        "order_lines_again",
        "share_of_first_load",
        0.5,
    ),
    Target("Through daemon and UI at most 15 s more", "daemon", "more_seconds", 15, unit=" s"),
    Target("365 days in 1.2 times 12 times 30 days", "days_365", "time_to_parts", 1.2),
    Target("A day of 5 million rows below 1 GiB", "day_of_5000000", "peak_mib", 1024, unit=" MiB"),
    Target(
        "4 processes 1.5 times as fast as one, at 50 ms latency",
        "four_processes",
        "throughput_to_one",
        1.5,
        ge,
    ),
    Target("`etl-assets status` in a second", "status", "status_seconds", 1, unit=" s"),
    Target(
        "A day of order lines into 100 million rows in 1.5 times of into 1 million",
        "large_load_shop/order_lines",
        ratio_name("whole", TABLE_ROWS),
        1.5,
    ),
    Target(
        "A day of orders into 100 million rows in 1.5 times of into 1 million",
        "large_load_shop/orders",
        ratio_name("whole", TABLE_ROWS),
        1.5,
    ),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside its figure; None where that was not measured."""

    target: Target
    figure: float | None

    @property
    def rounded(self) -> float | None:
        """The figure as it is written down."""
        return None if self.figure is None else round(self.figure, 4)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached."""
        return None if self.figure is None else self.target.holds(self.figure, self.target.bound)

    @property
    def told(self) -> str:
        """The figure and the verdict, as a table shows them."""
        if self.figure is None:
            apart = self.target.case in SHOWN_APART
            return "measured apart: [large_tables.md](large_tables.md) |" if apart else "not measured |"
        digits = 0 if self.figure >= 100 else 1 if self.figure >= 10 else 2
        return f"{self.figure:,.{digits}f}{self.target.unit} | {'met' if self.is_met else 'not met'}"


def judge(results: Sequence[Result]) -> list[Verdict]:
    """Hold the figures of results against the targets; those of other cases are left out unless most were measured."""
    figures: Mapping[str, Mapping[str, float]] = {result.name: result.figures for result in results}
    verdicts = [Verdict(target, figures.get(target.case, {}).get(target.figure)) for target in TARGETS]
    measured = [verdict for verdict in verdicts if verdict.figure is not None]
    return verdicts if len(measured) > len(verdicts) / 2 else measured
