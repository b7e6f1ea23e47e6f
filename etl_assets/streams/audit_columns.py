"""Checking that audits fit their stream: columns that are there, of a fitting type, not personal where values are kept.

What belongs here: what audits ask of contracts. What does not: their thresholds, which each audit checks itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from etl_assets.failures import ConfigurationError
from etl_assets.streams.audits import Audit, AuditSeverity, Categories, MeanDrift, Outliers
from etl_assets.streams.audits_of_tables import Agreement, ForeignKey, Freshness, UniqueInTable
from etl_assets.streams.contract import Contract, FieldNotes, Personal, arrow_schema
from etl_assets.streams.write import Append

if TYPE_CHECKING:
    from etl_assets.streams.base import Stream

RESERVED_CHECKS = frozenset({"contract", "conservation", Freshness.kind})
_CHECK_NAME = re.compile(r"^[a-z][a-z0-9_]{0,100}$")


def check_audits(stream: Stream) -> None:
    """Check a stream's audits against its own contract.

    Raises:
        ConfigurationError: If one cannot be evaluated, or two have one name.
    """
    seen: set[str] = set()
    for audit in stream.audits:
        said = f"{stream.id}: audit {audit.check_name}"
        _check_plain(said, audit)
        name = audit.check_name
        if name in seen or (name in RESERVED_CHECKS and not isinstance(audit, Freshness)):
            raise ConfigurationError(f"{said} has a name that is taken", hint="give it a name=")
        seen.add(name)
        _check_own_columns(said, stream, audit)


def check_references(streams: Mapping[str, Stream]) -> None:
    """Check the columns of other streams that audits refer to.

    Raises:
        ConfigurationError: If there is no such stream, or it has no such column.
    """
    for stream in streams.values():
        for audit in stream.audits:
            said = f"{stream.id}: audit {audit.check_name}"
            if isinstance(audit, ForeignKey):
                other = _other(said, streams, audit.references)
                _check_column(said, other, audit.key)
                _check_same_type(said, contract_of(stream, audit.child), audit.column, other, audit.key)
            if isinstance(audit, Agreement):
                other = _other(said, streams, audit.stream)
                if other.business_date is None:
                    raise ConfigurationError(f"{said} needs a business_date of {other.id}, which has none")
                _check_column(said, other, audit.stream_key)
                _check_number(said, other, audit.stream_total)
                _check_same_type(said, stream.contract, audit.key, other, audit.stream_key)


def _check_plain(said: str, audit: Audit) -> None:
    try:
        AuditSeverity(audit.severity)
    except ValueError:
        raise ConfigurationError(
            f"{said} has the severity {audit.severity!r}", hint="use warn or withhold"
        ) from None
    if not _CHECK_NAME.match(audit.check_name):
        raise ConfigurationError(f"{said}: its name must be lower-case letters, digits and underscores")
    if isinstance(audit, Freshness) and audit.withholds:
        raise ConfigurationError(f"{said} cannot withhold a day that is not there", hint="leave severity out")
    if reason := audit.problem():
        raise ConfigurationError(f"{said} {reason}")


def _check_own_columns(said: str, stream: Stream, audit: Audit) -> None:
    for column in audit.columns:
        _check_column(said, stream, column)
    match audit:
        case Categories():
            _refuse_personal(said, stream.contract, audit.column, "its values are kept as statistics")
        case Outliers() | MeanDrift():
            _check_number(said, stream, audit.column)
        case UniqueInTable():
            if isinstance(stream.write, Append):
                raise ConfigurationError(f"{said} cannot be: an equal row is not appended again")
            _refuse_lost(said, stream.contract, audit.columns)
        case ForeignKey(child=None):
            _refuse_lost(said, stream.contract, audit.columns)
        case ForeignKey(child=str() as child):
            _check_child_column(said, stream, child, audit.column)
        case Agreement():
            if stream.business_date is None:
                raise ConfigurationError(f"{said} needs a business_date, which the stream has none of")
            _check_number(said, stream, audit.total)
            _refuse_lost(said, stream.contract, (audit.key,))


def _check_column(said: str, stream: Stream, column: str) -> None:
    if column not in stream.contract.to_schema().columns:
        raise ConfigurationError(f"{said} names {column!r}, which the contract of {stream.id} does not have")


def _check_child_column(said: str, stream: Stream, child: str, column: str) -> None:
    if child not in {each.name for each in stream.children}:
        raise ConfigurationError(f"{said} names the child table {child!r}, which {stream.id} does not have")
    contract = contract_of(stream, child)
    if column not in contract.to_schema().columns:
        raise ConfigurationError(f"{said} names {column!r}, which the child table {child} does not have")
    kind = arrow_schema(contract).field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
        raise ConfigurationError(f"{said}: column {column!r} of a child table must be text or a whole number")
    _refuse_lost(said, contract, (column,))


def contract_of(stream: Stream, child: str | None) -> type[Contract]:
    """Give the contract of a stream's own table, or of one of its child tables."""
    found = {each.name: each.contract for each in stream.children}
    return stream.contract if child is None else found[child]


def _check_number(said: str, stream: Stream, column: str) -> None:
    _check_column(said, stream, column)
    kind = arrow_schema(stream.contract).field(column).type
    numeric: tuple[Callable[[pa.DataType], bool], ...] = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
    )
    if not any(fits(kind) for fits in numeric):
        raise ConfigurationError(f"{said}: column {column!r} must be a number, not {kind}")


def _check_same_type(said: str, contract: type[Contract], column: str, other: Stream, there: str) -> None:
    mine = arrow_schema(contract).field(column).type
    theirs = arrow_schema(other.contract).field(there).type
    if mine != theirs:
        raise ConfigurationError(
            f"{said}: {column!r} is {mine}, but {there!r} of {other.id} is {theirs}, so that none would be equal"
        )


def _refuse_personal(said: str, contract: type[Contract], column: str, reason: str) -> None:
    if FieldNotes.from_metadata(contract.to_schema().columns[column].metadata).personal:
        raise ConfigurationError(f"{said}: column {column!r} is personal, and {reason}")


def _refuse_lost(said: str, contract: type[Contract], columns: tuple[str, ...]) -> None:
    for column in columns:
        tag = FieldNotes.from_metadata(contract.to_schema().columns[column].metadata).personal
        if tag in (Personal.MASK, Personal.DROP):
            raise ConfigurationError(
                f"{said}: column {column!r} is masked or dropped, so that no two can be told apart"
            )


def _other(said: str, streams: Mapping[str, Stream], stream_id: str) -> Stream:
    if stream_id not in streams:
        raise ConfigurationError(
            f"{said} names the unknown stream {stream_id!r}", hint=f"known: {', '.join(streams)}"
        )
    return streams[stream_id]
