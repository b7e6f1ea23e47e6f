"""The README's table of figures, taken over from a measurement of all cases.

What belongs here: which rows a reader wants, and where they stand. What does not: the rows (`report`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.bench import Result
from benchmarks.measure import BenchmarkError
from benchmarks.report import load_table

SHOWN = (
    "order_lines",
    "order_lines_dlt",
    "order_lines_again",
    "order_lines_unchecked",
    "plain_dagster_day",
    "shop",
    "one_day",
    "one_day_dlt",
    "day_of_5000000",
)
"""Cases in the order of the README's table; a case that was not measured is left out."""

_TABLE = re.compile(r"(?<=\n\n)(?:\|[^\n]*\n)+")


def with_figures(readme: str, results: Sequence[Result]) -> str:
    """Give the README with the figures of some results in the table of its section on speed.

    Args:
        readme: The text.
        results: Of all cases.

    Raises:
        BenchmarkError: If the section, or its table, is not there.
    """
    before, heading, rest = readme.partition("\n## Speed\n")
    section, following, after = rest.partition("\n## ")
    by_name = {result.name: result for result in results}
    table = load_table([by_name[name] for name in SHOWN if name in by_name])
    changed, count = _TABLE.subn(lambda found: "\n".join(table) + "\n", section, count=1)
    if not count:
        raise BenchmarkError("the README has no table in a section Speed")
    return f"{before}{heading}{changed}{following}{after}"
