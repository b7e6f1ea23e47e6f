"""The account of a snapshot's versions: from which day to which each row looked the way it did.

A version is valid over a half-open span of days, from the first snapshot that has it to the next one that differs.
Neighbouring equal versions are one, so that the account follows from the loaded snapshots alone, in whichever order
they came: a slowly changing dimension of type 2. It also serves streams that keep no history, because only it can
tell since when a row has looked the way it does when days are loaded out of order. Then it is a hidden table, which
holds no more than needed: whole rows where rows that are gone stay in the table, else keys and hashes.

What belongs here: that account. What does not: the stream's own table (`snapshot`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from etl_assets.failures import WarehouseError
from etl_assets.outcomes import SchemaChangeKind
from etl_assets.streams.write import Snapshot
from etl_assets.warehouse.dispositions.base import Load
from etl_assets.warehouse.identifiers import qualified, quoted, text_literal
from etl_assets.warehouse.schema import Column, TableLayout, ensure_table, table_columns
from etl_assets.warehouse.types import canonical_text

SNAPSHOT = "_etl_snapshot"
ADDED = "_etl_added"
ENDED = "_etl_ended"
_SPANS = "_etl_spans"

_VALIDITY = (
    Column("valid_from", "DATE", "Day of the first snapshot that has this version."),
    Column("valid_to", "DATE", "Day of the next snapshot that differs; missing while there is none."),
    Column("is_current", "BOOLEAN", "Whether the newest snapshot has this version."),
    Column("_row_hash", "VARCHAR", "MD5 over all columns of the contract."),
    Column("_run_id", "VARCHAR", "Run that wrote the version."),
    Column("_loaded_at", "TIMESTAMP", "When the version was written, UTC."),
)
_HASH = '"_row_hash"'
_RETYPED = (SchemaChangeKind.WIDENED, SchemaChangeKind.CONVERTED)
_COVERS = "valid_from <= CAST($day AS DATE) AND (valid_to IS NULL OR valid_to > CAST($day AS DATE))"


@dataclass(frozen=True, slots=True)
class Difference:
    """A snapshot against what was known of its day: its own earlier load, else the snapshot before.

    Attributes:
        known: Rows known of the day.
        added: Rows that are new or changed.
        updated: Those of them whose key was known.
        removed: Known rows whose key the snapshot lacks.
    """

    known: int
    added: int
    updated: int
    removed: int


def row_hash(layout: TableLayout, relation: str | None = None) -> str:
    """The hash of a row's columns, as SQL; of a relation's where one is named.

    It is kept between loads, hence MD5 over text, which is the same in every version of the database, and not the
    database's own hash. Missing values are left out, so that a new column, missing in all rows, changes no hash; the
    values of an evolved column are spelled alike before and after its type was widened.
    """
    parts = []
    for column in sorted(layout.columns, key=lambda column: column.name):
        value = f"{relation}.{column.quoted}" if relation else column.quoted
        text = canonical_text(value, column.sql_type) if column.evolved else f"CAST({value} AS VARCHAR)"
        name = text_literal(f"{column.name}:")
        parts.append(
            f"CASE WHEN {value} IS NULL THEN '' "
            f"ELSE concat({name}, CAST(length({text}) AS VARCHAR), ':', {text}) END"
        )
    return f"md5(concat({', '.join(parts)}))"


def version_tables(connection: duckdb.DuckDBPyConnection, layout: TableLayout) -> list[str]:
    """Give the tables, as SQL, in which versions of a table's rows are or were kept, in whichever form."""
    names = (f"{layout.table}_history", f"_{layout.table}_versions", f"_{layout.table}_keys")
    return [
        qualified(layout.schema, name)
        for name in names
        # No contract has a column that begins with an underscore, so that no stream's table is mistaken for one.
        if "_row_hash" in table_columns(connection, layout.schema, name)
    ]


