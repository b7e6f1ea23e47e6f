"""A stream's table, as standard Dagster metadata: its name and its columns."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pyarrow as pa

from etl_assets.orchestration.keys import Layer
from etl_assets.quality.rules import Rule, compile_contract
from etl_assets.streams.base import Stream
from etl_assets.streams.contract import Severity

_ADDED_COLUMNS = (
    ("_partition", "date", "Day that the row belongs to"),
    ("_run_id", "string", "Run that wrote the row"),
    ("_loaded_at", "timestamp", "When the row was written, UTC"),
)


def table_metadata(stream: Stream, layer: Layer) -> dict[str, Any]:
    """Give `dagster/column_schema`, and `dagster/table_name` for the warehouse."""
    contract = compile_contract(stream.contract)
    columns = [
        dg.TableColumn(
            column.name,
            type=_type_name(column.type),
            description=column.description or None,
            constraints=dg.TableColumnConstraints(
                nullable=column.notes.missing is not Severity.QUARANTINE,
                unique=column.unique,
                other=[_constraint(rule) for rule in column.checks],
            ),
            tags={"personal": column.notes.personal.value} if column.notes.personal else None,
        )
        for column in contract.columns
    ]
    constraints = dg.TableConstraints(other=[_constraint(rule) for rule in contract.row_rules])
    if layer is Layer.WAREHOUSE:
        columns += [dg.TableColumn(name, type=kind, description=text) for name, kind, text in _ADDED_COLUMNS]
    metadata: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(columns=columns, constraints=constraints)
    }
    if layer is Layer.WAREHOUSE:
        table = f"warehouse.{stream.source.name}.{stream.name}"
        metadata["dagster/table_name"] = table
        if stream.children:
            tables = ", ".join(f"{table}_{child.name}" for child in stream.children)
            metadata["child_tables"] = dg.TextMetadataValue(tables)
    return metadata


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return {"date32[day]": "date", "double": "float"}.get(str(kind), str(kind))


def _constraint(rule: Rule) -> str:
    return rule.reason if rule.severity is Severity.QUARANTINE else f"warn: {rule.reason}"
