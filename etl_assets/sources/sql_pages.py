"""A page of a SQL database: what one query fetched, and how it becomes JSON.

What belongs here: what every way of running a statement has in common. What does not: running it
(`etl_assets.sources.sql`, `etl_assets.sources.sql_adbc`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import orjson
import sqlalchemy as sa

from etl_assets.sources.sql_statements import Statement

ROWS_AT_ONCE = 500
"""Rows and records that are held at once. Fewer than the garbage collector lets be made before it looks at them: when
a page of 10,000 was held, collecting took as long as all the rest."""

_TIMES_IN_UTC = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z

Key = tuple[Any, ...]
"""Values of the key's columns in one row, as the driver gives them."""


class Fetched(NamedTuple):
    """The rows of a page and, where there are more, the one after it.

    Attributes:
        columns: Values of each column, as orjson can hold them; a time is in UTC.
        keys: Key of each row.
    """

    columns: Sequence[Sequence[Any]]
    keys: Sequence[Key]

    def repeats_a_key(self, last: Key | None) -> bool:
        """Tell whether a row has the key of the row before it; the first row is compared with the last page's."""
        before = self.keys if last is None else [last, *self.keys]
        after = self.keys[1:] if last is None else self.keys
        return any(key == next_key for key, next_key in zip(before, after, strict=False))

    def body(self, names: Sequence[str], rows: int) -> bytes:
        """Write the first rows as a JSON array of objects.

        Args:
            names: Names of the columns.
            rows: How many, at most.
        """
        remaining = islice(zip(*self.columns, strict=True), rows)
        parts = []
        while records := [dict(zip(names, row, strict=True)) for row in islice(remaining, ROWS_AT_ONCE)]:
            parts.append(orjson.dumps(records, option=_TIMES_IN_UTC)[1:-1])
        return b"[" + b",".join(parts) + b"]"


class SqlSession(Protocol):
    """One read-only transaction, in which all of a day's statements see the same state."""

    def has_rows(self, statement: sa.Select[Any]) -> bool:
        """Tell whether a statement gives any row."""
        ...

    def fetch(self, statement: Statement, last: Key | None) -> Fetched:
        """Read the rows after a key, one more than a page holds.

        Args:
            statement: What is read.
            last: Key of the last row that was read; None before the first.
        """
        ...
