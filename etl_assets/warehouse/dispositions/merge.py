"""`merge`: one row per key, of which the newest version wins, in whichever order days are loaded.

Versions of a key are put into one total order that depends on the rows alone: by the version column, then by
the contract's columns from first to last, a missing value before any other. The table always holds the
greatest version that it was ever given, so the order and the number of loads cannot matter. One thing comes
before the contract's columns: what a mended contract or transform makes of a day takes the place of what the
former one made of it, once the day is loaded again, under whichever key. What belongs here: that. What does not:
versions that are not the greatest any more (`superseded`), and deletes, which need tombstones.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from etl_assets.warehouse.dispositions.base import Ahead, Applied, Load
from etl_assets.warehouse.dispositions.brought import DAY, DAYS, objection_to_taking_back
from etl_assets.warehouse.dispositions.lookup import FOUND, find_rows
from etl_assets.warehouse.dispositions.merged_days import MergedDays
from etl_assets.warehouse.dispositions.superseded import Superseded, own_or
from etl_assets.warehouse.dispositions.together import bring_in_together
from etl_assets.warehouse.identifiers import quoted
from etl_assets.warehouse.schema import BROUGHT_BY

_NEWEST = "_etl_newest"
_CHANGES = "_etl_changes"


class MergeRows:
    """A load adds new keys and updates known ones with newer versions.

    Args:
        key: Columns that identify a row.
        version: Column that orders the versions of a row.
    """

    def __init__(self, key: tuple[str, ...], version: str) -> None:
        self._key = tuple(quoted(name) for name in key)
        self._version = quoted(version)

    def objection(self, load: Load) -> str | None:
        """See `Disposition`: only a mended transform takes rows back, and without rows it would take all."""
        return objection_to_taking_back(load)

    def still_holds(self, load: Load, staged: int) -> bool:
        """See `Disposition`: later loads only bring newer versions, unless mended code or someone emptied the table.

        What mended code made of another day may be less than this day's row of the same version.
        """
        if load.restated_since:
            return False
        return staged == 0 or load.one(f"SELECT EXISTS (SELECT 1 FROM {load.layout.name})")[0] is True

    def look_ahead(self, loads: Sequence[Load], *, bring_in: bool, are_first: bool) -> dict[date, Ahead]:
        """See `Disposition`: days in their order are brought in together; rows of a mended transform never are."""
        if not bring_in or not are_first:
            return {}
        return bring_in_together(loads, lambda given: MergedDays(given, self._key, self._version).bring_in())

    def apply(self, load: Load) -> Applied:
        """See `Disposition`."""
        superseded = Superseded(load, self._key, self._version)
        repeats = self._pick_newest(load, superseded)
        if load.restates and superseded.is_kept:
            applied = superseded.restate(_NEWEST, repeats)
        else:
            applied = self._merge(load, superseded, repeats)
        load.drop(_NEWEST)
        return applied

    def _merge(self, load: Load, superseded: Superseded, repeats: int) -> Applied:
        self._find_changes(load, superseded)
        new, updated, same = self._count(load)
        dates = self._touched_dates(load) if new or updated else ()
        if superseded.is_kept:
            self._account_for(load, superseded, same)
        if updated:
            load.connection.execute(
                f"DELETE FROM {load.layout.name} WHERE rowid IN (SELECT _row FROM {_CHANGES} WHERE _is_update)"
            )
        if new or updated:
            self._insert(load, superseded)
        load.drop(_CHANGES, FOUND)
        return Applied(new + updated, updated, same, repeats, dates)

    def _account_for(self, load: Load, superseded: Superseded, same: int) -> None:
        """Keep versions that do not show any more, or never do, and note that the day brought known ones."""
        columns = [f"{{0}}.{name}" for name in load.layout.column_names]
        old, new = (", ".join(columns).format(side) for side in ("old", "new"))
        gave_way = f"FROM {_CHANGES} AS new JOIN {FOUND} AS old ON old._row = new._row WHERE new._is_newer"
        if load.one(f"SELECT EXISTS (SELECT 1 FROM {_CHANGES} WHERE _is_newer)")[0]:
            superseded.add(f"SELECT {old}, {DAYS} {gave_way}")
        if not same:
            return
        if load.one(f"SELECT EXISTS (SELECT 1 FROM {_CHANGES} WHERE _is_older)")[0]:
            superseded.add_older(f"SELECT {new} FROM {_CHANGES} AS new WHERE new._is_older")
        load.connection.execute(
            f"UPDATE {load.layout.name} AS old SET {BROUGHT_BY.quoted} = list_sort(list_append({DAYS}, {DAY})) "
            f"FROM {_CHANGES} AS new WHERE old.rowid = new._row AND new._is_claim",
            {"day": load.partition},
        )

    def _pick_newest(self, load: Load, superseded: Superseded) -> int:
        """Put the greatest version of each key into a table of its own, and count the others."""
        staged = int(load.one(f"CREATE OR REPLACE TEMP TABLE {_NEWEST} AS {load.staged}", load.parameters)[0])
        distinct = load.count_keys(_NEWEST, self._key)
        if distinct < staged:
            superseded.keep_greatest(_NEWEST)
        return staged - distinct

    def _find_changes(self, load: Load, superseded: Superseded) -> None:
        version, new, old = self._version, superseded.content("new"), superseded.content("old")
        wins = f"({new} > {old} OR {old} > {new})" if load.restates else f"{new} > {old}"
        newer = f"(new.{version} > old.{version} OR (new.{version} = old.{version} AND {wins}))"
        days = DAYS if superseded.is_kept else "CAST(NULL AS DATE[])"
        same = f"new.{version} = old.{version}"
        find_rows(load, _NEWEST, self._key)
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_CHANGES} AS "
            f"SELECT new.*, old._row IS NULL AS _is_new, old._row IS NOT NULL AND ({newer}) AS _is_update, "
            f"coalesce(new.{version} > old.{version}, false) AS _is_newer, "
            f"coalesce(new.{version} < old.{version}, false) AS _is_older, "
            f"coalesce({same} AND NOT ({newer}) AND NOT list_contains({days}, {DAY}), false) AS _is_claim, "
            f"CASE WHEN {same} THEN {days} END AS _days, "
            f"old._row, CAST(old.{load.business_date} AS DATE) AS _before "
            f"FROM {_NEWEST} AS new LEFT JOIN {FOUND} AS old ON {self._same_key('new', 'old')}",
            {"day": load.partition},
        )

    def _count(self, load: Load) -> tuple[int, int, int]:
        """Count new, updated and unchanged rows."""
        new, updated, same = load.one(
            "SELECT count(*) FILTER (_is_new), count(*) FILTER (_is_update), "
            f"count(*) FILTER (NOT _is_new AND NOT _is_update) FROM {_CHANGES}"
        )
        return int(new), int(updated), int(same)

    def _touched_dates(self, load: Load) -> tuple[date, ...]:
        """Give the business dates of changed rows, as they were and as they will be."""
        found = load.connection.execute(
            f"SELECT CAST({load.business_date} AS DATE) FROM {_CHANGES} WHERE _is_new OR _is_update "
            f"UNION SELECT _before FROM {_CHANGES} WHERE _is_update"
        ).fetchall()
        return tuple(sorted(day for (day,) in found))

    def _insert(self, load: Load, superseded: Superseded) -> None:
        columns, partition = ", ".join(load.layout.column_names), f"CAST({load.window_column} AS DATE)"
        values = {"run_id": load.run_id, "loaded_at": load.loaded_at}
        marks = ""
        if superseded.is_kept:
            days = f"list_sort(list_distinct(list_append(coalesce(_days, CAST([] AS DATE[])), {DAY})))"
            marks, values = f", {own_or(days, partition)}", values | {"day": load.partition}
        load.connection.execute(
            f"INSERT INTO {load.layout.name} ({load.layout.insert_list}) "
            f"SELECT {columns}, {partition}, $run_id, CAST($loaded_at AS TIMESTAMP){marks} "
            f"FROM {_CHANGES} WHERE _is_new OR _is_update",
            values,
        )

    def _same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in self._key)
