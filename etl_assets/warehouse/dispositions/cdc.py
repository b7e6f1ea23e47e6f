"""`cdc`: a change feed applied by sequence, in whichever order days are loaded.

What is known of a key is two things: its newest change, and its newest change that brought values (an insert or an
update). Each is the greatest one ever given, by a total order that depends on the changes alone, so the order and the
number of loads cannot matter. A key whose newest change is a delete is marked and keeps its newest values (`soft`), or
leaves the table and is remembered as a tombstone (`hard`); either way an older change does not bring it back, and a
newer one does.

Order of changes to one key: by sequence; then a delete after what brings values; then, for malformed feeds that number
two changes alike, values by their columns from first to last, deletes by their time. One thing comes before that: what
a mended contract or transform makes of a change takes the place of what the former one made of it, once the day is
loaded again. If it makes a change of another key of it, what is known of the former key is wrong, and what that key was
before is not known: such a day is withheld until confirmed. What belongs here: that. What does not: missing numbers
(`etl_assets.warehouse.sequences`).
"""

from __future__ import annotations

from datetime import date

from etl_assets.failures import PartitionWithheld
from etl_assets.streams.write import Cdc
from etl_assets.warehouse.dispositions.base import Applied, Load, sorted_dates
from etl_assets.warehouse.dispositions.lookup import FOUND, find_rows
from etl_assets.warehouse.identifiers import quoted
from etl_assets.warehouse.schema import DELETED_AT, VALUES_SEQUENCE
from etl_assets.warehouse.sequences import account_for

_EVENTS = "_etl_events"
_STATES = "_etl_states"
_KNOWN = "_etl_known"
_CHANGES = "_etl_changes"
_STRAYS = "_etl_strays"


