"""What a model is: a table as plain Python values, and what a load of a day makes of it.

What belongs here: the base of all models, and widening a stream's contract. What does not: any one disposition, and
the histories themselves (`machine`).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from hypothesis import strategies as st

from etl_assets.outcomes import Counts
from etl_assets.streams.base import Children, Contract, Field, Stream
from etl_assets_tests.warehouse.samples import Row

DAYS = st.integers(0, 3)
NOTES = st.sampled_from([None, "", "n"])
EXTRAS = st.sampled_from([None, None, 1, 2, 10, 0.5, 2.0, True, "9", "x"])
TableRow = tuple[Any, ...]


def widened(stream: Stream, contract: type[Contract]) -> Stream:
    """Give a stream whose contract has one column more, `note`."""
    return replace(stream, contract=contract)


class Parts(Contract):
    """A list within each row."""

    part: str = Field()
    place: int = Field(missing="allow")


def with_parts(stream: Stream) -> Stream:
    """Give a stream a child table."""
    return replace(stream, children=(Children(name="parts", contract=Parts),))


def parts_of(row: Row, names: Sequence[str]) -> str | None:
    """Give a row's list, which follows from its own values: two versions that are equal have equal lists."""
    text = repr([row[name] for name in names])
    parts = [{"part": text, "place": place} for place in range(len(text) % 3)]
    return json.dumps({"parts": parts}) if parts else None


def noted(rows: st.SearchStrategy[Row]) -> st.SearchStrategy[Row]:
    """Add to rows a note, which a stream that is not wide yet does not read, and a field that no contract knows."""
    return st.builds(lambda row, note, extra: row | {"note": note, "extra": extra}, rows, NOTES, EXTRAS)


class Model(ABC):
    """A stream's table, worked out without a database.

    Attributes:
        stream: The stream under its first contract.
        wide: The stream after a column was added.
        columns: What is compared of the table, as SQL; the contract's columns, `note`, `extra` as text, and what else
            follows from the loads alone.
        business_date: Position of the business date among them.
    """

    stream: Stream
    wide: Stream
    columns: str
    business_date: int

    @abstractmethod
    def rows(self, number: int) -> st.SearchStrategy[list[Row]]:
        """Give what the source may send for a day."""

    @abstractmethod
    def load(self, number: int, rows: Sequence[Row], *, restates: bool) -> Counts:
        """Change the model as the load of a day ought to change the table, and count.

        Args:
            number: The day.
            rows: Its good rows, each with a `note` and an `extra`, which is text or missing.
            restates: Whether the day was loaded before by another contract or transform.
        """

    @abstractmethod
    def table(self) -> list[TableRow]:
        """Give the table's rows."""

    def accounts(self) -> dict[str, list[TableRow]]:
        """Give what is to be found beside the table, by the query that finds it."""
        return {}

    def touched(self, before: Sequence[TableRow], after: Sequence[TableRow]) -> set[date]:
        """Give the business dates whose rows differ."""
        counted = [sorted(map(repr, rows)) for rows in (before, after)]
        changed = [
            row
            for rows, other in zip((before, after), reversed(counted), strict=True)
            for row in rows
            if sum(row == same for same in rows) != other.count(repr(row))
        ]
        return {day_of(row[self.business_date]) for row in changed}


def day_of(moment: Any) -> date:
    """Give the day of a date or a moment."""
    found: date = moment.date() if hasattr(moment, "date") else moment
    return found
