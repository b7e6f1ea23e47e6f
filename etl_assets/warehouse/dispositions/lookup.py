"""Finding the rows of a day's keys in a table of any size, without reading all of it.

DuckDB keeps the least and the greatest value of each stretch of a column and skips stretches that cannot match. From a
join it derives what to look for: all the keys when they are few, else only their range. A day's keys are mostly near
each other, new ones and those of recent rows; but one old key among them widens the range to the whole table. So the
outermost keys are looked up apart, one by one, and those in between by their range.

What belongs here: that. What does not: what is done with the rows.
"""

from __future__ import annotations

from itertools import pairwise

from etl_assets.warehouse.dispositions.base import Load
from etl_assets.warehouse.tuning import KEYS_LOOKED_UP_ONE_BY_ONE

FOUND = "_etl_found"
_KEYS = "_etl_keys"

_LOWEST, _HIGHEST = KEYS_LOOKED_UP_ONE_BY_ONE, KEYS_LOOKED_UP_ONE_BY_ONE // 4
"""Keys that are looked up apart: keys mostly grow with time, so that old ones are among the lowest."""

_MANY = 100_000
"""Keys of which none are looked up apart: they are most likely all over the table."""


def find_rows(load: Load, wanted: str, key: tuple[str, ...]) -> int:
    """Put the table's rows that have one of some keys into the table `FOUND`, and count them.

    It has the table's columns and `_row`, by which the rows can be deleted later in the transaction.

    Args:
        load: The load.
        wanted: A table that has each key once.
        key: The key's columns, as SQL.
    """
    keys = ", ".join(key)
    count = int(
        load.one(
            f"CREATE OR REPLACE TEMP TABLE {_KEYS} AS SELECT {keys}, "
            f"row_number() OVER (ORDER BY {key[0]}) - 1 AS _place FROM {wanted}"
        )[0]
    )
    columns = ", ".join(f"old.{column.quoted}" for column in load.layout.all_columns)
    same = " AND ".join(f"old.{name} = wanted.{name}" for name in key)
    parts = " UNION ALL ".join(
        f"SELECT old.rowid AS _row, {columns} FROM {load.layout.name} AS old JOIN "
        f"(SELECT {keys} FROM {_KEYS} WHERE _place >= {start} AND _place < {end}) AS wanted ON {same}"
        for start, end in _stretches(count)
    )
    found = load.one(f"CREATE OR REPLACE TEMP TABLE {FOUND} AS {parts}")
    load.drop(_KEYS)
    return int(found[0])


def _stretches(count: int) -> list[tuple[int, int]]:
    """Cut the places of ordered keys into stretches that are looked up apart."""
    if count > _MANY:
        return [(0, count)]
    lowest = min(_LOWEST, count)
    ordered = sorted({0, lowest, max(lowest, count - _HIGHEST), count})
    return list(pairwise(ordered)) or [(0, 0)]
