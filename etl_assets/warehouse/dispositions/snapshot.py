"""`snapshot`: each day brings the whole present; the table shows the newest day, in whichever order days come.

The snapshot is compared, by key and hash of the row, with what is known of its day: its own earlier load, else the
snapshot before it. The account of versions is changed by the difference, and the table is made to follow the account.
`_partition` of a row is the day since which it has looked the way it does. A row that is gone is marked or removed;
a snapshot that would remove too much is withheld until someone confirms it.

What belongs here: the comparison's consequences. What does not: the account itself (`versions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from etl_assets.failures import SnapshotGuardTripped
from etl_assets.streams.write import Snapshot
from etl_assets.warehouse.dispositions.base import Ahead, Applied, Load, sorted_dates
from etl_assets.warehouse.dispositions.versions import (
    ADDED,
    ENDED,
    SNAPSHOT,
    Difference,
    Versions,
    row_hash,
)
from etl_assets.warehouse.identifiers import quoted
from etl_assets.warehouse.schema import REMOVED_ON

_TOUCHED = "_etl_touched"
_TARGET = "_etl_target"
_DIFFERENT = "_etl_different"


class ApplySnapshot:
    """A load brings all rows that there are.

    Args:
        write: The declaration.
    """

    def __init__(self, write: Snapshot) -> None:
        self._write = write
        self._key = tuple(quoted(name) for name in write.key_columns)

    def objection(self, load: Load) -> str | None:
        """See `Disposition`: an empty answer would remove all rows."""
        versions = Versions(load, self._write)
        known = versions.covering() if versions.exist() else 0
        if not known:
            return None
        return "follows a snapshot of 1 row" if known == 1 else f"follows a snapshot of {known} rows"

    def still_holds(self, load: Load, staged: int) -> bool:
        """See `Disposition`: what is known of a day is its last load's, unless someone changed the tables."""
        versions = Versions(load, self._write)
        known = "SELECT count(*) FROM etl.snapshots WHERE source = $source AND stream = $stream AND partition = $day"
        day = load.of_stream | {"day": load.partition}
        if not versions.exist() or not load.one(known, day)[0] or not self._follows(load, versions):
            return False
        return (versions.covering() > 0) == (staged > 0)

    def look_ahead(self, loads: Sequence[Load], *, bring_in: bool, are_first: bool) -> dict[date, Ahead]:
        """See `Disposition`: nothing."""
        return {}

    def apply(self, load: Load) -> Applied:
        """See `Disposition`."""
        versions = Versions(load, self._write)
        versions.prepare()
        repeats, rows = self._stage(load)
        difference = versions.compare()
        self._guard(load, difference)
        in_step = self._follows(load, versions)
        dates: tuple[date, ...] = ()
        if difference.added or difference.removed:
            versions.change()
        if difference.added or difference.removed or not in_step:
            self._touch(load, versions, all_keys=not in_step)
            dates = self._follow(load, versions)
        self._record(load, rows)
        load.drop(ENDED, ADDED, SNAPSHOT)
        return Applied(
            loaded=difference.added,
            updated=difference.updated,
            unchanged=rows - difference.added,
            deduplicated=repeats,
            touched_dates=dates,
            removed=difference.removed,
        )

    def _stage(self, load: Load) -> tuple[int, int]:
        """Put one row per key into a table, with its hash; give repeats and rows.

        Of rows with one key the one with the greatest hash is kept, which depends on the rows alone.
        """
        keys = ", ".join(self._key)
        staged = int(load.one(f"SELECT count(*) FROM ({load.staged}) AS staged", load.parameters)[0])
        kept = load.one(
            f"CREATE OR REPLACE TEMP TABLE {SNAPSHOT} AS SELECT * FROM "
            f"(SELECT *, {row_hash(load.layout)} AS _row_hash FROM ({load.staged}) AS staged) "
            f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY _row_hash DESC) = 1",
            load.parameters,
        )
        return staged - int(kept[0]), int(kept[0])

    def _guard(self, load: Load, difference: Difference) -> None:
        """Refuse a snapshot that would remove too many rows.

        Raises:
            SnapshotGuardTripped: If it would, and nobody has confirmed it.
        """
        if load.confirmed or not difference.removed:
            return
        share = difference.removed / difference.known
        if share > self._write.guard:
            raise SnapshotGuardTripped(
                f"{difference.removed} of {difference.known} rows ({share:.1%}) are gone from the snapshot, "
                f"more than the guard of {self._write.guard:.0%}; run again with --confirm-empty to accept"
            )

    def _follows(self, load: Load, versions: Versions) -> bool:
        """Tell, by their numbers, whether the table has the rows of the newest snapshot."""
        present = f"WHERE {REMOVED_ON.quoted} IS NULL" if self._marks else ""
        return int(load.one(f"SELECT count(*) FROM {load.layout.name} {present}")[0]) == versions.current()

    def _touch(self, load: Load, versions: Versions, *, all_keys: bool) -> None:
        """Put the keys whose row in the table may change into a table of their own."""
        keys = ", ".join(self._key)
        sources = [ADDED, ENDED]
        if all_keys:
            sources += [versions.name, load.layout.name]
        parts = " UNION ".join(f"SELECT {keys} FROM {source}" for source in sources)
        load.connection.execute(f"CREATE OR REPLACE TEMP TABLE {_TOUCHED} AS {parts}")

    def _follow(self, load: Load, versions: Versions) -> tuple[date, ...]:
        """Bring the rows of the touched keys to what the account says; give the business dates of changed rows.

        Rows that are right already are left alone, so that loading an older day does not rewrite them.
        """
        self._find_targets(load, versions)
        connection, table = load.connection, load.layout.name
        columns = [*load.layout.column_names, '"_partition"']
        if self._marks:
            columns.append(REMOVED_ON.quoted)
        equal = " AND ".join(f"old.{name} IS NOT DISTINCT FROM new.{name}" for name in columns)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_DIFFERENT} AS SELECT old.* FROM {table} AS old "
            f"JOIN {_TOUCHED} AS touched ON {self._same_key('old', 'touched')} "
            f"WHERE NOT EXISTS (SELECT 1 FROM {_TARGET} AS new WHERE {equal})"
        )
        connection.execute(f"DELETE FROM {_TARGET} AS new USING {table} AS old WHERE {equal}")
        connection.execute(
            f"DELETE FROM {table} AS old USING {_DIFFERENT} AS gone WHERE {self._same_key('old', 'gone')}"
        )
        connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}, _run_id, _loaded_at) "
            f"SELECT {', '.join(columns)}, $run_id, CAST($loaded_at AS TIMESTAMP) FROM {_TARGET}",
            {"run_id": load.run_id, "loaded_at": load.loaded_at},
        )
        dates = self._touched_dates(load)
        load.drop(_DIFFERENT, _TARGET, _TOUCHED)
        return dates

    def _find_targets(self, load: Load, versions: Versions) -> None:
        """Put the rows that the touched keys ought to have into a table of their own."""
        keys = ", ".join(f"version.{name}" for name in self._key)
        columns = ", ".join(f"source.{name}" for name in load.layout.column_names)
        last = (
            f"SELECT version.* FROM {versions.name} AS version "
            f"JOIN {_TOUCHED} AS touched ON {self._same_key('version', 'touched')} "
            f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY version.valid_from DESC) = 1"
        )
        if versions.has_values:
            source = ""
            columns = columns.replace("source.", "last.")
        else:
            # An older day changes no values, only since when a row has looked the way it does.
            values = self._present(load) if versions.next_day() is None else load.layout.name
            source = f"JOIN {values} AS source ON {self._same_key('last', 'source')}"
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_TARGET} AS WITH last AS ({last}) "
            f"SELECT {columns}, last.valid_from AS _partition, last.valid_to AS {REMOVED_ON.quoted} "
            f"FROM last {source}" + ("" if self._marks else " WHERE last.valid_to IS NULL")
        )

    def _present(self, load: Load) -> str:
        """The rows of the present: the snapshot's, and those that stay though it does not have them."""
        if not load.asked:
            return SNAPSHOT
        columns = ", ".join(load.layout.column_names)
        return (
            f"(SELECT {columns} FROM {SNAPSHOT} UNION ALL SELECT {columns} FROM {load.layout.name} AS old "
            f"WHERE NOT EXISTS (SELECT 1 FROM {SNAPSHOT} AS new WHERE {self._same_key('old', 'new')}))"
        )

    def _touched_dates(self, load: Load) -> tuple[date, ...]:
        if load.stream.business_date is None:
            return ()
        found = load.connection.execute(
            f"SELECT CAST({load.business_date} AS DATE) FROM {_DIFFERENT} "
            f"UNION SELECT CAST({load.business_date} AS DATE) FROM {_TARGET}"
        ).fetchall()
        return sorted_dates([day for (day,) in found if day is not None])

    def _record(self, load: Load, rows: int) -> None:
        day = load.of_stream | {"day": load.partition}
        load.connection.execute(
            "DELETE FROM etl.snapshots WHERE source = $source AND stream = $stream AND partition = $day", day
        )
        load.connection.execute(
            "INSERT INTO etl.snapshots (source, stream, partition, rows, run_id, loaded_at) VALUES "
            "($source, $stream, $day, $rows, $run_id, $loaded_at)",
            day | {"rows": rows, "run_id": load.run_id, "loaded_at": load.loaded_at},
        )

    @property
    def _marks(self) -> bool:
        return self._write.removed == "mark"

    def _same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in self._key)
