"""A contract, compiled once into rules that give one boolean mask per chunk of rows.

pandera holds the rules and evaluates each of them; this module asks its checks directly for masks instead of going
through `validate(lazy=True)`, whose report of failure cases costs far more than the checks on chunks of a day's size
(a test holds that both agree). What belongs here: names, severities and reasons of rules. What does not: splitting
rows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandera.pandas as pandera
import pyarrow as pa

from etl_assets.streams.contract import Contract, FieldNotes, Severity, arrow_schema

_REASONS = {
    "equal_to": "must be {value}",
    "not_equal_to": "must not be {value}",
    "greater_than": "must be greater than {min_value}",
    "greater_than_or_equal_to": "must be at least {min_value}",
    "less_than": "must be less than {max_value}",
    "less_than_or_equal_to": "must be at most {max_value}",
    "isin": "must be one of {allowed}",
    "str_matches": "must match {pattern}",
    "str_length": "must be {min_value} to {max_value} characters long",
}
_WITHOUT_VALUES = frozenset({"str_matches", "str_length"})
"""Rules whose reasons name no value; the others say of a personal column only that they are broken."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `name` is `<column>.<rule>`, or `<rule>` for a rule over whole rows."""

    name: str
    severity: Severity
    reason: str
    check: pandera.Check | None = None


@dataclass(frozen=True, slots=True)
class ColumnRules:
    """One column: its Arrow type, what may be missing, and its checks."""

    name: str
    type: pa.DataType
    notes: FieldNotes
    unique: bool
    checks: tuple[Rule, ...]
    description: str

    @property
    def raw_field(self) -> str:
        """Name of the raw field that the column is made from."""
        return self.notes.raw or self.name


@dataclass(frozen=True)
class CompiledContract:
    """All rules of a contract.

    Attributes:
        columns: In the table's order.
        row_rules: Rules over whole rows.
        schema: Arrow schema of the good rows.
        version: Short hash of all rules.
    """

    columns: tuple[ColumnRules, ...]
    row_rules: tuple[Rule, ...]
    schema: pa.Schema
    version: str

    @property
    def raw_fields(self) -> list[str]:
        """Raw fields that a transform may rely on to exist as columns, if only as empty ones."""
        return [column.raw_field for column in self.columns]

    @property
    def unique_columns(self) -> list[str]:
        """Columns whose values may occur once in a partition."""
        return [column.name for column in self.columns if column.unique]

    @property
    def personal_columns(self) -> frozenset[str]:
        """Columns that must not be shown in clear."""
        return frozenset(column.name for column in self.columns if column.notes.personal)


@lru_cache(maxsize=256)
def compile_contract(contract: type[Contract]) -> CompiledContract:
    """Compile a contract; the result is kept for the life of the process."""
    schema = contract.to_schema()
    arrow = arrow_schema(contract)
    columns = tuple(_column(name, column, arrow.field(name).type) for name, column in schema.columns.items())
    row_rules = tuple(_rule(check, None) for check in schema.checks)
    return CompiledContract(columns, row_rules, arrow, _version(columns, row_rules))


def _column(name: str, column: pandera.Column, kind: pa.DataType) -> ColumnRules:
    notes = FieldNotes.from_metadata(column.metadata)
    return ColumnRules(
        name=name,
        type=kind,
        notes=notes,
        unique=bool(column.unique),
        checks=tuple(_rule(check, name, personal=notes.personal is not None) for check in column.checks),
        description=column.description or "",
    )


def _rule(check: pandera.Check, column: str | None, *, personal: bool = False) -> Rule:
    own_name = check.name or "rule"
    severity = Severity.WARN if check.raise_warning else Severity.QUARANTINE
    if own_name in _REASONS and personal and own_name not in _WITHOUT_VALUES:
        reason = f"{column} breaks the rule {own_name}"
    elif own_name in _REASONS and column is not None:
        reason = f"{column} {_REASONS[own_name].format(**_statistics(check))}"
    else:
        reason = str(check.error or own_name)
    return Rule(f"{column}.{own_name}" if column else own_name, severity, reason, check)


def _statistics(check: pandera.Check) -> dict[str, Any]:
    statistics = dict(check.statistics or {})
    if "allowed_values" in statistics:
        statistics["allowed"] = ", ".join(str(value) for value in statistics["allowed_values"])
    if check.name == "equal_to" or check.name == "not_equal_to":
        statistics["value"] = next(iter(statistics.values()), "")
    if "pattern" in statistics:
        statistics["pattern"] = getattr(statistics["pattern"], "pattern", statistics["pattern"])
    return statistics


def _described(rule: Rule) -> list[str]:
    """Give what makes a rule the one that it is; of a personal column the reason tells no values."""
    values = _statistics(rule.check) if rule.check is not None else {}
    values.pop("allowed_values", None)
    return [
        rule.name,
        rule.severity,
        rule.reason,
        *(f"{name}={value}" for name, value in sorted(values.items())),
    ]


def _version(columns: tuple[ColumnRules, ...], row_rules: tuple[Rule, ...]) -> str:
    described = {
        "columns": [
            [
                column.name,
                str(column.type),
                column.notes.as_metadata(),
                column.unique,
                [_described(rule) for rule in column.checks],
            ]
            for column in columns
        ],
        "rows": [_described(rule) for rule in row_rules],
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
