"""`append`: the union of what the days brought; a mended load takes back what its day brought before."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from etl_assets.outcomes import Counts
from etl_assets.streams.base import Field
from etl_assets_tests.warehouse.feeds import CLICKS, Clicks, click
from etl_assets_tests.warehouse.histories.model import Model, TableRow, noted, widened
from etl_assets_tests.warehouse.samples import Row, at


class NotedClicks(Clicks):
    """Clicks with a note."""

    note: str = Field(missing="allow")


class Appended(Model):
    """Rows by the day that brought them."""

    stream = CLICKS
    wide = widened(CLICKS, NotedClicks)
    columns = "page, seconds, clicked_at, note, extra, _partition"
    business_date = 2

    def __init__(self) -> None:
        self.brought: dict[int, set[TableRow]] = {}

    def rows(self, number: int) -> st.SearchStrategy[list[Row]]:
        """See `Model`: any time, as if windows overlapped by days."""
        clicks = st.builds(
            click,
            page=st.sampled_from([None, "", "a", "b"]),
            clicked_at=st.integers(0, 5).map(lambda hours: at(0, hours * 12)),
            seconds=st.sampled_from([None, 0.0, 1.5]),
        )
        return st.lists(noted(clicks), max_size=6)

    def load(self, number: int, rows: Sequence[Row], *, restates: bool) -> Counts:
        """See `Model`."""
        before = set(self.table())
        brought = {(*row.values(), row["clicked_at"].date()) for row in rows}
        earlier = set() if restates else self.brought.get(number, set())
        self.brought[number] = brought | earlier
        return Counts(
            loaded=len(brought - before),
            unchanged=len(brought & before),
            deduplicated=len(rows) - len(brought),
            removed=len(before - set(self.table())),
        )

    def table(self) -> list[TableRow]:
        """See `Model`."""
        return list(set().union(*self.brought.values()))
