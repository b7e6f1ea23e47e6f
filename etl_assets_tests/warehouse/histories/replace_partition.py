"""`replace_partition`: each day holds the rows that it was given last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st

from etl_assets.outcomes import Counts
from etl_assets.streams.base import Field
from etl_assets_tests.warehouse.histories.model import Model, TableRow, noted, widened
from etl_assets_tests.warehouse.samples import LINES, Lines, Row, at, day, line


class NotedLines(Lines):
    """Lines with a note."""

    note: str = Field(missing="allow")


def _line(number: int, name: str, amount: str, days_ago: int) -> Row:
    return line(number, name, amount, invoiced_at=at(number, 9) - timedelta(days=days_ago))


class Replaced(Model):
    """Rows by day; equal ones may repeat."""

    stream = LINES
    wide = widened(LINES, NotedLines)
    columns = (
        "line_id, invoice_no, quantity, amount, invoiced_at, customer_id, is_cancellation, "
        "note, extra, _partition"
    )
    business_date = 4

    def __init__(self) -> None:
        self.days: dict[int, list[TableRow]] = {}

    def rows(self, number: int) -> st.SearchStrategy[list[Row]]:
        """See `Model`: some were invoiced the day before."""
        lines = st.builds(
            _line,
            number=st.just(number),
            name=st.sampled_from(["a", "b", "c"]),
            amount=st.sampled_from(["0.000", "1.500"]),
            days_ago=st.integers(0, 1),
        )
        return st.lists(noted(lines), max_size=5)

    def load(self, number: int, rows: Sequence[Row], *, restates: bool) -> Counts:
        """See `Model`."""
        given = [(*row.values(), day(number)) for row in rows]
        same = Counter(given) == Counter(self.days.get(number, []))
        self.days[number] = given
        return Counts(unchanged=len(given)) if same else Counts(loaded=len(given))

    def table(self) -> list[TableRow]:
        """See `Model`."""
        return [row for rows in self.days.values() for row in rows]