class ApplyChanges:
    """A load applies inserts, updates and deletes.

    Args:
        write: The declaration.
    """

    def __init__(self, write: Cdc) -> None:
        self._write = write
        self._key = tuple(quoted(name) for name in write.key_columns)
        self._sequence = quoted(write.sequence)
        self._operation = quoted(write.operation)

    def objection(self, load: Load) -> str | None:
        """See `Disposition`: a load without changes changes nothing."""
        return None

    def still_holds(self, load: Load, staged: int) -> bool:
        """See `Disposition`: later loads only bring newer changes, unless someone emptied the tables."""
        if staged == 0:
            return True
        sql = (
            f"SELECT EXISTS (SELECT 1 FROM {load.layout.name}) OR EXISTS "
            "(SELECT 1 FROM etl.tombstones WHERE source = $source AND stream = $stream)"
        )
        return load.one(sql, self._stream(load))[0] is True

    def apply(self, load: Load) -> Applied:
        """See `Disposition`."""
        connection = load.connection
        staged = int(load.one(f"CREATE OR REPLACE TEMP TABLE {_EVENTS} AS {load.staged}", load.parameters)[0])
        if not staged:
            connection.execute(f"DROP TABLE {_EVENTS}")
            return Applied(0, 0, 0, 0, ())
        strays, dates_of_strays = self._take_out_strays(load) if load.restates else (0, [])
        if self._write.contiguous:
            account_for(load, f"SELECT {self._sequence} AS number FROM {_EVENTS}")
        states = load.count_keys(_EVENTS, self._key)
        if states == staged:
            self._take_as_states(load)
        else:
            self._rank_into_states(load)
        self._find_known(load)
        self._find_changes(load)
        changed, known, removed = load.one(
            f"SELECT count(*), count(*) FILTER (_is_known), count(*) FILTER (_was_there AND _is_delete) "
            f"FROM {_CHANGES}"
        )
        dates = sorted_dates(dates_of_strays, self._touched_dates(load) if changed else [])
        if known:
            self._delete_known(load)
        if changed:
            self._insert(load)
        for table in (_CHANGES, _KNOWN, _STATES, _EVENTS):
            connection.execute(f"DROP TABLE {table}")
        return Applied(
            int(changed),
            int(known),
            states - int(changed),
            staged - states,
            dates,
            removed=int(removed) + strays,
        )

    def _take_out_strays(self, load: Load) -> tuple[int, list[date]]:
        """Take out keys whose newest known change is, by its number, another key's by now; count rows, give dates.

        Raises:
            PartitionWithheld: If there are any, and nobody has confirmed it.
        """
        now = f"SELECT {self._sequence} AS number, {self._key_json('e')} AS key_json FROM {_EVENTS} AS e"
        before = "NULL" if load.stream.business_date is None else f"old.{load.business_date}"
        found = load.one(
            f"CREATE OR REPLACE TEMP TABLE {_STRAYS} AS WITH now AS ({now}), known AS ("
            f"SELECT old.rowid AS _row, {self._key_json('old')} AS key_json, old.{self._sequence} AS number, "
            f"old.{self._operation} <> 'D' AS _was_there, CAST({before} AS DATE) AS _before "
            f"FROM {load.layout.name} AS old WHERE old.{self._sequence} IN (SELECT number FROM now) "
            "UNION ALL SELECT NULL, key_json, sequence, false, NULL FROM etl.tombstones "
            "WHERE source = $source AND stream = $stream AND sequence IN (SELECT number FROM now)) "
            "SELECT * FROM known WHERE NOT EXISTS (SELECT 1 FROM now "
            "WHERE now.number = known.number AND now.key_json = known.key_json)",
            self._stream(load),
        )[0]
        if found and not load.confirmed:
            raise PartitionWithheld(
                f"its mended transform makes changes of other keys of {int(found)} that are applied already; run again "
                "with --confirm-empty to take the former keys out, then load the days before it with --replay"
            )
        rows, dates = load.one(
            f"SELECT count(*) FILTER (_was_there), list(DISTINCT _before) FILTER (_before IS NOT NULL) FROM {_STRAYS}"
        )
        load.connection.execute(
            f"DELETE FROM {load.layout.name} WHERE rowid IN (SELECT _row FROM {_STRAYS} WHERE _row IS NOT NULL)"
        )
        load.connection.execute(
            "DELETE FROM etl.tombstones WHERE source = $source AND stream = $stream "
            f"AND key_json IN (SELECT key_json FROM {_STRAYS})",
            self._stream(load),
        )
        load.connection.execute(f"DROP TABLE {_STRAYS}")
        return int(rows), list(dates or ())

    def _take_as_states(self, load: Load) -> None:
        """Take the staged changes as what they amount to, one for each key, into a table of the form of ranked ones."""
        columns = [*self._key, self._sequence, self._operation, load.window_column, *self._values(load)]
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_STATES} AS SELECT {', '.join(columns)}, "
            f"{self._operation} = 'D' AS _is_delete, {self._key_json('e')} AS _key_json, "
            f"CASE WHEN {self._operation} <> 'D' THEN {self._sequence} END AS _values_sequence FROM {_EVENTS} AS e"
        )

    def _rank_into_states(self, load: Load) -> None:
        """Work out, per key, what several staged changes of it amount to."""
        keys, window = ", ".join(self._key), load.window_column
        picked = [*self._key, self._sequence, self._operation, window]
        values, rest = self._content("e", load), f"{window} DESC, {self._operation} DESC"
        columns = [f"newest.{name}" for name in picked] + [
            f"CASE WHEN valued._is_delete THEN newest.{name} ELSE valued.{name} END AS {name}"
            for name in self._values(load)
        ]
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_STATES} AS WITH e AS (SELECT *, "
            f"{self._operation} = 'D' AS _is_delete FROM {_EVENTS}), "
            "ranked AS (SELECT *, "
            f"row_number() OVER (PARTITION BY {keys} ORDER BY {self._sequence} DESC, _is_delete DESC, "
            f"CASE WHEN _is_delete THEN {window} END DESC, {values} DESC, {rest}) AS _rank, "
            f"row_number() OVER (PARTITION BY {keys} ORDER BY _is_delete, {self._sequence} DESC, "
            f"{values} DESC, {rest}) AS _rank_of_values FROM e) "
            f"SELECT {', '.join(columns)}, newest._is_delete, {self._key_json('newest')} AS _key_json, "
            f"CASE WHEN NOT valued._is_delete THEN valued.{self._sequence} END AS _values_sequence "
            f"FROM ranked AS newest JOIN ranked AS valued ON {self._same_key('newest', 'valued')} "
            "WHERE newest._rank = 1 AND valued._rank_of_values = 1"
        )

    def _find_known(self, load: Load) -> None:
        """Put what was known of the staged keys into a table of the same form."""
        window, values = load.window_column, self._values(load)
        keys = ", ".join(f"new.{name}" for name in self._key)
        marked = VALUES_SEQUENCE in load.layout.platform_columns
        kept = f"old.{VALUES_SEQUENCE.quoted}" if marked else "CAST(NULL AS BIGINT)"
        row = ", ".join(f"old.{name}" for name in (self._sequence, self._operation, window, *values))
        nothing = ", ".join(["NULL"] * len(values)) + ", " if values else ""
        before = "NULL" if load.stream.business_date is None else f"old.{load.business_date}"
        find_rows(load, _STATES, self._key)
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_KNOWN} AS SELECT old._row, {keys}, {row}, "
            f"old.{self._operation} = 'D' AS _is_delete, "
            f"CASE WHEN old.{self._operation} = 'D' THEN {kept} ELSE old.{self._sequence} END "
            f"AS _values_sequence, CAST({before} AS DATE) AS _before "
            f"FROM {FOUND} AS old JOIN {_STATES} AS new ON {self._same_key('old', 'new')} "
            f"UNION ALL SELECT NULL, {keys}, old.sequence, 'D', old.deleted_at, {nothing}"
            f"true, NULL, NULL FROM etl.tombstones AS old JOIN {_STATES} AS new "
            "ON old.key_json = new._key_json WHERE old.source = $source AND old.stream = $stream",
            self._stream(load),
        )
        load.connection.execute(f"DROP TABLE {FOUND}")

    def _find_changes(self, load: Load) -> None:
        """Unite what was known and what is staged, and keep the keys of which more is known now."""
        window = load.window_column
        of_values = "_values_are_newer" if self._soft else "false"
        columns = [f"new.{name}" for name in self._key]
        for name in (self._sequence, self._operation, window, "_is_delete"):
            columns.append(f"CASE WHEN _is_newer THEN new.{name} ELSE old.{name} END AS {name}")
        for name in self._values(load):
            columns.append(
                f"CASE WHEN _values_are_newer THEN new.{name} WHEN old._values_sequence IS NOT NULL "
                f"THEN old.{name} WHEN _is_newer THEN new.{name} ELSE old.{name} END AS {name}"
            )
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_CHANGES} AS WITH compared AS (SELECT new.*, "
            f"old.{self._sequence} IS NOT NULL AS _is_known, "
            f"old.{self._sequence} IS NULL OR {self._newer(load)} AS _is_newer, "
            f"new._values_sequence IS NOT NULL AND (old._values_sequence IS NULL "
            "OR new._values_sequence > old._values_sequence OR (new._values_sequence = old._values_sequence "
            f"AND {self._beats(load, self._content('new', load), self._content('old', load))})) "
            "AS _values_are_newer "
            f"FROM {_STATES} AS new LEFT JOIN {_KNOWN} AS old ON {self._same_key('new', 'old')}) "
            f"SELECT {', '.join(columns)}, new._key_json, new._is_known, "
            "CASE WHEN _values_are_newer THEN new._values_sequence ELSE old._values_sequence END "
            "AS _values_sequence, new._is_known AND NOT old._is_delete AS _was_there, old._before, old._row "
            f"FROM compared AS new LEFT JOIN {_KNOWN} AS old ON {self._same_key('new', 'old')} "
            f"WHERE _is_newer OR {of_values}"
        )

    def _newer(self, load: Load) -> str:
        """Whether the staged newest change of a key comes after the known one, as SQL."""
        window, values = load.window_column, (self._content("new", load), self._content("old", load))
        deletes = self._beats(load, f"new.{window}", f"old.{window}")
        if self._soft:
            # What a delete itself brought is seen only as long as nothing else brought values.
            no_values = "new._values_sequence IS NULL AND old._values_sequence IS NULL"
            deletes += f" OR (new.{window} = old.{window} AND {no_values} AND {self._beats(load, *values)})"
        whole = [
            f"row({content}, {side}.{window}, {side}.{self._operation})"
            for content, side in zip(values, ("new", "old"), strict=True)
        ]
        return (
            f"CASE WHEN new.{self._sequence} <> old.{self._sequence} "
            f"THEN new.{self._sequence} > old.{self._sequence} "
            "WHEN new._is_delete <> old._is_delete THEN new._is_delete "
            f"WHEN new._is_delete THEN {deletes} ELSE {self._beats(load, *whole)} END"
        )

    @staticmethod
    def _beats(load: Load, new: str, old: str) -> str:
        """Whether what is staged of a change takes the place of what is known of the same one, as SQL."""
        return f"({new} > {old} OR {old} > {new})" if load.restates else f"{new} > {old}"

    def _touched_dates(self, load: Load) -> list[date]:
        """Give the business dates of changed rows, as they were and as they will be."""
        if load.stream.business_date is None:
            return []
        stays = "true" if self._soft else "NOT _is_delete"
        found = load.connection.execute(
            f"SELECT CAST({load.business_date} AS DATE) FROM {_CHANGES} WHERE {stays} "
            f"UNION SELECT _before FROM {_CHANGES}"
        ).fetchall()
        return [day for (day,) in found if day is not None]

    def _delete_known(self, load: Load) -> None:
        load.connection.execute(
            f"DELETE FROM {load.layout.name} WHERE rowid IN (SELECT _row FROM {_CHANGES} WHERE _row IS NOT NULL)"
        )
        load.connection.execute(
            "DELETE FROM etl.tombstones WHERE source = $source AND stream = $stream "
            f"AND key_json IN (SELECT _key_json FROM {_CHANGES} WHERE _is_known)",
            self._stream(load),
        )

    def _insert(self, load: Load) -> None:
        run = {"run_id": load.run_id, "loaded_at": load.loaded_at}
        columns, window = ", ".join(load.layout.column_names), load.window_column
        marks = ""
        if DELETED_AT in load.layout.platform_columns:
            marks = (
                f", CASE WHEN _is_delete THEN {window} END, CASE WHEN _is_delete THEN _values_sequence END"
            )
        load.connection.execute(
            f"INSERT INTO {load.layout.name} ({load.layout.insert_list}) SELECT {columns}, "
            f"CAST({window} AS DATE), $run_id, CAST($loaded_at AS TIMESTAMP){marks} FROM {_CHANGES}"
            + ("" if self._soft else " WHERE NOT _is_delete"),
            run,
        )
        if not self._soft:
            load.connection.execute(
                "INSERT INTO etl.tombstones (source, stream, key_json, sequence, partition, run_id, "
                f"deleted_at) SELECT $source, $stream, _key_json, {self._sequence}, "
                f"CAST({window} AS DATE), $run_id, {window} FROM {_CHANGES} WHERE _is_delete",
                self._stream(load) | {"run_id": load.run_id},
            )

    @property
    def _soft(self) -> bool:
        return self._write.delete == "soft"

    def _values(self, load: Load) -> tuple[str, ...]:
        """The columns that a delete need not bring, as SQL."""
        others = (*self._key, self._sequence, self._operation, load.window_column)
        return tuple(name for name in load.layout.column_names if name not in others)

    def _content(self, relation: str, load: Load) -> str:
        """The values as one comparable value; a missing one is the least of all (see `merge`)."""
        values = [column for column in load.layout.columns if column.quoted in self._values(load)]
        parts = (f"{relation}.{column.quoted} IS NOT NULL, {column.ordered(relation)}" for column in values)
        return f"row(true, {', '.join(parts)})" if values else "row(true)"

    def _key_json(self, relation: str) -> str:
        """The key as JSON text: an object of texts, by column."""
        pairs = (f"'{name.strip(chr(34))}', CAST({relation}.{name} AS VARCHAR)" for name in sorted(self._key))
        return f"CAST(json_object({', '.join(pairs)}) AS VARCHAR)"

    def _same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in self._key)

    def _stream(self, load: Load) -> dict[str, str]:
        return {"source": load.stream.source.name, "stream": load.stream.name}
