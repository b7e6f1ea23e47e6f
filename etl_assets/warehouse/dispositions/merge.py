"""`merge`: one row per key, of which the newest version wins, in whichever order days are loaded.

Versions of a key are put into one total order that depends on the rows alone: by the version column, then by
the contract's columns from first to last, a missing value before any other. The table always holds the
greatest version that it was ever given, so the order and the number of loads cannot matter. One thing comes
before the contract's columns: what a mended contract or transform makes of a version takes the place of what
the former one made of it, once the day is loaded again. What belongs here: that. What does not: deletes,
which need tombstones.
"""

from __future__ import annotations

from datetime import date

from etl_assets.warehouse.dispositions.base import Applied, Load
from etl_assets.warehouse.dispositions.lookup import FOUND, find_rows
from etl_assets.warehouse.identifiers import quoted

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
        """See `Disposition`: a load without rows removes nothing."""
        return None

    def still_holds(self, load: Load, staged: int) -> bool:
        """See `Disposition`: later loads only bring newer versions, unless someone emptied the table."""
        return staged == 0 or load.one(f"SELECT EXISTS (SELECT 1 FROM {load.layout.name})")[0] is True

    def apply(self, load: Load) -> Applied:
        """See `Disposition`."""
        repeats = self._pick_newest(load)
        self._find_changes(load)
        new, updated, same = self._count(load)
        dates = self._touched_dates(load) if new or updated else ()
        if updated:
            load.connection.execute(
                f"DELETE FROM {load.layout.name} WHERE rowid IN (SELECT _row FROM {_CHANGES} WHERE _is_update)"
            )
        if new or updated:
            self._insert(load)
        load.connection.execute(f"DROP TABLE {_CHANGES}")
        load.connection.execute(f"DROP TABLE {_NEWEST}")
        return Applied(new + updated, updated, same, repeats, dates)

    def _pick_newest(self, load: Load) -> int:
        """Put the greatest version of each key into a table of its own, and count the others.

        Keys seldom repeat within a day, and finding that out costs a tenth of ordering the rows.
        """
        keys = ", ".join(self._key)
        staged = int(load.one(f"CREATE OR REPLACE TEMP TABLE {_NEWEST} AS {load.staged}", load.parameters)[0])
        distinct = int(load.one(f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {_NEWEST})")[0])
        if distinct < staged:
            order = f"{self._version} DESC, {self._content('staged', load)} DESC"
            load.connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {_NEWEST} AS SELECT * FROM {_NEWEST} AS staged "
                f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"
            )
        return staged - distinct

    def _find_changes(self, load: Load) -> None:
        version, new, old = self._version, self._content("new", load), self._content("old", load)
        wins = f"({new} > {old} OR {old} > {new})" if load.restates else f"{new} > {old}"
        newer = f"(new.{version} > old.{version} OR (new.{version} = old.{version} AND {wins}))"
        find_rows(load, _NEWEST, self._key)
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_CHANGES} AS "
            f"SELECT new.*, old._row IS NULL AS _is_new, old._row IS NOT NULL AND ({newer}) AS _is_update, "
            f"old._row, CAST(old.{load.business_date} AS DATE) AS _before "
            f"FROM {_NEWEST} AS new LEFT JOIN {FOUND} AS old ON {self._same_key('new', 'old')}"
        )
        load.connection.execute(f"DROP TABLE {FOUND}")

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

    def _insert(self, load: Load) -> None:
        columns = ", ".join(load.layout.column_names)
        load.connection.execute(
            f"INSERT INTO {load.layout.name} ({load.layout.insert_list}) "
            f"SELECT {columns}, CAST({load.window_column} AS DATE), $run_id, "
            f"CAST($loaded_at AS TIMESTAMP) FROM {_CHANGES} WHERE _is_new OR _is_update",
            {"run_id": load.run_id, "loaded_at": load.loaded_at},
        )

    def _same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in self._key)

    def _content(self, relation: str, load: Load) -> str:
        """The whole row as one comparable value.

        Each column is preceded by whether it is there, so that a missing value is the least of all and two
        missing values are equal, without leaning on how a database compares NULLs.
        """
        parts = (
            f"{relation}.{column.quoted} IS NOT NULL, {column.ordered(relation)}"
            for column in load.layout.columns
        )
        return f"row({', '.join(parts)})"
