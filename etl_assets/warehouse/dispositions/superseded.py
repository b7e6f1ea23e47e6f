"""The versions of a merge that gave way to newer ones, in the hidden schema `_<source>`.

The table of a merge has the greatest version of each key. When a mended transform makes another key of a record, its
day takes the version under the former key back, and what other days brought of that key has to show again: the account
has it. It is written to with each update, and looked into only for older versions and by mended loads.

A version of a key is in the table or in the account, never in both, and once, with the days that brought it. What
belongs here: that account, and what a mended load makes of it. What does not: the ordinary merge (`merge`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from etl_assets.warehouse.dispositions.base import Applied, Load, sorted_dates
from etl_assets.warehouse.dispositions.brought import DAY, DAYS, OF_THIS_DAY
from etl_assets.warehouse.dispositions.lookup import FOUND, find_rows
from etl_assets.warehouse.schema import BROUGHT_BY, TableLayout, ensure_table, table_columns

_AFFECTED = "_etl_affected"
_KNOWN = "_etl_known"
_AFTER = "_etl_after"
_OLDER = "_etl_older"
_SAME = "_etl_same"


def own_or(days: str, partition: str) -> str:
    """Give the value of `_brought_by` in a stream's table, as SQL: missing for the row's own day alone."""
    return f"CASE WHEN {days} <> [{partition}] THEN {days} END"


@dataclass(frozen=True, slots=True)
class Superseded:
    """The account of one stream, within one load.

    Args:
        load: The load.
        key: The key's columns, as SQL.
        version: The version column, as SQL.
    """

    load: Load
    key: tuple[str, ...]
    version: str

    @property
    def is_kept(self) -> bool:
        """Whether the stream has such an account: one whose rows belong to no window has none."""
        return BROUGHT_BY in self.load.layout.platform_columns

    def exists(self) -> bool:
        """Whether there is an account already."""
        return bool(table_columns(self.load.connection, self._layout.schema, self._layout.table))

    def keep_greatest(self, table: str, *apart: str) -> None:
        """Leave of each key's versions in a table of staged rows only the greatest.

        Args:
            table: The table.
            apart: Columns whose values are looked at apart from each other.
        """
        keys, order = ", ".join((*apart, *self.key)), f"{self.version} DESC, {self.content('staged')} DESC"
        self.load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT * FROM {table} AS staged "
            f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"
        )

    def prepare(self) -> None:
        """Make the table, or bring it up to the contract."""
        ensure_table(self.load.connection, self._layout)

    def add(self, rows: str) -> None:
        """Add versions that were in the table until now.

        Args:
            rows: SELECT of the contract's columns and the days that brought them.
        """
        self.prepare()
        self.load.connection.execute(f"INSERT INTO {self._layout.name} ({self._layout.insert_list}) {rows}")

    def add_older(self, rows: str) -> None:
        """Add versions that the day brought and that are older than the table's; known ones are united with them.

        Args:
            rows: SELECT of the contract's columns, each key once.
        """
        self.prepare()
        name, columns = self._layout.name, self._columns()
        identity = ", ".join((*self.key, self.version))
        self._make(_OLDER, f"SELECT {columns}, [{DAY}] AS {BROUGHT_BY.quoted} FROM ({rows})", day=True)
        self._make(
            _SAME,
            f"SELECT old.rowid AS _row, old.* FROM {name} AS old JOIN {_OLDER} AS new "
            f"ON {self._same('old', 'new', self.version)}",
        )
        self.load.connection.execute(f"DELETE FROM {name} WHERE rowid IN (SELECT _row FROM {_SAME})")
        self.load.connection.execute(
            f"INSERT INTO {name} ({self._layout.insert_list}) SELECT {columns}, "
            f"list_sort(list_distinct(flatten(list({BROUGHT_BY.quoted}) OVER (PARTITION BY {identity})))) "
            f"FROM (SELECT * FROM {_OLDER} UNION ALL BY NAME SELECT * EXCLUDE (_row) FROM {_SAME}) AS version "
            f"QUALIFY row_number() OVER (PARTITION BY {identity} ORDER BY {self.content('version')} DESC) = 1"
        )
        self.load.drop(_OLDER, _SAME)

    def restate(self, newest: str, repeats: int) -> Applied:
        """Have a day bring what its mended load makes, and nothing of what its former loads made.

        Args:
            newest: Table of the staged rows, each key once.
            repeats: Staged rows that are not in it.
        """
        self.prepare()
        self._find_known(newest)
        self._find_after(newest)
        counts, dates = self._count(newest), self._touched_dates()
        self._write()
        self.load.drop(_AFTER, _KNOWN, _AFFECTED)
        loaded, updated, staged, removed = counts
        return Applied(loaded, updated, staged - loaded, repeats, dates, removed=removed)

    def _find_known(self, newest: str) -> None:
        """Put all that is known of the keys that the day brought, or brings now, into a table of its own."""
        table, account, keys = self.load.layout.name, self._layout.name, ", ".join(self.key)
        self._make(
            _AFFECTED,
            f"SELECT {keys} FROM {table} AS old WHERE {OF_THIS_DAY} "
            f"UNION SELECT {keys} FROM {account} AS old WHERE list_contains(old.{BROUGHT_BY.quoted}, {DAY}) "
            f"UNION SELECT {keys} FROM {newest}",
            day=True,
        )
        find_rows(self.load, _AFFECTED, self.key)
        columns = self._columns("old.")
        self._make(
            _KNOWN,
            f"SELECT old._row, true AS _shows, {columns}, {DAYS} AS _days FROM {FOUND} AS old "
            f"UNION ALL SELECT old.rowid, false, {columns}, old.{BROUGHT_BY.quoted} FROM {account} AS old "
            f"JOIN {_AFFECTED} AS wanted ON {self._same('old', 'wanted')}",
        )
        self.load.drop(FOUND)

    def _find_after(self, newest: str) -> None:
        """Work out what is known of these keys once the day has brought what it does, and which version shows."""
        keys = ", ".join(self.key)
        mended = ", ".join(
            f"CASE WHEN new._is_staged THEN new.{name} ELSE old.{name} END AS {name}"
            for name in self.load.layout.column_names
        )
        others = f"list_filter(_days, lambda d: d <> {DAY})"
        self._make(
            _AFTER,
            f"WITH old AS (SELECT * REPLACE ({others} AS _days) FROM {_KNOWN} WHERE len({others}) > 0), "
            f"new AS (SELECT *, true AS _is_staged FROM {newest}), "
            f"united AS (SELECT {mended}, coalesce(new._is_staged, false) AS _is_staged, "
            f"list_sort(list_concat(coalesce(old._days, CAST([] AS DATE[])), "
            f"CASE WHEN new._is_staged THEN [{DAY}] ELSE [] END)) AS _days "
            f"FROM old FULL JOIN new ON {self._same('old', 'new', self.version)}) "
            "SELECT *, "
            f"row_number() OVER (PARTITION BY {keys} ORDER BY {self.version} DESC) = 1 AS _shows FROM united",
            day=True,
        )

    def _count(self, newest: str) -> tuple[int, int, int, int]:
        """Count the staged rows that are written, those of them that take another's place, all, and keys that go."""
        written = f"after._shows AND after._is_staged AND {self._differs('before', 'after')}"
        counted = self.load.one(
            f"SELECT count(*) FILTER ({written}), count(*) FILTER ({written} AND before._row IS NOT NULL) "
            f"FROM {_AFTER} AS after LEFT JOIN (SELECT * FROM {_KNOWN} WHERE _shows) AS before "
            f"ON {self._same('after', 'before')}"
        )
        (staged,) = self.load.one(f"SELECT count(*) FROM {newest}")
        (removed,) = self.load.one(
            f"SELECT count(*) FROM {_KNOWN} AS before WHERE before._shows AND NOT EXISTS "
            f"(SELECT 1 FROM {_AFTER} AS after WHERE {self._same('after', 'before')})"
        )
        return int(counted[0]), int(counted[1]), int(staged), int(removed)

    def _touched_dates(self) -> tuple[date, ...]:
        shown = (f"(SELECT * FROM {table} WHERE _shows)" for table in (_KNOWN, _AFTER))
        before, after = (f"{table} AS {name}" for table, name in zip(shown, ("before", "after"), strict=True))
        day = f"CAST({{}}.{self.load.business_date} AS DATE)"
        (found,) = self.load.one(
            f"SELECT list(DISTINCT day) FROM (SELECT unnest([{day.format('before')}, {day.format('after')}]) AS day "
            f"FROM {before} FULL JOIN {after} ON {self._same('before', 'after')} "
            f"WHERE {self._differs('before', 'after')}) WHERE day IS NOT NULL"
        )
        return sorted_dates(found)

    def _write(self) -> None:
        """Write what has become different; a row that shows as before keeps its run and its time."""
        load, account = self.load, self._layout.name
        table, marks = load.layout.name, BROUGHT_BY.quoted
        equal = f"{self._same('before', 'after')} AND NOT {self._differs('before', 'after')}"
        partition = f"CAST(after.{load.window_column} AS DATE)"
        load.connection.execute(
            f"DELETE FROM {account} WHERE rowid IN (SELECT _row FROM {_KNOWN} WHERE NOT _shows)"
        )
        load.connection.execute(
            f"INSERT INTO {account} ({self._layout.insert_list}) "
            f"SELECT {self._columns()}, _days FROM {_AFTER} WHERE NOT _shows"
        )
        load.connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT before._row FROM {_KNOWN} AS before WHERE before._shows "
            f"AND NOT EXISTS (SELECT 1 FROM {_AFTER} AS after WHERE after._shows AND {equal}))"
        )
        load.connection.execute(
            f"UPDATE {table} SET {marks} = {own_or('after._days', partition)} FROM {_KNOWN} AS before, "
            f"{_AFTER} AS after WHERE {table}.rowid = before._row AND before._shows AND after._shows "
            f"AND {equal} AND list_sort(before._days) <> after._days"
        )
        load.connection.execute(
            f"INSERT INTO {table} ({load.layout.insert_list}) SELECT {self._columns('after.')}, {partition}, $run_id, "
            f"CAST($loaded_at AS TIMESTAMP), {own_or('after._days', partition)} FROM {_AFTER} AS after "
            f"WHERE after._shows AND NOT EXISTS (SELECT 1 FROM {_KNOWN} AS before WHERE before._shows AND {equal})",
            {"run_id": load.run_id, "loaded_at": load.loaded_at},
        )

    @property
    def _layout(self) -> TableLayout:
        own = self.load.layout
        return TableLayout(f"_{own.schema}", own.table, own.columns, (BROUGHT_BY,))

    def content(self, relation: str) -> str:
        """The whole row as one comparable value.

        Each column is preceded by whether it is there, so that a missing value is the least of all and two missing
        values are equal, without leaning on how a database compares NULLs.
        """
        parts = (
            f"{relation}.{column.quoted} IS NOT NULL, {column.ordered(relation)}"
            for column in self.load.layout.columns
        )
        return f"row({', '.join(parts)})"

    def _differs(self, left: str, right: str) -> str:
        pairs = (f"{left}.{name} IS DISTINCT FROM {right}.{name}" for name in self.load.layout.column_names)
        return f"({' OR '.join(pairs)})"

    def _same(self, left: str, right: str, *more: str) -> str:
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in (*self.key, *more))

    def _columns(self, prefix: str = "") -> str:
        return ", ".join(f"{prefix}{name}" for name in self.load.layout.column_names)

    def _make(self, name: str, rows: str, *, day: bool = False) -> None:
        values: dict[str, Any] = {"day": self.load.partition} if day else {}
        self.load.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {rows}", values)