class Versions:
    """The versions of one stream, within one load.

    Args:
        load: The load.
        write: The declaration.
    """

    def __init__(self, load: Load, write: Snapshot) -> None:
        self._load = load
        self._key = tuple(quoted(name) for name in write.key_columns)
        self.has_values = write.history or write.removed == "mark"
        self._layout = self._layout_of(write.history, self.has_values)
        self._others = [
            self._layout_of(history, values)
            for history, values in ((True, True), (False, True), (False, False))
            if (history, values) != (write.history, self.has_values)
        ]

    @property
    def name(self) -> str:
        """The table's name as SQL."""
        return self._layout.name

    def exist(self) -> bool:
        """Whether there is an account already."""
        return self._is_account(self._layout)

    def prepare(self) -> None:
        """Make the table, or bring it up to the contract; an account kept in another form is taken over.

        Raises:
            WarehouseError: If the table's name is taken by another one.
        """
        connection, layout = self._load.connection, self._layout
        if self.exist():
            _, changes = ensure_table(connection, layout)
            if any(change.kind in _RETYPED for change in (*changes, *self._load.table_changes)):
                self._hash_anew()
            return
        if table_columns(connection, layout.schema, layout.table):
            raise WarehouseError(
                f"table {layout.schema}.{layout.table} is not the history of {self._load.stream.id}",
                hint="rename that table, or the stream",
            )
        ensure_table(connection, layout)
        earlier = [other for other in self._others if self._is_account(other)]
        for other in earlier:
            self._take_over(other)
        if not earlier:
            # Days without versions would pass for days on which there were no rows.
            connection.execute(
                "DELETE FROM etl.snapshots WHERE source = $source AND stream = $stream", self._load.of_stream
            )

    def compare(self) -> Difference:
        """Find what is different in the snapshot, which is in the table `SNAPSHOT`.

        A row stays as it was when it was asked for by itself and the snapshot does not have it.
        """
        same = f"{self._same_key('old', 'new')} AND old.{_HASH} = new.{_HASH}"
        known = self._load.one(f"SELECT count(*) FROM {self.name} WHERE {_COVERS}", self._day)[0]
        added = self._load.one(
            f"CREATE OR REPLACE TEMP TABLE {ADDED} AS SELECT * FROM {SNAPSHOT} AS new "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.name} AS old WHERE {_COVERS} AND {same})",
            self._day,
        )[0]
        ended = self._load.one(
            f"CREATE OR REPLACE TEMP TABLE {ENDED} AS SELECT * FROM {self.name} AS old WHERE {_COVERS} "
            f"AND NOT EXISTS (SELECT 1 FROM {SNAPSHOT} AS new WHERE {same}) {self._unless_asked}",
            self._day | ({"asked": list(self._load.asked)} if self._load.asked else {}),
        )[0]
        updated = self._load.one(
            f"SELECT count(*) FROM {ADDED} AS new WHERE EXISTS "
            f"(SELECT 1 FROM {ENDED} AS old WHERE {self._same_key('old', 'new')})"
        )[0]
        return Difference(int(known), int(added), int(updated), int(ended) - int(updated))

    def change(self) -> None:
        """Make the account say of the day what the snapshot says; `compare` has been asked before."""
        self._cut_ended()
        self._write_added()
        self._load.drop(_SPANS)

    def covering(self) -> int:
        """Count the rows that are known of the day."""
        return int(self._load.one(f"SELECT count(*) FROM {self.name} WHERE {_COVERS}", self._day)[0])

    def current(self) -> int:
        """Count the rows of the newest snapshot."""
        return int(self._load.one(f"SELECT count(*) FROM {self.name} WHERE valid_to IS NULL")[0])

    def next_day(self) -> date | None:
        """Give the day of the next snapshot that has been loaded; None when this one is the newest."""
        found: date | None = self._load.one(
            "SELECT min(partition) FROM etl.snapshots WHERE source = $source AND stream = $stream "
            "AND partition > CAST($day AS DATE)",
            self._load.of_stream | self._day,
        )[0]
        return found

    def _cut_ended(self) -> None:
        """Cut the day, until the next snapshot, out of versions that the day's snapshot does not have."""
        self._delete(f"{ENDED} AS gone", "old.valid_from = gone.valid_from", "gone")
        day, until = "CAST($day AS DATE)", "CAST($next AS DATE)"
        kept = f"{_HASH}, _run_id, _loaded_at FROM {ENDED}"
        columns = ", ".join(column.quoted for column in self._layout.columns)
        self._load.connection.execute(
            f"INSERT INTO {self.name} ({self._layout.insert_list}) "
            f"SELECT {columns}, valid_from, {day}, false, {kept} WHERE valid_from < {day} "
            f"UNION ALL SELECT {columns}, {until}, valid_to, valid_to IS NULL, {kept} "
            f"WHERE {until} IS NOT NULL AND (valid_to IS NULL OR valid_to > {until})",
            self._day | {"next": self.next_day()},
        )

    def _write_added(self) -> None:
        """Write the snapshot's new versions, each united with an equal one right before or after it."""
        equal = f"{{0}}.{_HASH} = new.{_HASH} AND {self._same_key('{0}', 'new')}"
        self._load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_SPANS} AS SELECT new.*, "
            "coalesce(before.valid_from, CAST($day AS DATE)) AS valid_from, "
            "CASE WHEN after.valid_from IS NULL THEN CAST($next AS DATE) ELSE after.valid_to END AS valid_to, "
            "before.valid_from AS _first, after.valid_from AS _second "
            f"FROM {ADDED} AS new LEFT JOIN {self.name} AS before "
            f"ON {equal.format('before')} AND before.valid_to = CAST($day AS DATE) "
            f"LEFT JOIN {self.name} AS after "
            f"ON {equal.format('after')} AND after.valid_from = CAST($next AS DATE)",
            self._day | {"next": self.next_day()},
        )
        self._delete(
            f"{_SPANS} AS new", "(old.valid_from = new._first OR old.valid_from = new._second)", "new"
        )
        columns = ", ".join(column.quoted for column in self._layout.columns)
        self._load.connection.execute(
            f"INSERT INTO {self.name} ({self._layout.insert_list}) SELECT {columns}, valid_from, valid_to, "
            f"valid_to IS NULL, {_HASH}, $run_id, CAST($loaded_at AS TIMESTAMP) FROM {_SPANS}",
            {"run_id": self._load.run_id, "loaded_at": self._load.loaded_at},
        )

    def _delete(self, using: str, which: str, relation: str) -> None:
        self._load.connection.execute(
            f"DELETE FROM {self.name} AS old USING {using} WHERE {which} "
            f"AND {self._same_key('old', relation)}"
        )

    def _hash_anew(self) -> None:
        """Hash what is known by the columns' present types; what has keys alone, as far as its values are known."""
        own = self._load.layout
        if self.has_values:
            self._load.connection.execute(f"UPDATE {self.name} SET {_HASH} = {row_hash(own)}")
            return
        self._load.connection.execute(
            f"UPDATE {self.name} AS old SET {_HASH} = {row_hash(own, 'new')} FROM {own.name} AS new "
            f"WHERE {self._same_key('old', 'new')} AND old.valid_to IS NULL"
        )

    def _take_over(self, other: TableLayout) -> None:
        """Fill the account from one that was kept in another form, as far as that one goes."""
        connection, layout = self._load.connection, self._layout
        there = set(table_columns(connection, other.schema, other.table))
        from_other = [column.quoted for column in layout.all_columns if column.name in there]
        if len(other.columns) >= len(layout.columns):
            columns, rows = ", ".join(from_other), f"{other.name} AS old"
        else:
            # Keys and hashes alone: the values of what is valid now are in the stream's table.
            current = [column.quoted for column in layout.columns if column.name not in there]
            from_other += current
            columns = ", ".join(f"{'new' if name in current else 'old'}.{name}" for name in from_other)
            rows = (
                f"{other.name} AS old JOIN {self._load.layout.name} AS new "
                f"ON {self._same_key('old', 'new')} WHERE old.valid_to IS NULL"
            )
        connection.execute(f"INSERT INTO {self.name} ({', '.join(from_other)}) SELECT {columns} FROM {rows}")
        connection.execute(f"DROP TABLE {other.name}")

    def _is_account(self, layout: TableLayout) -> bool:
        return layout.name in version_tables(self._load.connection, self._load.layout)

    def _layout_of(self, history: bool, values: bool) -> TableLayout:
        own = self._load.layout
        hidden = f"_{own.table}_versions" if values else f"_{own.table}_keys"
        columns = own.columns if values else tuple(c for c in own.columns if c.quoted in self._key)
        return TableLayout(own.schema, f"{own.table}_history" if history else hidden, columns, _VALIDITY)

    def _same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in self._key)

    @property
    def _unless_asked(self) -> str:
        if not self._load.asked:
            return ""
        return (
            f"AND (EXISTS (SELECT 1 FROM {SNAPSHOT} AS new WHERE {self._same_key('old', 'new')}) "
            f"OR CAST(old.{self._key[0]} AS VARCHAR) NOT IN (SELECT unnest(CAST($asked AS VARCHAR[]))))"
        )

    @property
    def _day(self) -> dict[str, Any]:
        return {"day": self._load.partition}
