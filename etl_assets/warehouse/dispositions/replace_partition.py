"""`replace_partition`: the staged rows take the place of all rows of their day.

No day's rows have to do with another's, so that what a statement asks or writes of one day it can of several: the days
of a transaction that the table holds nothing of are brought in together. What belongs here: that. What does not: keys
and versions (`merge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from etl_assets.warehouse.dispositions.base import Ahead, Applied, Load, sorted_dates
from etl_assets.warehouse.dispositions.together import (
    DAY_OF_LOAD,
    RUN_OF_LOAD,
    TIME_OF_LOAD,
    staged_together,
)

_THESE_DAYS = "_partition IN (SELECT unnest(CAST($days AS DATE[])))"


class ReplaceRows:
    """A load replaces the rows whose `_partition` is its day; rows equal to the table's are left alone."""

    def objection(self, load: Load) -> str | None:
        """See `Disposition`: an empty answer would wipe the rows that the day holds."""
        held = self._held(load)
        if not held:
            return None
        return "holds 1 row" if held == 1 else f"holds {held} rows"

    def still_holds(self, load: Load, staged: int) -> bool:
        """See `Disposition`: the day's rows are the last load's, unless someone removed some."""
        return self._held(load) == staged

    def apply(self, load: Load) -> Applied:
        """See `Disposition`."""
        if not self._held(load):
            nothing = Applied(0, 0, 0, 0, ())
            return nothing if load.rows is None else self._insert_new([load])[load.partition]
        staged, changed = self._compare(load)
        if not changed:
            return Applied(0, 0, staged, 0, ())
        load.connection.execute(
            f"DELETE FROM {load.layout.name} WHERE _partition = $day", {"day": load.partition}
        )
        return Applied(self._insert(load), 0, 0, 0, sorted_dates(changed))

    def look_ahead(self, loads: Sequence[Load], *, bring_in: bool, are_first: bool) -> dict[date, Ahead]:
        """See `Disposition`: days that the table holds nothing of are brought in, loaded before or not."""
        counted = loads[0].connection.execute(
            f"SELECT _partition, count(*) FROM {loads[0].layout.name} WHERE {_THESE_DAYS} GROUP BY 1",
            {"days": [load.partition for load in loads]},
        )
        held: dict[date, int] = dict(counted.fetchall())
        new = [load for load in loads if load.rows is not None and load.partition not in held]
        applied = self._insert_new(new) if bring_in and len(new) > 1 else {}
        return {
            load.partition: Ahead(applied.get(load.partition), held.get(load.partition, 0)) for load in loads
        }

    def _held(self, load: Load) -> int:
        if load.ahead is not None and load.ahead.held is not None:
            return load.ahead.held
        sql = f"SELECT count(*) FROM {load.layout.name} WHERE _partition = $day"
        return int(load.one(sql, {"day": load.partition})[0])

    def _insert(self, load: Load) -> int:
        sql = (
            f"INSERT INTO {load.layout.name} ({load.layout.insert_list}) "
            f"SELECT staged.*, CAST($day AS DATE), $run_id, CAST($loaded_at AS TIMESTAMP) "
            f"FROM ({load.staged}) AS staged"
        )
        values = {"day": load.partition, "run_id": load.run_id, "loaded_at": load.loaded_at}
        return int(load.one(sql, load.parameters | values)[0])

    def _insert_new(self, loads: Sequence[Load]) -> dict[date, Applied]:
        """Bring in the rows of days that the table holds nothing of."""
        if len(loads) == 1:
            self._insert(loads[0])
        else:
            self._insert_together(loads)
        found = loads[0].connection.execute(
            f"SELECT _partition, count(*), list(DISTINCT CAST({loads[0].business_date} AS DATE)) "
            f"FROM {loads[0].layout.name} WHERE {_THESE_DAYS} GROUP BY 1",
            {"days": [load.partition for load in loads]},
        )
        brought = {day: Applied(rows, 0, 0, 0, sorted_dates(dates)) for day, rows, dates in found.fetchall()}
        return {load.partition: brought.get(load.partition, Applied(0, 0, 0, 0, ())) for load in loads}

    def _insert_together(self, loads: Sequence[Load]) -> None:
        layout, (staged, parameters) = loads[0].layout, staged_together(loads)
        columns = ", ".join((*layout.column_names, DAY_OF_LOAD, RUN_OF_LOAD, TIME_OF_LOAD))
        loads[0].connection.execute(
            f"INSERT INTO {layout.name} ({layout.insert_list}) SELECT {columns} FROM ({staged})", parameters
        )

    def _compare(self, load: Load) -> tuple[int, list[date]]:
        """Count the staged rows, and find the business dates whose rows differ from the table's.

        A date's rows are compared by their number and the sum of their hashes: one pass over either side, in
        memory that does not grow with the rows, whatever their order and however often a row repeats.
        """
        summary = (
            f"SELECT CAST({load.business_date} AS DATE) AS day, count(*) AS n, "
            f"sum(CAST(hash({', '.join(load.layout.column_names)}) AS HUGEINT)) AS digest"
        )
        sql = (
            f"WITH after AS ({summary} FROM ({load.staged}) AS staged GROUP BY 1), "
            f"before AS ({summary} FROM {load.layout.name} WHERE _partition = $day GROUP BY 1) "
            "SELECT coalesce(sum(after.n), 0), list(coalesce(before.day, after.day)) "
            "FILTER (before.n IS DISTINCT FROM after.n OR before.digest IS DISTINCT FROM after.digest) "
            "FROM before FULL JOIN after ON before.day = after.day"
        )
        staged, changed = load.one(sql, load.parameters | {"day": load.partition})
        return int(staged), list(changed or ())
