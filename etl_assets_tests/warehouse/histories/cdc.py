"""`cdc`: of each key the newest change, and the newest one that brought values.

Worked out from all changes that were ever given. A mended load's changes take the place of those of the same key,
number and kind (delete or not). A key whose newest change is another key's by the mended load is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from hypothesis import strategies as st

from etl_assets.outcomes import Counts
from etl_assets.streams.base import Field
from etl_assets_tests.warehouse.feeds import OPEN_GAPS, Products, change, products
from etl_assets_tests.warehouse.histories.model import Model, TableRow, noted, widened
from etl_assets_tests.warehouse.samples import Row, at

TOMBSTONES = "SELECT key_json, sequence, deleted_at, partition FROM etl.tombstones"


class NotedProducts(Products):
    """Products with a note."""

    note: str = Field(missing="allow")


class Changed(Model):
    """All changes, by key.

    Args:
        delete: What becomes of deleted rows.
    """

    business_date = 2

    def __init__(self, delete: Literal["soft", "hard"]) -> None:
        self.stream = products(delete)
        self.wide = widened(self.stream, NotedProducts)
        marks = "_deleted_at, _values_sequence" if delete == "soft" else "NULL, NULL"
        self.columns = f"lsn, op, changed_at, product_id, price, name, note, extra, _partition, {marks}"
        self._soft = delete == "soft"
        self._changes: dict[str, list[Row]] = {}
        self._numbers: set[int] = set()

    def rows(self, number: int) -> st.SearchStrategy[list[Row]]:
        """See `Model`: late, repeated, and numbered alike."""
        changes = st.builds(
            change,
            lsn=st.integers(1, 12),
            op=st.sampled_from(["I", "U", "D", "D"]),
            changed_at=st.integers(0, 3).map(lambda hours: at(0, hours * 12)),
            product_id=st.sampled_from("ab"),
            price=st.sampled_from([None, 1.0, -2.0]),
            name=st.sampled_from([None, "", "x"]),
        )
        return st.lists(noted(changes), max_size=5)

    def load(self, number: int, rows: Sequence[Row], *, restates: bool) -> Counts:
        """See `Model`."""
        strays = self._strays(rows) if restates else []
        gone = [key for key in strays if self._ends()[key]["op"] != "D"]
        for key in strays:
            self._changes[key] = []
        before = self._ends()
        if restates:
            self._forget({_same(row) for row in rows})
        for row in rows:
            self._changes.setdefault(row["product_id"], []).append(row)
            self._numbers.add(row["lsn"])
        after = self._ends()
        keys = {row["product_id"] for row in rows}
        changed = [key for key in keys if before.get(key) != after[key]]
        dead = [key for key in changed if key in before and before[key]["op"] != "D" == after[key]["op"]]
        return Counts(
            loaded=len(changed),
            updated=len([key for key in changed if key in before]),
            unchanged=len(keys) - len(changed),
            deduplicated=len(rows) - len(keys),
            removed=len(dead) + len(gone),
        )

    def table(self) -> list[TableRow]:
        """See `Model`."""
        return [_as_table_row(row) for row in self._ends().values() if self._soft or row["op"] != "D"]

    def accounts(self) -> dict[str, list[TableRow]]:
        """See `Model`: tombstones, and numbers that are missing."""
        dead = [] if self._soft else [row for row in self._ends().values() if row["op"] == "D"]
        tombstones = [
            (
                f'{{"product_id":"{row["product_id"]}"}}',
                row["lsn"],
                row["changed_at"],
                row["changed_at"].date(),
            )
            for row in dead
        ]
        gaps = [(low, high) for low, high in pairwise(sorted(self._numbers)) if high > low + 1]
        return {TOMBSTONES: tombstones, OPEN_GAPS: gaps}

    def _strays(self, rows: Sequence[Row]) -> list[str]:
        now = {(row["product_id"], row["lsn"]) for row in rows}
        numbers = {number for _, number in now}
        return [
            key for key, row in self._ends().items() if row["lsn"] in numbers and (key, row["lsn"]) not in now
        ]

    def _forget(self, restated: set[TableRow]) -> None:
        for key, rows in self._changes.items():
            self._changes[key] = [row for row in rows if _same(row) not in restated]

    def _ends(self) -> dict[str, Row]:
        ends = {key: _end_of(rows) for key, rows in self._changes.items() if rows}
        if self._soft:
            return ends
        # Of a row that left the table nothing is kept but when it did.
        kept = ("lsn", "op", "changed_at", "product_id")
        return {
            key: {name: row[name] for name in kept} if row["op"] == "D" else row for key, row in ends.items()
        }


def _same(row: Row) -> TableRow:
    return row["product_id"], row["lsn"], row["op"] == "D"


def _values(row: Row) -> tuple[Any, ...]:
    """The values in their order: a missing one is the least."""
    price = row["price"]
    texts = (part for name in ("name", "note", "extra") for part in (row[name] is not None, row[name] or ""))
    return price is not None, price or 0.0, *texts


def _newest_with_values(rows: Iterable[Row]) -> Row | None:
    valued = [row for row in rows if row["op"] != "D"]
    return max(valued, key=lambda row: (row["lsn"], _values(row), row["changed_at"], row["op"]), default=None)


def _end_of(rows: list[Row]) -> Row:
    """What a key's changes amount to: its newest change, with the newest values."""
    newest = max(row["lsn"] for row in rows)
    deletes = [row for row in rows if row["lsn"] == newest and row["op"] == "D"]
    valued = _newest_with_values(rows)
    if not deletes:
        assert valued is not None
        return valued
    delete = max(deletes, key=lambda row: (row["changed_at"], _values(row)))
    if valued is None:
        return delete
    return (
        delete
        | {name: valued[name] for name in ("price", "name", "note", "extra")}
        | {"values_from": valued["lsn"]}
    )


def _as_table_row(row: Row) -> TableRow:
    names = ("lsn", "op", "changed_at", "product_id", "price", "name", "note", "extra")
    deleted_at = row["changed_at"] if row["op"] == "D" else None
    return *(row[name] for name in names), row["changed_at"].date(), deleted_at, row.get("values_from")
