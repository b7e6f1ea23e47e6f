"""A change feed within a load: its columns as SQL, what is known of its keys, and writing what is known from then on.

What is known of a key is a row of the stream's table or, of one that left it, a tombstone. What belongs here: both.
What does not: which of two changes is the newer one (`cdc`).
"""

from __future__ import annotations

from dataclasses import dataclass

from etl_assets.streams.write import Cdc
from etl_assets.warehouse.dispositions.base import Load
from etl_assets.warehouse.dispositions.lookup import FOUND, find_rows
from etl_assets.warehouse.dispositions.together import RUN_OF_LOAD, TIME_OF_LOAD
from etl_assets.warehouse.identifiers import quoted
from etl_assets.warehouse.schema import DELETED_AT, VALUES_SEQUENCE


@dataclass(frozen=True, slots=True)
class Feed:
    """The change feed of a load's stream.

    Args:
        load: The load.
        write: The declaration.
    """

    load: Load
    write: Cdc

    @property
    def key(self) -> tuple[str, ...]:
        """The key's columns, as SQL."""
        return tuple(quoted(name) for name in self.write.key_columns)

    @property
    def sequence(self) -> str:
        """The column of the changes' numbers, as SQL."""
        return quoted(self.write.sequence)

    @property
    def operation(self) -> str:
        """The column that says what a change is, as SQL."""
        return quoted(self.write.operation)

    @property
    def is_soft(self) -> bool:
        """Whether deleted rows stay in the table, marked."""
        return self.write.delete == "soft"

    @property
    def values(self) -> tuple[str, ...]:
        """The columns that a delete need not bring, as SQL."""
        others = (*self.key, self.sequence, self.operation, self.load.window_column)
        return tuple(name for name in self.load.layout.column_names if name not in others)

    def content(self, relation: str) -> str:
        """The values as one comparable value; a missing one is the least of all (see `merge`)."""
        values = [column for column in self.load.layout.columns if column.quoted in self.values]
        parts = (f"{relation}.{column.quoted} IS NOT NULL, {column.ordered(relation)}" for column in values)
        return f"row(true, {', '.join(parts)})" if values else "row(true)"

    def key_json(self, relation: str) -> str:
        """The key as JSON text: an object of texts, by column."""
        pairs = (f"'{name.strip(chr(34))}', CAST({relation}.{name} AS VARCHAR)" for name in sorted(self.key))
        return f"CAST(json_object({', '.join(pairs)}) AS VARCHAR)"

    def same_key(self, left: str, right: str) -> str:
        """Whether two relations' rows are of one key."""
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in self.key)

    def date_of(self, relation: str) -> str:
        """The business date of a row, as SQL; missing where the stream has none."""
        date_of = (
            "NULL" if self.load.stream.business_date is None else f"{relation}.{self.load.business_date}"
        )
        return f"CAST({date_of} AS DATE)"

    def find_known(self, wanted: str, known: str) -> None:
        """Put what is known of some keys into a table of its own.

        It has the feed's columns, `_key_json`, `_row` for rows of the stream's table, `_is_delete`, `_values_sequence`,
        the number of the change that brought the values, and `_before`, the business date.

        Args:
            wanted: A table that has each key once, and its `_key_json`.
            known: The table to make.
        """
        window, values = self.load.window_column, self.values
        keys = ", ".join(f"new.{name}" for name in self.key)
        marked = VALUES_SEQUENCE in self.load.layout.platform_columns
        kept = f"old.{VALUES_SEQUENCE.quoted}" if marked else "CAST(NULL AS BIGINT)"
        row = ", ".join(f"old.{name}" for name in (self.sequence, self.operation, window, *values))
        nothing = ", ".join(["NULL"] * len(values)) + ", " if values else ""
        find_rows(self.load, wanted, self.key)
        self.load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {known} AS SELECT old._row, {keys}, new._key_json, {row}, "
            f"old.{self.operation} = 'D' AS _is_delete, "
            f"CASE WHEN old.{self.operation} = 'D' THEN {kept} ELSE old.{self.sequence} END "
            f"AS _values_sequence, {self.date_of('old')} AS _before "
            f"FROM {FOUND} AS old JOIN {wanted} AS new ON {self.same_key('old', 'new')} "
            f"UNION ALL SELECT NULL, {keys}, new._key_json, old.sequence, 'D', old.deleted_at, {nothing}"
            f"true, NULL, NULL FROM etl.tombstones AS old JOIN {wanted} AS new "
            "ON old.key_json = new._key_json WHERE old.source = $source AND old.stream = $stream",
            self.load.of_stream,
        )
        self.load.drop(FOUND)

    def forget(self, known: str) -> None:
        """Take out what was known.

        Args:
            known: A relation with `_row`, missing where there is none in the stream's table, and `_key_json`.
        """
        self.load.connection.execute(
            f"DELETE FROM {self.load.layout.name} WHERE rowid IN (SELECT _row FROM {known} WHERE _row IS NOT NULL)"
        )
        self.load.connection.execute(
            "DELETE FROM etl.tombstones WHERE source = $source AND stream = $stream "
            f"AND key_json IN (SELECT _key_json FROM {known})",
            self.load.of_stream,
        )

    def write_down(self, states: str) -> None:
        """Write what is known now: rows, and tombstones of those that are to leave the table.

        Args:
            states: A relation of the feed's columns with `_is_delete`, `_values_sequence` and `_key_json`, and the run
                and the time to record.
        """
        columns, window = ", ".join(self.load.layout.column_names), self.load.window_column
        marks = ""
        if DELETED_AT in self.load.layout.platform_columns:
            marks = (
                f", CASE WHEN _is_delete THEN {window} END, CASE WHEN _is_delete THEN _values_sequence END"
            )
        self.load.connection.execute(
            f"INSERT INTO {self.load.layout.name} ({self.load.layout.insert_list}) "
            f"SELECT {columns}, CAST({window} AS DATE), {RUN_OF_LOAD}, {TIME_OF_LOAD}{marks} FROM {states}"
            + ("" if self.is_soft else " WHERE NOT _is_delete")
        )
        if not self.is_soft:
            self.load.connection.execute(
                "INSERT INTO etl.tombstones (source, stream, key_json, sequence, partition, run_id, "
                f"deleted_at) SELECT $source, $stream, _key_json, {self.sequence}, "
                f"CAST({window} AS DATE), {RUN_OF_LOAD}, {window} FROM {states} WHERE _is_delete",
                self.load.of_stream,
            )
