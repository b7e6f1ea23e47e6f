"""Noticing what records have beside the contract, and what they lack of it, a chunk at a time.

The usual chunk, whose records have what the contract reads and nothing else, costs a look at the first record and at
the names of the frame's columns.

What belongs here: looking. What does not: what becomes of what is found (`etl_assets.warehouse.evolution`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import contains
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.preview import MASK
from etl_assets.quality.rules import compile_contract
from etl_assets.streams.base import Documents, Snapshot, Stream
from etl_assets.streams.columns import VERSION_COLUMNS
from etl_assets.streams.documents import FORMAT_FIELD, IDENTIFIER_FIELD
from etl_assets.streams.identifiers import IDENTIFIER
from etl_assets.streams.observed import (
    OTHERS,
    Kind,
    ObservedField,
    ObservedFields,
    SetAside,
    is_blank,
    kinds_of,
    text_of,
)
from etl_assets.streams.schema_policy import SchemaPolicy

MOST_NAMES = 100
"""Unknown fields of a day that are named one by one: a source may use values as names."""

MOST_SET_ASIDE = 100
"""Rows of a day whose unknown fields are kept aside. They show what came; all of it is in landing."""

EVOLVED_TYPE = pa.map_(pa.string(), pa.string())
"""Values of new columns by name, as text: a column that first comes in a later chunk changes no file's schema."""

_LONGEST_NAME = 63
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}", re.ASCII)

Positions = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Seen:
    """One unknown field, so far."""

    rows: int = 0
    kinds: set[Kind] = field(default_factory=set)


class FieldWatch:
    """Looks at the records of one day.

    Args:
        stream: The stream.
        pseudonymiser: Takes personal data out of what is kept aside.
    """

    def __init__(self, stream: Stream, pseudonymiser: Pseudonymiser) -> None:
        contract = compile_contract(stream.contract)
        self._pseudonymiser = pseudonymiser
        self._personal = any(compile_contract(one).personal_columns for one in stream.contracts)
        self._read = list(dict.fromkeys(contract.raw_fields))
        self._known = frozenset(self._read) | frozenset(stream.ignored_fields)
        self._known |= {child.raw_field for child in stream.children}
        if isinstance(stream.extract, Documents):
            self._known |= {IDENTIFIER_FIELD, FORMAT_FIELD}
        self._columns = frozenset(contract.schema.names)
        if isinstance(stream.write, Snapshot):
            self._columns |= frozenset(VERSION_COLUMNS)
        self.evolves = stream.schema_changes == SchemaPolicy.EVOLVE
        self._records = 0
        self._absent = dict.fromkeys(self._read)
        self._seen: dict[str, _Seen] = {}
        self._others = 0
        self._set_aside: list[SetAside] = []

    def look(
        self,
        raw: pd.DataFrame,
        records: Sequence[dict[str, Any]],
        good: Positions,
        row_numbers: Positions,
    ) -> pa.Array | None:
        """Look at a chunk.

        Args:
            raw: The records as a frame.
            records: The records.
            good: Positions of the rows that keep the contract.
            row_numbers: Of all records, in the extraction.

        Returns:
            Of each good row what new columns get, as `EVOLVED_TYPE`; None where the stream does not evolve.
        """
        self._records += len(records)
        if self._absent and records:
            self._absent = {name: None for name in self._absent if not _is_there(name, records)}
        unknown = [name for name in raw.columns if name not in self._known]
        named = [name for name in unknown if self._is_named(name)]
        if len(named) < len(unknown):
            self._others += sum(1 for record in records if not self._all_named(record))
        columns: dict[str, list[Any]] = {}
        for name in named:
            values = raw[name].tolist()
            seen = self._seen[name]
            seen.rows += sum(1 for value in values if not is_blank(value))
            kept = columns[name] = [values[position] for position in good]
            seen.kinds |= kinds_of(value for value in kept if not is_blank(value))
        loaded = {name: values for name, values in columns.items() if self.evolves and not self._reason(name)}
        self._keep_aside([name for name in unknown if name not in loaded], records, good, row_numbers)
        return _as_map(loaded, len(good)) if self.evolves else None

    def look_again(self, records: Sequence[dict[str, Any]]) -> pa.Array | None:
        """Look at records that were among the bad rows of their chunk and are good by somebody's decision.

        Returns:
            As `look` does.
        """
        columns: dict[str, list[Any]] = {}
        for name, seen in self._seen.items():
            columns[name] = [record.get(name) for record in records]
            seen.kinds |= kinds_of(value for value in columns[name] if not is_blank(value))
        loaded = {name: values for name, values in columns.items() if not self._reason(name)}
        return _as_map(loaded, len(records)) if self.evolves else None

    def result(self) -> ObservedFields:
        """Give what was seen of the whole day."""
        found: dict[str, ObservedField] = {}
        for name, seen in self._seen.items():
            shown, reason = self._shown(name), self._reason(name)
            other = found.get(shown, ObservedField(0))
            found[shown] = ObservedField(other.rows + seen.rows, other.kinds | seen.kinds, reason)
        if self._others:
            reason = f"a day names {MOST_NAMES} new fields at most"
            found[OTHERS] = ObservedField(self._others, frozenset({Kind.TEXT}), reason)
        absent = tuple(self._absent) if self._records else ()
        return ObservedFields(self._records, absent, found, tuple(self._set_aside))

    def _is_named(self, name: str) -> bool:
        if name not in self._seen and len(self._seen) < MOST_NAMES:
            self._seen[name] = _Seen()
        return name in self._seen

    def _all_named(self, record: dict[str, Any]) -> bool:
        return all(name in self._known or name in self._seen for name in record)

    def _reason(self, name: str) -> str:
        """Say why a field cannot become a column, if so."""
        if not IDENTIFIER.match(name):
            return "its name is not one of lower-case letters, digits and underscores"
        return "the contract has a column of that name" if name in self._columns else ""

    def _shown(self, name: str) -> str:
        """Give a name as it may be told: where a header has slipped, values stand in the place of names."""
        is_fine = _FIELD_NAME.fullmatch(name) if self._personal else name.isprintable()
        return name if name.strip() and is_fine and len(name) <= _LONGEST_NAME else MASK

    def _keep_aside(
        self,
        names: Sequence[str],
        records: Sequence[dict[str, Any]],
        good: Positions,
        row_numbers: Positions,
    ) -> None:
        """Keep the unknown fields of the first rows that have any; a quarantined row keeps its whole payload anyway."""
        if not names:
            return
        for position in good:
            if len(self._set_aside) >= MOST_SET_ASIDE:
                return
            record = records[position]
            part = {name: record[name] for name in names if not is_blank(record.get(name))}
            if part:
                payload = text_of(self._pseudonymiser.payload(part))
                self._set_aside.append(SetAside(int(row_numbers[position]), payload))


def _is_there(name: str, records: Iterable[dict[str, Any]]) -> bool:
    # A derived column has no field of its own, so that all records are gone through: without a step of Python for each.
    return any(map(contains, records, repeat(name)))


def _as_map(columns: dict[str, list[Any]], size: int) -> pa.Array:
    if not columns:
        return pa.nulls(size, EVOLVED_TYPE)
    rows: list[list[tuple[str, str]] | None] = [None] * size
    for name in sorted(columns):
        for place, value in enumerate(columns[name]):
            if not is_blank(value):
                row = rows[place] = rows[place] or []
                row.append((name, text_of(value)))
    return pa.array(rows, EVOLVED_TYPE)
