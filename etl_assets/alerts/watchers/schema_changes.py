"""What loads noticed of their streams' schemas, each told once.

What belongs here: new rows of `etl.schema_changes`. What does not: contracts that were changed in a stream's file
(`loads`), and days that were withheld for an unknown field (`partitions`).
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

import duckdb

from etl_assets.alerts.conditions import Condition, Kind, Report, Severity
from etl_assets.alerts.engine import Scene
from etl_assets.outcomes import SchemaChange, SchemaChangeKind
from etl_assets.warehouse.schema import table_columns

CHANGES_AT_ONCE = 1_000

_QUERY = f"""
SELECT rowid, source || '/' || stream, partition, change, column_name, field, before, after, rows, coalesce(reason, ''),
       run_id, noticed_at
FROM etl.schema_changes WHERE rowid > ? AND noticed_at >= ? ORDER BY rowid LIMIT {CHANGES_AT_ONCE}"""


def schema_changes(
    connection: duckdb.DuckDBPyConnection | None, scene: Scene, memory: dict[str, Any]
) -> Report:
    """Report what was noticed since the last look."""
    if connection is None or not table_columns(connection, "etl", "schema_changes"):
        return Report()
    since = scene.horizon.astimezone(UTC).replace(tzinfo=None)
    rows = connection.execute(_QUERY, [int(memory.get("schema_change", -1)), since]).fetchall()
    if not rows:
        return Report()
    memory["schema_change"] = rows[-1][0]
    memory["waiting"] = memory.get("waiting", False) or len(rows) == CHANGES_AT_ONCE
    told = [row for row in rows if row[3] != SchemaChangeKind.WITHHELD.value]
    return Report(conditions=[_condition(scene, row) for row in told])


def _condition(scene: Scene, row: tuple[Any, ...]) -> Condition:
    number, stream, day, kind, column, field, before, after, rows, reason, run_id, at = row
    change = SchemaChange(SchemaChangeKind(kind), column, field, before, after, rows or 0, reason)
    return Condition(
        kind=Kind.SCHEMA_CHANGED,
        subject=stream,
        key=f"{day} {kind} {column or field}",
        ref=str(number),
        at=at.replace(tzinfo=UTC),
        owner=scene.owner_of(stream),
        severity=Severity.WARNING if change.is_warning else Severity.INFO,
        error=change.sentence,
        cause="source",
        run_id=run_id,
        rows=rows or None,
        details={"Day": day.isoformat()},
        link=f"/assets/warehouse/{stream}?view=partitions&partition={day.isoformat()}",
    )
