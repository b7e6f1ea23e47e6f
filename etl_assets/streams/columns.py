"""Checking that the columns which a stream's declaration relies on are there, typed and never missing.

What belongs here: what the declaration's parts ask of the contract. What does not: anything about single rows
(`etl_assets.quality`).
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from etl_assets.failures import ConfigurationError
from etl_assets.streams.contract import Contract, FieldNotes, Personal, Severity, arrow_schema
from etl_assets.streams.identifiers import IDENTIFIER
from etl_assets.streams.write import Append, Cdc, Merge, ReplacePartition, Snapshot, WriteDisposition

VERSION_COLUMNS = ("valid_from", "valid_to", "is_current")
"""Names that the account of a snapshot's versions has beside the contract's columns."""


def check_columns(
    stream: str,
    contract: type[Contract],
    write: WriteDisposition,
    window_column: str | None,
    business_date: str | None,
    *,
    windowed: bool = True,
) -> None:
    """Check the columns that a declaration relies on.

    Args:
        stream: The stream's id, for messages.
        contract: The stream's contract.
        write: How rows enter the table.
        window_column: The stream's window column, if it has one.
        business_date: The stream's column of business dates, if it has one.
        windowed: Whether a window of time is asked for, rather than the whole present.

    Raises:
        ConfigurationError: If the contract does not fit.
    """
    columns = contract.to_schema().columns
    for name in columns:
        if not IDENTIFIER.match(name):
            raise ConfigurationError(
                f"{stream}: column {name!r} must be lower-case letters, digits, underscores"
            )
    _check_disposition(stream, tuple(columns), write)
    if not windowed and window_column is not None:
        raise ConfigurationError(
            f"{stream}: window_column is given, but the whole present has no window",
            hint="leave window_column out, or name the window's parameters",
        )
    optional_window = isinstance(write, Snapshot) or not windowed
    uses = [
        *_times(stream, write, window_column, business_date, optional_window=optional_window),
        *_used_by(write),
    ]
    for use, name in uses:
        if name not in columns:
            raise ConfigurationError(f"{stream}: {use} names {name!r}, which its contract does not have")
        # A delete in a change feed brings no values, and so no business date either.
        optional = use == "business_date" and isinstance(write, Cdc)
        notes = FieldNotes.from_metadata(columns[name].metadata)
        if notes.missing is not Severity.QUARANTINE and not optional:
            raise ConfigurationError(f"{stream}: {use} column {name!r} must not allow missing values")
    _check_types(stream, contract, uses)
    _check_personal(stream, contract, uses)
    if isinstance(write, Append):
        _check_told_apart(stream, contract)
    _check_different(stream, write, uses)


def check_embedded(
    stream: str, contract: type[Contract], write: WriteDisposition, embed: tuple[str, ...]
) -> None:
    """Check the columns that rows are searched by.

    Raises:
        ConfigurationError: If one is no text in clear, or rows have no key of one column to be found by.
    """
    if not embed:
        return
    if not isinstance(write, Merge | Snapshot) or len(write.key_columns) != 1:
        raise ConfigurationError(f"{stream}: embed needs Merge or Snapshot with a key of one column")
    types = arrow_schema(contract)
    for name in embed:
        column = contract.to_schema().columns.get(name)
        personal = FieldNotes.from_metadata(column.metadata).personal if column is not None else None
        if column is None or personal is not None or not pa.types.is_string(types.field(name).type):
            raise ConfigurationError(
                f"{stream}: embed names {name!r}, which is no text without personal data"
            )


def _check_different(stream: str, write: WriteDisposition, uses: list[tuple[str, str]]) -> None:
    """Check that no column is given two parts that only different columns can play."""
    keys = [name for use, name in uses if use == "key"]
    for name in keys:
        if keys.count(name) > 1:
            raise ConfigurationError(f"{stream}: key names {name!r} twice")
    if isinstance(write, Merge) and write.version in keys:
        raise ConfigurationError(
            f"{stream}: version column {write.version!r} is part of the key, so that no row has another version",
            hint="name the column that tells an update from what it updates",
        )
    if isinstance(write, Cdc):
        roles = [name for use, name in uses if use != "business_date"]
        if len(set(roles)) < len(roles):
            raise ConfigurationError(
                f"{stream}: key, sequence, operation and window_column must be different columns"
            )


def _check_disposition(stream: str, columns: tuple[str, ...], write: WriteDisposition) -> None:
    if isinstance(write, Merge | Cdc | Snapshot) and not write.key_columns:
        raise ConfigurationError(f"{stream}: {type(write).__name__.lower()} needs a key")
    if not isinstance(write, Snapshot):
        return
    if not 0 <= write.guard <= 1:
        raise ConfigurationError(f"{stream}: guard must be a share between 0 and 1, not {write.guard}")
    for name in VERSION_COLUMNS:
        if name in columns:
            raise ConfigurationError(
                f"{stream}: column {name!r} is a name that snapshots use themselves",
                hint="give the column another name",
            )


def _times(
    stream: str,
    write: WriteDisposition,
    window_column: str | None,
    business_date: str | None,
    *,
    optional_window: bool,
) -> list[tuple[str, str]]:
    """Give the columns that hold times, refusing that one is left out where it is needed."""
    if window_column is None and not optional_window:
        raise ConfigurationError(f"{stream}: window_column is missing; only a snapshot can do without")
    if business_date is None and not isinstance(write, Snapshot | Cdc):
        raise ConfigurationError(
            f"{stream}: business_date is missing; only a snapshot and a change feed can do without"
        )
    given = (("window_column", window_column), ("business_date", business_date))
    return [(use, name) for use, name in given if name is not None]


def _used_by(write: WriteDisposition) -> list[tuple[str, str]]:
    """Give the columns that a disposition relies on, with what they are used for."""
    match write:
        case Merge():
            return [*_keys(write.key_columns), ("version", write.version)]
        case Cdc():
            return [
                *_keys(write.key_columns),
                ("sequence", write.sequence),
                ("operation", write.operation),
            ]
        case Snapshot():
            return _keys(write.key_columns)
        case Append() | ReplacePartition():
            return []


def _keys(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [("key", name) for name in names]


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


_TYPES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "window_column": (pa.types.is_timestamp, "a timestamp"),
    "business_date": (_is_time, "a timestamp or a date"),
    "sequence": (pa.types.is_integer, "an integer"),
    "operation": (pa.types.is_string, "a text"),
}


def _check_types(stream: str, contract: type[Contract], uses: list[tuple[str, str]]) -> None:
    types = arrow_schema(contract)
    for use, name in uses:
        if use in _TYPES:
            fits, wanted = _TYPES[use]
            if not fits(types.field(name).type):
                kind = use if use.endswith("_column") or use == "business_date" else f"{use} column"
                raise ConfigurationError(f"{stream}: {kind} {name!r} must be {wanted}")


def _check_personal(stream: str, contract: type[Contract], uses: list[tuple[str, str]]) -> None:
    """Refuse tags that would take from a column what it is there for."""
    types = arrow_schema(contract)
    uses_of: dict[str, list[str]] = {}
    for use, name in uses:
        uses_of.setdefault(name, []).append(use)
    for name, column in contract.to_schema().columns.items():
        notes = FieldNotes.from_metadata(column.metadata)
        tag = notes.personal
        if tag is None or not tag.alters:
            continue
        said = f"{stream}: column {name!r} is personal={tag.value!r}, "
        if tag is not Personal.DROP and not pa.types.is_string(types.field(name).type):
            raise ConfigurationError(f"{said}but is no text", hint="use drop or keep")
        if tag is Personal.DROP and notes.missing is Severity.QUARANTINE:
            raise ConfigurationError(f"{said}and so must allow missing values", hint="set missing='allow'")
        if tag is Personal.MASK and column.unique:
            raise ConfigurationError(f"{said}and so cannot be unique", hint="use hash")
        # A key only has to tell rows apart, which hashes do as well.
        needed = [use for use in uses_of.get(name, ()) if not (use == "key" and tag is Personal.HASH)]
        if needed:
            hint = "use hash or keep" if needed == ["key"] else "use keep"
            raise ConfigurationError(f"{said}but the stream needs it as its {needed[0]}", hint=hint)


def _check_told_apart(stream: str, contract: type[Contract]) -> None:
    """Refuse to append rows that differ in nothing but what is masked or dropped: they would count as one."""
    tags = {
        name: (FieldNotes.from_metadata(column.metadata).personal, column.unique)
        for name, column in contract.to_schema().columns.items()
    }
    lost = [name for name, (tag, _) in tags.items() if tag in (Personal.MASK, Personal.DROP)]
    if lost and not any(unique for name, (_, unique) in tags.items() if name not in lost):
        raise ConfigurationError(
            f"{stream}: append tells rows apart by their columns, of which {', '.join(lost)} will not do so any more",
            hint="make another column unique, or use hash",
        )
