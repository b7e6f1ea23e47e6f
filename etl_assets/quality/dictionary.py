"""The data dictionary: what every table holds and what is asked of it, as Markdown, from the declarations alone.

What belongs here: putting contracts and audits into words. What does not: where the words go (`etl_assets.cli`,
`etl_assets.report`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from etl_assets.quality.rules import ColumnRules, Rule, compile_contract
from etl_assets.streams.audits import Audit
from etl_assets.streams.audits_of_tables import Freshness
from etl_assets.streams.base import (
    Append,
    Cdc,
    Children,
    Merge,
    ReplacePartition,
    Severity,
    Snapshot,
    Stream,
)

_HEAD = """# Data dictionary

Made from the streams' declarations by `etl-assets dictionary`; a test fails when it is not current. What a rule or a
missing value does to its row: *quarantine* keeps it out of the table, *warn* loads and counts it. What a failed audit
does to its day stands in [audits](audits.md), what becomes of personal columns in [personal data](personal_data.md).
Every table has `_partition` (the day that a row belongs to), `_run_id` and `_loaded_at` besides. A child table is made
from the rows of the table above it; what a row of it breaks, its record breaks.
"""


COLUMN_HEADS = ("column", "type", "missing", "rules", "holds")
AUDIT_HEADS = ("audit", "if it fails", "what must hold")


@dataclass(frozen=True, slots=True)
class ChildDescription:
    """A child table in words.

    Attributes:
        name: The table, `<source>.<stream>_<child>`.
        description: What it is about, and what its rows are told apart by.
        columns: A row of cells for each column, under `COLUMN_HEADS`.
        row_rules: Rules over whole rows.
    """

    name: str
    description: str
    columns: tuple[tuple[str, ...], ...]
    row_rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table in words; names of columns and values stand in backticks.

    Attributes:
        stream: Id of the stream that fills it.
        name: The table, `<source>.<name>`.
        description: What it is about.
        owner: Who answers for it.
        version: Of its contract.
        written: How rows enter it.
        columns: A row of cells for each column, under `COLUMN_HEADS`.
        row_rules: Rules over whole rows.
        audits: A row of cells for each audit, under `AUDIT_HEADS`.
        children: Its child tables.
    """

    stream: str
    name: str
    description: str
    owner: str
    version: str
    written: str
    columns: tuple[tuple[str, ...], ...]
    row_rules: tuple[str, ...]
    audits: tuple[tuple[str, ...], ...]
    children: tuple[ChildDescription, ...] = ()


def data_dictionary(streams: Iterable[Stream]) -> str:
    """Describe all tables, by name; the same text for the same declarations."""
    described = (describe_table(stream) for stream in sorted(streams, key=lambda one: one.id))
    return "\n".join([_HEAD, *(_section(table) for table in described)])


def describe_table(stream: Stream) -> TableDescription:
    """Put the declarations of a stream's table into words."""
    contract = compile_contract(stream.contract)
    return TableDescription(
        stream=stream.id,
        name=f"{stream.source.name}.{stream.name}",
        description=stream.description or stream.id,
        owner=stream.owner,
        version=contract.version,
        written=_written(stream),
        columns=tuple(_column(column) for column in contract.columns),
        row_rules=tuple(_rule(rule) for rule in contract.row_rules),
        audits=tuple(_audit(audit) for audit in stream.audits),
        children=tuple(_child(stream, child) for child in stream.children),
    )


def _section(table: TableDescription) -> str:
    lines = [
        f"## {table.name}",
        "",
        f"{table.description} Owner: `{table.owner}`. Contract version: `{table.version}`.",
        table.written,
        "",
        *_described(table.columns, table.row_rules),
    ]
    if table.audits:
        lines += [*_table(AUDIT_HEADS, table.audits), ""]
    for child in table.children:
        lines += [f"### {child.name}", "", child.description, "", *_described(child.columns, child.row_rules)]
    return "\n".join(lines)


def _described(columns: Iterable[Sequence[str]], row_rules: Sequence[str]) -> list[str]:
    lines = [*_table(COLUMN_HEADS, columns), ""]
    if row_rules:
        lines += ["Rules over whole rows:", "", *(f"- {rule}" for rule in row_rules), ""]
    return lines


def _child(stream: Stream, child: Children) -> ChildDescription:
    contract, key = compile_contract(child.contract), _key(getattr(stream.write, "key_columns", ()))
    about = (inspect.getdoc(child.contract) or child.contract.__name__).partition("\n\n")[0]
    return ChildDescription(
        name=f"{stream.source.name}.{stream.name}_{child.name}",
        description=f"{' '.join(about.split())} The list `{child.raw_field}` of each record, by {key} and `position`.",
        columns=tuple(_column(column) for column in contract.columns),
        row_rules=tuple(_rule(rule) for rule in contract.row_rules),
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_line(heads), _line(["---"] * len(heads)), *(_line(row) for row in rows)]


def _column(column: ColumnRules) -> tuple[str, ...]:
    missing = {
        Severity.QUARANTINE: "quarantine",
        Severity.WARN: "warn",
        Severity.ALLOW: "allowed",
    }[column.notes.missing]
    if column.notes.default is not None:
        missing = f"`{column.notes.default}`, warn" if not column.notes.personal else "default, warn"
    rules = ["unique in its day"] if column.unique else []
    rules += [_rule(rule) for rule in column.checks]
    holds = column.description
    if column.notes.personal:
        holds = f"{holds} (personal: {column.notes.personal.value})".strip()
    return (f"`{column.name}`", _type(column.type), missing, "; ".join(rules), holds)


def _rule(rule: Rule) -> str:
    return rule.reason if rule.severity is Severity.QUARANTINE else f"warn: {rule.reason}"


def _audit(audit: Audit) -> tuple[str, ...]:
    consequence = "withhold" if audit.withholds else "warn"
    return (f"`{audit.check_name}`", "-" if isinstance(audit, Freshness) else consequence, audit.description)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp, UTC"
    return {"date32[day]": "date", "double": "float", "string": "text"}.get(str(kind), str(kind))


def _written(stream: Stream) -> str:
    match stream.write:
        case Merge(version=version):
            how = f"One row for each {_key(stream.write.key_columns)}, in its newest version by `{version}`."
        case Cdc(sequence=sequence):
            how = f"One row for each {_key(stream.write.key_columns)}, as its newest change by `{sequence}` left it."
        case Snapshot(history=history):
            how = f"One row for each {_key(stream.write.key_columns)}, as of the newest snapshot."
            if history:
                how += f" All versions are in `{stream.source.name}.{stream.name}_history`."
        case ReplacePartition():
            how = "Rows of a day, replaced as a whole."
        case Append():
            how = "Rows that are added and never changed."
    return how


def _key(columns: Sequence[str]) -> str:
    return " and ".join(f"`{column}`" for column in columns)
