"""The warehouse's bookkeeping, read in one short visit, and only when it has changed or a deadline has passed.

A visit keeps writers waiting for the milliseconds that it takes, and gives way at once when somebody writes. What
belongs here: when to look, and the visit. What does not: what is looked for (the modules named in `LOOKS`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb

from etl_assets.alerts.conditions import Condition, Kind, Report, Resolution, fingerprint
from etl_assets.alerts.engine import Scene
from etl_assets.alerts.outbox import moment
from etl_assets.alerts.watchers.late import late_partitions
from etl_assets.alerts.watchers.loads import new_loads
from etl_assets.alerts.watchers.partitions import unpublished_partitions
from etl_assets.alerts.watchers.schema_changes import schema_changes
from etl_assets.alerts.watchers.summary import daily_summary
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.schema import table_columns

NAME = "warehouse"
LOCK_SECONDS = 2.0
LONGEST_BLIND = timedelta(hours=1)

Memory = dict[str, Any]
"""What a look wants to know next time; written down with what it saw."""

Look = Callable[[duckdb.DuckDBPyConnection | None, Scene, Memory], Report]

LOOKS: Sequence[Look] = (
    unpublished_partitions,
    late_partitions,
    new_loads,
    schema_changes,
    daily_summary,
)
"""Each is told the warehouse, or None where there is none yet. One more kind of condition is one more line here."""


def warehouse_conditions(scene: Scene) -> Report:
    """Report what the bookkeeping says.

    Raises:
        WarehouseBusyError: If somebody writes; the next tick looks again.
        WarehouseError: If it cannot be read.
    """
    memory: Memory = json.loads(scene.outbox.cursor(NAME) or "{}")
    path = scene.settings.warehouse_path
    signature = _signature(scene, path)
    if signature == memory.get("signature") and not memory.get("waiting") and scene.now < _wake(memory):
        return Report()
    memory |= {"signature": signature, "waiting": False, "wake": _next_wake(scene).timestamp()}
    warehouse = Warehouse(path, lock_timeout=LOCK_SECONDS, memory_limit=scene.settings.memory_limit)
    if warehouse.exists():
        with warehouse.read("alerts") as connection:
            known = connection if table_columns(connection, "etl", "partitions") else None
            reports = [look(known, scene, memory) for look in LOOKS]
    else:
        reports = [look(None, scene, memory) for look in LOOKS]
    conditions: list[Condition] = [each for report in reports for each in report.conditions]
    resolved: list[Resolution] = [each for report in reports for each in report.resolved]
    complete: frozenset[Kind] = frozenset().union(*(report.complete for report in reports))
    return Report(conditions=conditions, complete=complete, resolved=resolved, cursor=json.dumps(memory))


def _signature(scene: Scene, path: Path) -> str:
    """Give what is another after every commit, and after every change of what is looked for."""
    parts = [",".join(scene.streams), scene.rules.model_dump_json()]
    for file in (path, path.with_name(path.name + ".wal")):
        try:
            status = file.stat()
            parts.append(f"{status.st_ino} {status.st_size} {status.st_mtime_ns}")
        except FileNotFoundError:
            parts.append("")
    return fingerprint(*parts)


def _wake(memory: Memory) -> datetime:
    return moment(float(memory.get("wake", 0)))


def _next_wake(scene: Scene) -> datetime:
    """Give when the passing of time alone can be news."""
    rules = scene.rules
    times = [
        rules.deadline,
        *(rules.of_stream(stream).deadline for stream in scene.streams),
        rules.daily_summary,
    ]
    today = scene.now.replace(hour=0, minute=0, second=0, microsecond=0)
    candidates = [
        today.replace(hour=at.hour, minute=at.minute) + timedelta(days=days)
        for at in times
        if isinstance(at, time)
        for days in (0, 1)
    ]
    return min([scene.now + LONGEST_BLIND, *(each for each in candidates if each > scene.now)])
