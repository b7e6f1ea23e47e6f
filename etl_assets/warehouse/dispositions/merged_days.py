"""Days of a merge brought in together, where each brings newer versions than what is there and than the days before.

That is how days come in that are loaded for the first time and in their order: a set of statements does for all of them
what it would take for each. What the days did is told of each apart, as if one had followed the other. Where any brings
an older version, or two versions alike of different content, nothing is done, and each day is merged by itself.

What belongs here: that. What does not: a day by itself (`merge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from etl_assets.warehouse.dispositions.base import Applied, Load, sorted_dates
from etl_assets.warehouse.dispositions.brought import DAYS
from etl_assets.warehouse.dispositions.lookup import FOUND, find_rows
from etl_assets.warehouse.dispositions.superseded import Superseded, own_or
from etl_assets.warehouse.dispositions.together import (
    DAY_OF_LOAD,
    PLACE,
    RUN_OF_LOAD,
    STAMPS,
    TIME_OF_LOAD,
    staged_together,
)
from etl_assets.warehouse.schema import BROUGHT_BY

_STAGED = "_etl_staged"
_WANTED = "_etl_wanted"
_VERSIONS = "_etl_versions"


@dataclass(frozen=True, slots=True)
class MergedDays:
    """Loads of one stream on their way into its table.

    Args:
        loads: The loads in their order, of days that were never loaded before; all have files.
        key: The key's columns, as SQL.
        version: The version column, as SQL.
    """

    loads: Sequence[Load]
    key: tuple[str, ...]
    version: str

    def bring_in(self) -> dict[date, Applied] | None:
        """Bring the rows in, if every version is newer than those before it, or one of them again.

        Returns:
            What each of the days did; None if nothing was done.
        """
        repeats = self._stage()
        self._compare()
        applied = self._count(repeats)
        if applied is not None:
            self._write()
        self._load.drop(_VERSIONS, _STAGED)
        return applied

    def _stage(self) -> dict[int, int]:
        """Put the greatest version that a day brings of each key into a table of its own; count the others of each."""
        staged, parameters = staged_together(self.loads)
        self._load.connection.execute(f"CREATE OR REPLACE TEMP TABLE {_STAGED} AS {staged}", parameters)
        keys = ", ".join(self.key)
        repeats = self._load.connection.execute(
            f"SELECT {PLACE}, count(*) - count(DISTINCT row({keys})) FROM {_STAGED} GROUP BY 1"
        ).fetchall()
        if any(count for _, count in repeats):
            self._account.keep_greatest(_STAGED, PLACE)
        return dict(repeats)

    def _compare(self) -> None:
        """Put what the table has of the keys and what the days bring into a table, each beside the one before it."""
        load, keys, columns = self._load, ", ".join(self.key), ", ".join(self._load.layout.column_names)
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_WANTED} AS SELECT DISTINCT {keys} FROM {_STAGED}"
        )
        find_rows(load, _WANTED, self.key)
        none = ", ".join(f"NULL AS {name}" for name in STAMPS[1:])
        known_days = DAYS if self._account.is_kept else "CAST(NULL AS DATE[])"
        content = self._account.content("version")
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_VERSIONS} AS WITH version AS ("
            f"SELECT {columns}, NULL AS _row, [{DAY_OF_LOAD}] AS _days, {', '.join(STAMPS)} FROM {_STAGED} "
            f"UNION ALL SELECT {columns}, _row, {known_days}, -1 AS {PLACE}, {none} FROM {FOUND} AS old), "
            "compared AS (SELECT *, "
            f"lag({PLACE}) OVER steps IS NULL AS _is_first, "
            f"coalesce({self.version} > lag({self.version}) OVER steps, false) AS _is_newer, "
            f"coalesce({self.version} = lag({self.version}) OVER steps "
            f"AND {content} = lag({content}) OVER steps, false) AS _is_again, "
            f"CAST(lag({load.business_date}) OVER steps AS DATE) AS _before, "
            f"{self.version} = max({self.version}) OVER (PARTITION BY {keys}) AS _shows, "
            f"list(_days) OVER (PARTITION BY {keys}, {self.version}) AS _all_days "
            f"FROM version WINDOW steps AS (PARTITION BY {keys} ORDER BY {PLACE})) "
            "SELECT * EXCLUDE (_days, _all_days), list_sort(list_distinct(flatten(_all_days))) AS _days FROM compared"
        )
        self._load.drop(_WANTED, FOUND)

    def _count(self, repeats: dict[int, int]) -> dict[date, Applied] | None:
        """Say what each day does; None if a version is neither newer than the one before it nor that one again."""
        found = self._load.connection.execute(
            f"SELECT {PLACE}, count(*) FILTER (_is_first), count(*) FILTER (_is_newer), count(*) FILTER (_is_again), "
            f"count(*), list(DISTINCT CAST({self._load.business_date} AS DATE)) FILTER (NOT _is_again), "
            f"list(DISTINCT _before) FILTER (_is_newer) FROM {_VERSIONS} WHERE {PLACE} >= 0 GROUP BY 1"
        ).fetchall()
        applied = {load.partition: Applied(0, 0, 0, 0, ()) for load in self.loads}
        for place, first, newer, again, rows, dates, dates_before in found:
            if first + newer + again < rows:
                return None
            touched = sorted_dates(dates, dates_before)
            applied[self.loads[place].partition] = Applied(
                first + newer, newer, again, repeats[place], touched
            )
        return applied

    def _write(self) -> None:
        load, account = self._load, self._account
        columns, partition = ", ".join(load.layout.column_names), f"CAST({load.window_column} AS DATE)"
        gave_way = f"FROM {_VERSIONS} WHERE NOT _shows AND NOT _is_again"
        if account.is_kept and load.one(f"SELECT EXISTS (SELECT 1 {gave_way})")[0]:
            account.add(f"SELECT {columns}, _days {gave_way}")
        load.connection.execute(
            f"DELETE FROM {load.layout.name} WHERE rowid IN "
            f"(SELECT _row FROM {_VERSIONS} WHERE _row IS NOT NULL AND NOT _shows)"
        )
        if account.is_kept:
            load.connection.execute(
                f"UPDATE {load.layout.name} AS old SET {BROUGHT_BY.quoted} = new._days FROM {_VERSIONS} AS new "
                f"WHERE old.rowid = new._row AND new._shows AND new._days <> list_sort({DAYS})"
            )
        marks = f", {own_or('_days', partition)}" if account.is_kept else ""
        load.connection.execute(
            f"INSERT INTO {load.layout.name} ({load.layout.insert_list}) "
            f"SELECT {columns}, {partition}, {RUN_OF_LOAD}, {TIME_OF_LOAD}{marks} "
            f"FROM {_VERSIONS} WHERE {PLACE} >= 0 AND _shows AND NOT _is_again"
        )

    @property
    def _load(self) -> Load:
        """The first load: all are of one stream and one table."""
        return self.loads[0]

    @property
    def _account(self) -> Superseded:
        return Superseded(self._load, self.key, self.version)
