"""`merge`: the greatest version of each key; a mended load restates the versions that it brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from etl_assets.outcomes import Counts
from etl_assets.streams.base import Field
from etl_assets_tests.warehouse.histories.model import Model, TableRow, noted, widened
from etl_assets_tests.warehouse.samples import ORDERS, Orders, Row, at, day, order


class NotedOrders(Orders):
    """Orders with a note."""

    note: str = Field(missing="allow")


def _rank(row: Row) -> tuple[Any, ...]:
    """The order of versions of one key: by version, then by the columns in order, missing values least."""
    status, note, extra = row["status"], row["note"], row["extra"]
    return (
        row["updated_at"],
        (status is not None, status or ""),
        row["total"],
        row["created_on"],
        (note is not None, note or ""),
        (extra is not None, extra or ""),
    )


class Merged(Model):
    """Rows by key."""

    stream = ORDERS
    wide = widened(ORDERS, NotedOrders)
    columns = "order_id, status, total, created_on, updated_at, note, extra, _partition"
    business_date = 3

    def __init__(self) -> None:
        self.newest: dict[str, Row] = {}

    def rows(self, number: int) -> st.SearchStrategy[list[Row]]:
        """See `Model`: late, repeated, and numbered alike."""
        orders = st.builds(
            order,
            order_id=st.sampled_from("abcd"),
            updated_at=st.integers(0, 5).map(lambda hours: at(0, hours * 12)),
            created_on=st.integers(0, 2).map(day),
            status=st.sampled_from([None, "", "pending", "done"]),
            total=st.sampled_from([0.0, 1.0, -2.5]),
        )
        return st.lists(noted(orders), max_size=6)

    def load(self, number: int, rows: Sequence[Row], *, restates: bool) -> Counts:
        """See `Model`."""
        given: dict[str, Row] = {}
        for row in sorted(rows, key=_rank):
            given[row["order_id"]] = row
        new = [key for key in given if key not in self.newest]
        updated = [key for key in given if key in self.newest and self._wins(given[key], restates)]
        self.newest |= {key: given[key] for key in (*new, *updated)}
        changed = len(new) + len(updated)
        return Counts(
            loaded=changed,
            updated=len(updated),
            unchanged=len(given) - changed,
            deduplicated=len(rows) - len(given),
        )

    def _wins(self, row: Row, restates: bool) -> bool:
        known = self.newest[row["order_id"]]
        if restates and row["updated_at"] == known["updated_at"]:
            return row != known
        return _rank(row) > _rank(known)

    def table(self) -> list[TableRow]:
        """See `Model`."""
        return [(*_columns(row), row["updated_at"].date()) for row in self.newest.values()]


def _columns(row: Row) -> TableRow:
    names = ("order_id", "status", "total", "created_on", "updated_at", "note", "extra")
    return tuple(row[name] for name in names)
