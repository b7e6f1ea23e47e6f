"""What follows from fields that are new, gone or back: columns, warnings, a refusal; decided before any row is written.

A table's columns are settled once for all days that are committed in one transaction, because DuckDB alters no table
from which the transaction has deleted rows. What a column's type is depends on all values that it was ever given, never
on their order. Whether a field is gone is decided by the newest day: an older one that is loaded again says nothing of
what the source sends now.

What belongs here: these decisions, and keeping account of them. What does not: noticing fields
(`etl_assets.quality.observed`), altering tables (`schema`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache

import duckdb

from etl_assets.outcomes import SchemaChange, SchemaChangeKind, Status
from etl_assets.streams.base import Stream
from etl_assets.streams.contract import Contract, FieldNotes
from etl_assets.streams.observed import EVOLVED_COLUMN, ObservedField, SetAside
from etl_assets.streams.schema_policy import SchemaPolicy
from etl_assets.warehouse.children import ensure_child_tables
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.identifiers import text_literal
from etl_assets.warehouse.known_fields import KnownField, KnownFields, Use
from etl_assets.warehouse.schema import (
    Column,
    TableLayout,
    ensure_table,
    layout_of,
    table_columns,
    with_evolved,
)
from etl_assets.warehouse.schema_changes import is_recorded, record_changes
from etl_assets.warehouse.set_aside import record_set_aside
from etl_assets.warehouse.transaction import naive_utc
from etl_assets.warehouse.types import type_of

SAMPLE = 100
"""Rows whose values are kept aside where a column could not be made of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A request after its fields were looked at.

    Attributes:
        request: The request, with what has to be said of its fields.
        changes: What was noticed for the first time.
        alters: Whether the table has to change for the day's rows.
    """

    request: CommitRequest
    changes: tuple[SchemaChange, ...] = ()
    alters: bool = False


class Evolution:
    """The schemas of one session's streams.

    Args:
        connection: The warehouse, held exclusively.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._known = KnownFields(connection)

    def forget(self) -> None:
        """Drop what is remembered, after a transaction was rolled back."""
        self._known.forget()

    def plan(self, request: CommitRequest, newest: date | None, *, newest_is_alike: bool) -> Plan:
        """Decide what follows from the fields of a day, and keep account of it.

        Args:
            request: The day.
            newest: The latest published day that had rows.
            newest_is_alike: Whether it was loaded by the same contract and code.
        """
        if request.fields is None:
            return Plan(request)
        look = _Look(self._connection, self._known, request, newest, newest_is_alike)
        if request.fields.records:
            look.at_unknown()
            look.at_presence()
        request = look.judged()
        record_changes(
            self._connection,
            request.stream,
            request.partition,
            look.changes,
            run_id=request.run_id,
            at=naive_utc(request.loaded_at),
        )
        if look.set_aside or any(field.kept_out_on for field in self._known.of(request.stream).values()):
            record_set_aside(
                self._connection,
                request.stream,
                request.partition,
                look.set_aside,
                run_id=request.run_id,
                contract_version=request.contract_version,
                at=naive_utc(request.loaded_at),
                published=request.verdict.is_published,
            )
        return Plan(request, tuple(look.changes), look.alters)

    def settle_table(
        self, stream: Stream, partition: date, *, run_id: str, at: datetime
    ) -> tuple[TableLayout, tuple[SchemaChange, ...]]:
        """Bring a stream's table up to its contract and to the columns beside it.

        Args:
            stream: The stream.
            partition: The day whose load it is done with.
            run_id: The run.
            at: When; naive UTC.

        Returns:
            The table's layout, and what was changed for the contract's sake.

        Raises:
            WarehouseError: If a column's type does not go with the contract's.
        """
        layout = layout_of(stream)
        own = {column.name for column in layout.columns}
        beside = {field.column: field for field in self._known.of(stream).values() if field.column}
        columns = tuple(replace(column, adopts=column.name in beside) for column in layout.columns)
        evolved = [_column(field) for name, field in beside.items() if name not in own]
        is_evolving = stream.schema_changes == SchemaPolicy.EVOLVE
        layout = with_evolved(replace(layout, columns=columns), evolved if is_evolving else ())
        layout, found = ensure_table(self._connection, layout)
        found += ensure_child_tables(self._connection, stream, layout)
        for name in beside.keys() & own:
            self._known.save(stream, replace(beside[name], column=None, kinds=frozenset(), use=Use.CONTRACT))
        changes = [
            change
            for change in found
            if change.kind is not SchemaChangeKind.NARROWED
            or not is_recorded(self._connection, stream, change)
        ]
        record_changes(self._connection, stream, partition, changes, run_id=run_id, at=at)
        return layout, tuple(changes)


