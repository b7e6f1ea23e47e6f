"""`replace_partition`: the staged rows take the place of all rows of their day.

What belongs here: that. What does not: keys and versions (`merge`).
"""

from __future__ import annotations

from datetime import date

from etl_assets.warehouse.dispositions.base import Applied, Load, sorted_dates


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
            loaded = self._insert(load)
            dates = load.one(
                f"SELECT list(DISTINCT CAST({load.business_date} AS DATE)) FROM {load.layout.name} "
                "WHERE _partition = $day",
                {"day": load.partition},
            )[0]
            return Applied(loaded, 0, 0, 0, sorted_dates(dates))
        staged, changed = self._compare(load)
        if not changed:
            return Applied(0, 0, staged, 0, ())
        load.connection.execute(
            f"DELETE FROM {load.layout.name} WHERE _partition = $day", {"day": load.partition}
        )
        return Applied(self._insert(load), 0, 0, 0, sorted_dates(changed))

    def _held(self, load: Load) -> int:
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
