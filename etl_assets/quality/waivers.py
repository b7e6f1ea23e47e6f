"""Which rules can be waived for a row, and why the others cannot.

What belongs here: that judgement. What does not: who waived what (`etl_assets.warehouse.decisions`).
"""

from __future__ import annotations

from etl_assets.quality.rules import compile_contract
from etl_assets.streams.base import Append, Cdc, Merge, ReplacePartition, Snapshot, Stream
from etl_assets.streams.contract import Contract, Severity

_PLATFORM = {
    "parse": "the value would be lost",
    "missing": "the table needs the value",
    "unique": "another row of the day has the value",
    "window": "the row belongs to another day",
    "object": "it is no record",
    "list": "the list would be lost",
}


def why_not_waivable(stream: Stream, rule: str) -> str | None:
    """Say why a rule cannot be waived; None if it can.

    The rules that the contract's author wrote can be. Those of the platform cannot, since a row that breaks them has
    nothing to be loaded as it is, and nor can rules of the columns by which the table tells rows and versions apart.

    Args:
        stream: The stream.
        rule: Name of the rule, as the quarantine has it.
    """
    column, _, kind = rule.rpartition(".")
    if rule in _rules_of(stream.contract):
        return "the table tells rows apart by that column" if column in _telling_columns(stream) else None
    if any(rule == f"{child.name}.{own}" for child in stream.children for own in _rules_of(child.contract)):
        return None
    return _PLATFORM.get(kind, "the contract has no such rule any more; replay the row")


def _rules_of(contract: type[Contract]) -> set[str]:
    """Give the rules by which a contract's author has rows quarantined."""
    compiled = compile_contract(contract)
    return {
        check.name
        for checks in (*(each.checks for each in compiled.columns), compiled.row_rules)
        for check in checks
        if check.severity is Severity.QUARANTINE
    }


def _telling_columns(stream: Stream) -> tuple[str, ...]:
    """Give the columns by which a table tells rows, and versions of a row, apart."""
    match stream.write:
        case Merge(version=version) as write:
            return (*write.key_columns, version)
        case Cdc(sequence=sequence, operation=operation) as write:
            return (*write.key_columns, sequence, operation)
        case Snapshot() as write:
            return write.key_columns
        case Append() | ReplacePartition():
            return ()
