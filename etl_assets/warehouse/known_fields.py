"""The raw fields of each stream that were seen so far, what they are used for, and whether the source still sends them.

What belongs here: `etl.known_fields`, and what a session may remember of it, being the only writer. What does not:
what follows from a field that is new or gone (`evolution`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING

import duckdb

from etl_assets.streams.observed import Kind

if TYPE_CHECKING:
    from etl_assets.streams.base import Stream


class Use(StrEnum):
    """What a field is used for."""

    CONTRACT = "contract"
    EVOLVED = "evolved"
    SET_ASIDE = "set_aside"
    WITHHELD = "withheld"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class KnownField:
    """A raw field.

    Attributes:
        name: Its name.
        use: What it is used for.
        present: Whether the newest day that was looked at has it.
        column: The column that it once got beside the contract; the table has it still.
        kinds: Kinds of all values that this column was ever given.
        kept_out_on: Day with which it was noticed that it is kept out of the table.
        moved_on: Day with which it was last noticed to be gone, or back.
    """

    name: str
    use: Use
    present: bool
    column: str | None = None
    kinds: frozenset[Kind] = frozenset()
    kept_out_on: date | None = None
    moved_on: date | None = None

    @property
    def was_never_there(self) -> bool:
        """Whether the contract reads it, and no day had it so far."""
        return self.use is Use.CONTRACT and not self.present and self.moved_on is None


_COLUMNS = "field, use, present, column_name, kinds, kept_out_on, moved_on"
_THIS_STREAM = "source = $source AND stream = $stream"


class KnownFields:
    """The known fields, as one session sees them.

    Args:
        connection: The warehouse, held exclusively.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._known: dict[str, dict[str, KnownField]] = {}

    def forget(self) -> None:
        """Drop what is remembered, after a transaction was rolled back."""
        self._known.clear()

    def of(self, stream: Stream) -> Mapping[str, KnownField]:
        """Give a stream's fields by name."""
        if stream.id not in self._known:
            found = self._connection.execute(
                f"SELECT {_COLUMNS} FROM etl.known_fields WHERE {_THIS_STREAM}", _key(stream)
            ).fetchall()
            fields = [
                KnownField(
                    name, Use(use), present, column, frozenset(map(Kind, kinds)), kept_out_on, moved_on
                )
                for name, use, present, column, kinds, kept_out_on, moved_on in found
            ]
            self._known[stream.id] = {field.name: field for field in fields}
        return self._known[stream.id]

    def save(self, stream: Stream, field: KnownField) -> None:
        """Write a field in place of what was known of it; nothing is written when that is the same."""
        known = self.of(stream)
        if known.get(field.name) == field:
            return
        if field.name in known:
            self._connection.execute(
                f"DELETE FROM etl.known_fields WHERE {_THIS_STREAM} AND field = $field",
                _key(stream) | {"field": field.name},
            )
        self._connection.execute(
            f"INSERT INTO etl.known_fields (source, stream, {_COLUMNS}) VALUES "
            "($source, $stream, $field, $use, $present, $column, CAST($kinds AS VARCHAR[]), $kept_out_on, $moved_on)",
            _key(stream)
            | {
                "field": field.name,
                "use": field.use.value,
                "present": field.present,
                "column": field.column,
                "kinds": sorted(kind.value for kind in field.kinds),
                "kept_out_on": field.kept_out_on,
                "moved_on": field.moved_on,
            },
        )
        self._known[stream.id][field.name] = field


def _key(stream: Stream) -> dict[str, str]:
    return {"source": stream.source.name, "stream": stream.name}
