"""The data dictionary: what every table holds and what is asked of it, as Markdown, from the declarations alone.

What belongs here: putting contracts and audits into words. What does not: where the words go (`etl_assets.cli`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence

import pyarrow as pa

from etl_assets.quality.rules import ColumnRules, CompiledContract, Rule, compile_contract
from etl_assets.streams.audits import Audit
from etl_assets.streams.audits_of_tables import Freshness
from etl_assets.streams.base import (
    Append,
    Cdc,
    Children,
    Contract,
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


def data_dictionary(streams: Iterable[Stream]) -> str:
    """Describe all tables, by name; the same text for the same declarations."""
    return "\n".join([_HEAD, *(_stream(stream) for stream in sorted(streams, key=lambda one: one.id))])


def _stream(stream: Stream) -> str:
    contract = compile_contract(stream.contract)
    lines = [
        f"## {stream.source.name}.{stream.name}",
        "",
        f"{stream.description or stream.id} Owner: `{stream.owner}`. Contract version: `{contract.version}`.",
        f"{_written(stream)}",
        "",
        *_table(contract),
    ]
    if stream.audits:
        lines += ["| audit | if it fails | what must hold |", "| --- | --- | --- |"]
        lines += [*(_audit(audit) for audit in stream.audits), ""]
    for child in stream.children:
        lines += _child(stream, child)
    return "\n".join(lines)


def _child(stream: Stream, child: Children) -> list[str]:
    key = _key(getattr(stream.write, "key_columns", ()))
    return [
        f"### {stream.source.name}.{stream.name}_{child.name}",
        "",
        f"{_sentence(child.contract)} The list `{child.raw_field}` of each record, by {key} and `position`.",
        "",
        *_table(compile_contract(child.contract)),
    ]


def _sentence(contract: type[Contract]) -> str:
    return " ".join((inspect.getdoc(contract) or contract.__name__).partition("\n\n")[0].split())


def _table(contract: CompiledContract) -> list[str]:
    lines = [
        "| column | type | missing | rules | holds |",
        "| --- | --- | --- | --- | --- |",
        *(_column(column) for column in contract.columns),
        "",
    ]
    if contract.row_rules:
        lines += ["Rules over whole rows:", "", *(f"- {_rule(rule)}" for rule in contract.row_rules), ""]
    return lines


def _column(column: ColumnRules) -> str:
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
    cells = (f"`{column.name}`", _type(column.type), missing, "; ".join(rules), holds)
    return _line(cells)


def _rule(rule: Rule) -> str:
    return rule.reason if rule.severity is Severity.QUARANTINE else f"warn: {rule.reason}"


def _audit(audit: Audit) -> str:
    consequence = "withhold" if audit.withholds else "warn"
    return _line(
        (f"`{audit.check_name}`", "-" if isinstance(audit, Freshness) else consequence, audit.description)
    )


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