class _Look:
    """One day's fields, while they are looked at."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        known: KnownFields,
        request: CommitRequest,
        newest: date | None,
        newest_is_alike: bool,
    ) -> None:
        assert request.fields is not None
        self._connection = connection
        self._known = known
        self._request = request
        self._stream = request.stream
        self._fields = request.fields
        self._newest = max(newest or request.partition, request.partition)
        self._newest_is_alike = newest_is_alike
        self._is_newest = request.partition == self._newest
        self._reads = _reads(request.stream.contract)
        self._before = frozenset(known.of(request.stream))
        self._warnings: list[SchemaChange] = []
        self.set_aside = list(request.fields.set_aside)
        self.changes: list[SchemaChange] = []
        self.alters = False

    def at_unknown(self) -> None:
        """Decide what becomes of fields that the contract does not know."""
        for name, seen in self._fields.unknown.items():
            if not seen.rows:
                continue
            if self._stream.schema_changes == SchemaPolicy.STRICT:
                self._keep_out(name, seen, Use.WITHHELD)
            elif self._stream.schema_changes == SchemaPolicy.FREEZE:
                self._keep_out(name, seen, Use.SET_ASIDE)
            elif reason := seen.reason or self._taken(name):
                self._keep_out(name, replace(seen, reason=reason), Use.SET_ASIDE)
                if not seen.reason:
                    self.set_aside += self._from_staged(name)
            elif self._request.verdict.is_published:
                self._evolve(name, seen)

    def at_presence(self) -> None:
        """Decide which fields are gone, and which are back."""
        ignored = set(self._stream.ignored_fields)
        for name, columns in self._reads.items():
            self._note_presence(name, columns, is_there=name not in self._fields.absent)
        for name, known in list(self._known.of(self._stream).items()):
            if name in self._reads:
                continue
            if name not in ignored:
                columns = (known.column,) if known.use is Use.EVOLVED and known.column else ()
                self._note_presence(name, columns, is_there=name in self._fields.unknown)
            elif known.column is None:
                self._known.save(self._stream, replace(known, use=Use.IGNORED, present=False))

    def judged(self) -> CommitRequest:
        """Give the request with its warnings, or withheld."""
        request = self._request
        withheld = [change for change in self._warnings if change.kind is SchemaChangeKind.WITHHELD]
        told = withheld or self._warnings
        if not told:
            return request
        message = "; ".join(change.sentence for change in told)
        verdict = Status.PUBLISHED_WITH_WARNINGS
        if withheld:
            names = ", ".join(str(change.field) for change in withheld)
            message = (
                f"the source sends fields that the contract does not know: {names}; take them into the contract, "
                "name them in ignored_fields, or choose another schema_changes"
            )
            verdict = Status.WITHHELD
        warnings = {f"{change.column or change.field}.{_RULES[change.kind]}": change.rows for change in told}
        return replace(
            request,
            verdict=request.verdict if request.verdict is Status.WITHHELD else verdict,
            message="; ".join(part for part in (request.message, message) if part),
            warnings=request.warnings | warnings,
        )

    def _keep_out(self, name: str, seen: ObservedField, use: Use) -> None:
        """Keep a field out of the table; noticed once, and told each time that this day is loaded."""
        prior = self._prior(name)
        is_new = prior is None or prior.use is not use
        kind = SchemaChangeKind.WITHHELD if use is Use.WITHHELD else SchemaChangeKind.SET_ASIDE
        change = SchemaChange(
            kind,
            column=prior.column if prior else None,
            field=name,
            before=type_of(prior.kinds) if prior else None,
            after=type_of(seen.kinds),
            rows=seen.rows,
            reason=seen.reason,
        )
        if is_new:
            known = prior or KnownField(name, use, present=True)
            if known.use is Use.IGNORED:
                known = replace(known, present=True)
            self._known.save(self._stream, replace(known, use=use, kept_out_on=self._request.partition))
            self.changes.append(change)
        if use is Use.WITHHELD or is_new or (prior and prior.kept_out_on == self._request.partition):
            self._warnings.append(change)

    def _evolve(self, name: str, seen: ObservedField) -> None:
        """Give a field a column, or its column a wider type."""
        prior = self._prior(name)
        base = prior.kinds if prior and prior.column else frozenset()
        before, after = type_of(base), type_of(base | seen.kinds)
        if after is None:
            return
        known = prior or KnownField(name, Use.EVOLVED, present=True)
        if known.use is Use.IGNORED:
            known = replace(known, present=True)
        kind: SchemaChangeKind | None = None
        if known.column is None:
            kind = SchemaChangeKind.ADDED
        elif known.use is not Use.EVOLVED:
            kind = SchemaChangeKind.RESTORED
        elif before != after:
            kind = SchemaChangeKind.WIDENED
        self._known.save(self._stream, replace(known, use=Use.EVOLVED, column=name, kinds=base | seen.kinds))
        if kind is not None:
            self.alters = True
            self.changes.append(
                SchemaChange(kind, column=name, field=name, before=before, after=after, rows=seen.rows)
            )

    def _note_presence(self, name: str, columns: Sequence[str], *, is_there: bool) -> None:
        """Keep account of whether the newest day has a field, and note when that changes."""
        prior = self._prior(name)
        if prior is None:
            # Noted also when it is not there: should an older day turn out to have it, it was lost since.
            if is_there or self._is_newest:
                self._known.save(self._stream, KnownField(name, Use.CONTRACT, present=is_there))
            return
        known = replace(prior, use=Use.CONTRACT) if name in self._reads else prior
        now = is_there if self._is_newest else known.present and not self._newest_lacks(name)
        was = is_there if known.was_never_there else known.present
        if was != now:
            kind = SchemaChangeKind.RESTORED if now else SchemaChangeKind.REMOVED
            known = replace(known, moved_on=self._newest)
            self.changes += self._moved(kind, name, columns, known)
        self._known.save(self._stream, replace(known, present=now))
        if not is_there and not now and known.moved_on == self._request.partition:
            moved = self._moved(SchemaChangeKind.REMOVED, name, columns, known)
            self._warnings += [change for change in moved if change.is_warning]

    def _newest_lacks(self, name: str) -> bool:
        """Whether a field that an older day brings is missing in the newest one: there it would have been noticed."""
        return name not in self._before and bool(self._before) and self._newest_is_alike

    def _moved(
        self, kind: SchemaChangeKind, name: str, columns: Sequence[str], known: KnownField
    ) -> list[SchemaChange]:
        types = {column.name: column.sql_type for column in layout_of(self._stream).columns}
        found = []
        for column in columns or (None,):
            there = types.get(column or "") or type_of(known.kinds)
            before, after = (there, None) if kind is SchemaChangeKind.REMOVED else (None, there)
            rows, day = (self._fields.records, None) if self._is_newest else (0, self._newest)
            found.append(SchemaChange(kind, column, name, before, after, rows, day=day))
        return found

    def _prior(self, name: str) -> KnownField | None:
        return self._known.of(self._stream).get(name)

    def _taken(self, name: str) -> str:
        """Say that the table has a column of that name which is not the field's, if so: an earlier contract's."""
        prior = self._prior(name)
        if prior is not None and prior.column is not None:
            return ""
        existing = table_columns(self._connection, self._stream.source.name, self._stream.name)
        return "the table has a column of that name from an earlier contract" if name in existing else ""

    def _from_staged(self, name: str) -> list[SetAside]:
        """Take from the staged rows what staging held for a new column."""
        if self._request.rows is None:
            return []
        value = f"map_extract({EVOLVED_COLUMN}, {text_literal(name)})[1]"
        found = self._connection.execute(
            f"SELECT _row, CAST(json_object({text_literal(name)}, {value}) AS VARCHAR) FROM read_parquet(?) "
            f"WHERE {value} IS NOT NULL ORDER BY _row LIMIT {SAMPLE}",
            [str(self._request.rows)],
        ).fetchall()
        return [SetAside(*row) for row in found]


_RULES = {
    SchemaChangeKind.SET_ASIDE: "unknown",
    SchemaChangeKind.WITHHELD: "unknown",
    SchemaChangeKind.REMOVED: "removed",
}


def _column(field: KnownField) -> Column:
    sql_type = type_of(field.kinds)
    assert field.column is not None
    assert sql_type is not None
    return Column(field.column, sql_type, f"Sent by the source as {field.name}; not in the contract.", True)


@lru_cache(maxsize=256)
def _reads(contract: type[Contract]) -> Mapping[str, tuple[str, ...]]:
    """Give the raw fields that a contract reads, each with its columns."""
    reads: dict[str, tuple[str, ...]] = {}
    for name, column in contract.to_schema().columns.items():
        field = FieldNotes.from_metadata(column.metadata).raw or name
        reads[field] = (*reads.get(field, ()), name)
    return reads
