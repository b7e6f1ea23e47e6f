"""`replace_partition`: the staged rows take the place of all rows of their day.

No day's rows have to do with another's, so that what a statement asks or writes of one day it can of several: the days
of a transaction that the table holds nothing of are brought in together. What belongs here: that. What does not: keys
and versions (`merge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from etl_assets.warehouse.dispositions.base import Ahead, Applied, Load, sorted_dates

_FILE = "_etl_file"
"""No contract has a column that begins with an underscore."""

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
        if load.ahead is not None and load.ahead.applied is not None:
            return load.ahead.applied
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

    def look_ahead(self, loads: Sequence[Load], *, bring_in: bool) -> dict[date, Ahead]:
        """Look at the days of some loads of one stream, and bring the rows of new days in.

        Args:
            loads: Loads of as many days, each of which is going to be applied, or withheld for having no rows.
            bring_in: Whether rows may be brought in already.

        Returns:
            What is known, by day.
        """
        counted = loads[0].connection.execute(
            f"SELECT _partition, count(*) FROM {loads[0].layout.name} WHERE {_THESE_DAYS} GROUP BY 1",
            {"days": [load.partition for load in loads]},
        )
        held: dict[date, int] = dict(counted.fetchall())
        ahead = {load.partition: Ahead(held.get(load.partition, 0)) for load in loads}
        new = [load for load in loads if load.rows is not None and not ahead[load.partition].held]
        for evolves in (False, True) if bring_in else ():
            alike = [load for load in new if load.evolves is evolves]
            if len(alike) > 1:
                for day, applied in self._insert_new(alike).items():
                    ahead[day] = replace(ahead[day], applied=applied)
        return ahead

    def _held(self, load: Load) -> int:
        if load.ahead is not None:
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
        """Insert the rows of files that are alike; a row whose file is not known again is missed in the counts."""
        layout = loads[0].layout
        loads[0].connection.execute(
            f"INSERT INTO {layout.name} ({layout.insert_list}) "
            f"SELECT {loads[0].staged_columns}, _etl_day, _etl_run, _etl_at "
            f"FROM read_parquet($files, filename = '{_FILE}') JOIN (SELECT unnest($files) AS {_FILE}, "
            "unnest(CAST($days AS DATE[])) AS _etl_day, unnest($runs) AS _etl_run, "
            f"unnest(CAST($times AS TIMESTAMP[])) AS _etl_at) USING ({_FILE})",
            {
                "files": [str(load.rows) for load in loads],
                "days": [load.partition for load in loads],
                "runs": [load.run_id for load in loads],
                "times": [load.loaded_at for load in loads],
            },
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
