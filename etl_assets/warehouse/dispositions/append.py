"""`append`: rows are added and never changed; a row that the table already has is not added again.

Two rows are the same when all columns of the contract are equal, a missing value being equal to a missing one. A
row's `_partition` comes from the row itself, so that it does not matter which of two overlapping windows brought it,
and only rows of the same `_partition` need to be looked at.

The table is the union of what its days brought. A day that is sent again adds to what it brought before; one that is
loaded again by a mended contract or transform takes it back first, so that a row which no other day brought leaves
the table. Which days brought a row is kept in `_brought_by`, where that is not its own day alone. What belongs here:
that. What does not: keys (`merge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from etl_assets.warehouse.dispositions.base import Ahead, Applied, Load, sorted_dates
from etl_assets.warehouse.dispositions.brought import DAYS, OF_THIS_DAY, objection_to_taking_back
from etl_assets.warehouse.schema import BROUGHT_BY

_DISTINCT = "_etl_distinct"
_ADDED = "_etl_added"
# The bounds are given as values, so that a large table is read no further than its few days.
_WITHIN = "old._partition BETWEEN CAST($first AS DATE) AND CAST($last AS DATE)"


class AppendRows:
    """A load adds the rows that the table does not have yet."""

    def objection(self, load: Load) -> str | None:
        """See `Disposition`: only a mended transform takes rows back, and without rows it would take all."""
        return objection_to_taking_back(load)

    def still_holds(self, load: Load, staged: int) -> bool:
        """See `Disposition`: only its own mended load takes rows back, unless someone emptied the table."""
        return staged == 0 or load.one(f"SELECT EXISTS (SELECT 1 FROM {load.layout.name})")[0] is True

    def look_ahead(self, loads: Sequence[Load], *, bring_in: bool, are_first: bool) -> dict[date, Ahead]:
        """See `Disposition`: nothing."""
        return {}

    def apply(self, load: Load) -> Applied:
        """See `Disposition`."""
        staged = int(load.one(f"SELECT count(*) FROM ({load.staged}) AS staged", load.parameters)[0])
        distinct = int(
            load.one(
                f"CREATE OR REPLACE TEMP TABLE {_DISTINCT} AS "
                f"SELECT DISTINCT *, CAST({load.window_column} AS DATE) AS _day FROM ({load.staged}) AS staged",
                load.parameters,
            )[0]
        )
        added = self._find_added(load)
        removed, dates = self._take_back(load) if load.restates else (0, [])
        if added < distinct:
            self._claim_known(load)
        if added:
            dates += self._touched_dates(load, f"{_ADDED} AS new")
            self._insert(load)
        load.drop(_ADDED, _DISTINCT)
        return Applied(added, 0, distinct - added, staged - distinct, sorted_dates(dates), removed=removed)

    def _find_added(self, load: Load) -> int:
        """Put the rows that the table does not have into a table of their own, and count them."""
        found = load.one(
            f"CREATE OR REPLACE TEMP TABLE {_ADDED} AS SELECT * FROM {_DISTINCT} AS new WHERE NOT EXISTS ("
            f"SELECT 1 FROM {load.layout.name} AS old WHERE {self._equal(load)} AND {_WITHIN})",
            self._bounds(load),
        )
        return int(found[0])

    def _take_back(self, load: Load) -> tuple[int, list[date]]:
        """Take back what the day brought and does not bring now; give rows that left the table, and dates."""
        lost = f"{OF_THIS_DAY} AND NOT EXISTS (SELECT 1 FROM {_DISTINCT} AS new WHERE {self._equal(load)})"
        alone = f"{lost} AND len({DAYS}) = 1"
        table, day = load.layout.name, self._day(load)
        dates = self._touched_dates(load, f"{table} AS old WHERE {alone}", day)
        removed = int(load.one(f"DELETE FROM {table} AS old WHERE {alone}", day)[0])
        load.connection.execute(
            f"UPDATE {table} AS old SET {BROUGHT_BY.quoted} = list_filter({DAYS}, lambda d: d <> CAST($day AS DATE)) "
            f"WHERE {lost}",
            day,
        )
        return removed, dates

    def _claim_known(self, load: Load) -> None:
        """Note that the day, too, brought rows that the table has from others."""
        load.connection.execute(
            f"UPDATE {load.layout.name} AS old SET {BROUGHT_BY.quoted} = list_append({DAYS}, CAST($day AS DATE)) "
            f"FROM {_DISTINCT} AS new WHERE {self._equal(load)} AND {_WITHIN} "
            f"AND NOT list_contains({DAYS}, CAST($day AS DATE))",
            self._bounds(load) | self._day(load),
        )

    def _bounds(self, load: Load) -> dict[str, Any]:
        first, last = load.one(f"SELECT min(_day), max(_day) FROM {_DISTINCT}")
        return {"first": first, "last": last}

    @staticmethod
    def _touched_dates(load: Load, rows: str, parameters: dict[str, Any] | None = None) -> list[date]:
        found = load.one(f"SELECT list(DISTINCT CAST({load.business_date} AS DATE)) FROM {rows}", parameters)
        return list(found[0] or ())

    def _insert(self, load: Load) -> None:
        columns = ", ".join(load.layout.column_names)
        load.connection.execute(
            f"INSERT INTO {load.layout.name} ({load.layout.insert_list}) "
            f"SELECT {columns}, _day, $run_id, CAST($loaded_at AS TIMESTAMP), "
            f"CASE WHEN _day <> CAST($day AS DATE) THEN [CAST($day AS DATE)] END FROM {_ADDED}",
            {"run_id": load.run_id, "loaded_at": load.loaded_at} | self._day(load),
        )

    @staticmethod
    def _equal(load: Load) -> str:
        columns = " AND ".join(
            f"old.{name} IS NOT DISTINCT FROM new.{name}" for name in load.layout.column_names
        )
        return f"old._partition = new._day AND {columns}"

    @staticmethod
    def _day(load: Load) -> dict[str, Any]:
        return {"day": load.partition}
