"""`append`: rows are added and never changed or removed; a row that the table already has is not added again.

Two rows are the same when all columns of the contract are equal, a missing value being equal to a missing one. A
row's `_partition` comes from the row itself, so that it does not matter which of two overlapping windows brought it,
and only rows of the same `_partition` need to be looked at. What belongs here: that. What does not: keys (`merge`).
"""

from __future__ import annotations

from datetime import date

from etl_assets.warehouse.dispositions.base import Applied, Load, sorted_dates

_DISTINCT = "_etl_distinct"
_ADDED = "_etl_added"


class AppendRows:
    """A load adds the rows that the table does not have yet."""

    def objection(self, load: Load) -> str | None:
        """See `Disposition`: a load without rows removes nothing."""
        return None

    def still_holds(self, load: Load, staged: int) -> bool:
        """See `Disposition`: loads only add rows, unless someone emptied the table."""
        return staged == 0 or load.one(f"SELECT EXISTS (SELECT 1 FROM {load.layout.name})")[0] is True

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
        dates = self._touched_dates(load) if added else None
        if added:
            self._insert(load)
        load.connection.execute(f"DROP TABLE {_ADDED}")
        load.connection.execute(f"DROP TABLE {_DISTINCT}")
        return Applied(added, 0, distinct - added, staged - distinct, sorted_dates(dates))

    def _find_added(self, load: Load) -> int:
        """Put the rows that the table does not have into a table of their own, and count them."""
        first, last = load.one(f"SELECT min(_day), max(_day) FROM {_DISTINCT}")
        equal = " AND ".join(
            f"old.{name} IS NOT DISTINCT FROM new.{name}" for name in load.layout.column_names
        )
        # The bounds are given as values, so that a large table is read no further than its few days.
        found = load.one(
            f"CREATE OR REPLACE TEMP TABLE {_ADDED} AS SELECT * FROM {_DISTINCT} AS new WHERE NOT EXISTS ("
            f"SELECT 1 FROM {load.layout.name} AS old WHERE old._partition = new._day AND {equal} "
            "AND old._partition BETWEEN CAST($first AS DATE) AND CAST($last AS DATE))",
            {"first": first, "last": last},
        )
        return int(found[0])

    def _touched_dates(self, load: Load) -> list[date]:
        found = load.one(f"SELECT list(DISTINCT CAST({load.business_date} AS DATE)) FROM {_ADDED}")
        return list(found[0] or ())

    def _insert(self, load: Load) -> None:
        columns = ", ".join(load.layout.column_names)
        load.connection.execute(
            f"INSERT INTO {load.layout.name} ({load.layout.insert_list}) "
            f"SELECT {columns}, _day, $run_id, CAST($loaded_at AS TIMESTAMP) FROM {_ADDED}",
            {"run_id": load.run_id, "loaded_at": load.loaded_at},
        )
