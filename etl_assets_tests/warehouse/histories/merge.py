"""`merge`: the greatest version of each key; a mended load takes back what its day brought before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


SUPERSEDED = "SELECT order_id, status, total, created_on, updated_at, note, extra, {} FROM _shop.orders"
BROUGHT_BY = "SELECT order_id, {} FROM shop.orders"


@dataclass(frozen=True)
class _Version:
    """A version of a key, and the days that brought it."""

    row: Row
    days: frozenset[int]


class Merged(Model):
    """Versions by key and version; a mended load takes back what its day brought before."""

    stream = ORDERS
    wide = widened(ORDERS, NotedOrders)
    columns = "order_id, status, total, created_on, updated_at, note, extra, _partition"
    business_date = 3

    def __init__(self) -> None:
        self.known: dict[tuple[str, Any], _Version] = {}
        self._has_account = False

    def rows(self, number: int) -> st.SearchStrategy[list[Row]]:
        """See `Model`: late, repeated, numbered alike, and under any key, as if a mended transform made others."""
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
        before = self._newest()
        given = {row["order_id"]: row for row in sorted(rows, key=_rank)}
        if restates:
            taken_back = {
                name: (version.row, version.days - {number}) for name, version in self.known.items()
            }
            self.known = {name: _Version(row, days) for name, (row, days) in taken_back.items() if days}
        for key, row in given.items():
            version = self.known.get((key, row["updated_at"]), _Version(row, frozenset()))
            stays = row if restates else max(row, version.row, key=_rank)
            self.known[key, row["updated_at"]] = _Version(stays, version.days | {number})
        after = self._newest()
        self._has_account = self._has_account or restates or len(after) < len(self.known)
        changed = [key for key, row in given.items() if before.get(key) != after[key] == row]
        return Counts(
            loaded=len(changed),
            updated=len([key for key in changed if key in before]),
            unchanged=len(given) - len(changed),
            deduplicated=len(rows) - len(given),
            removed=len(before.keys() - after.keys()),
        )

    def table(self) -> list[TableRow]:
        """See `Model`."""
        return [(*_columns(row), row["updated_at"].date()) for row in self._newest().values()]

    def accounts(self) -> dict[str, list[TableRow]]:
        """See `Model`: which days brought a row, and the versions that do not show."""
        shown = {(key, row["updated_at"]) for key, row in self._newest().items()}
        own = "CAST(coalesce(_brought_by, [_partition]) AS VARCHAR)"
        brought = [(key, _as_text(self.known[key, version].days)) for key, version in shown]
        hidden = [
            (*_columns(version.row), _as_text(version.days))
            for name, version in self.known.items()
            if name not in shown
        ]
        account = {SUPERSEDED.format("CAST(_brought_by AS VARCHAR)"): hidden} if self._has_account else {}
        return {BROUGHT_BY.format(own): brought, **account}

    def _newest(self) -> dict[str, Row]:
        return {key: self.known[key, version].row for key, version in sorted(self.known)}


def _as_text(days: Iterable[int]) -> str:
    return f"[{', '.join(str(day(number)) for number in sorted(days))}]"


def _columns(row: Row) -> TableRow:
    names = ("order_id", "status", "total", "created_on", "updated_at", "note", "extra")
    return tuple(row[name] for name in names)
