"""Rows of Dagster's table of check executions, written for a whole batch of events.

Dagster itself updates or inserts a row for each evaluation, in a statement of its own, and spells out a planned check
anew for each of its days. The rows here are the same.

What belongs here: how events become rows of that one table. What does not: transactions and connections
(`etl_assets.orchestration.event_log`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluation,
    AssetCheckEvaluationPlanned,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from sqlalchemy.engine import Connection

from etl_assets.orchestration.sqlite_statements import ManyRows, time_text

_TABLE = AssetCheckExecutionsTable
_OF_ROW = ("asset_key", "check_name", "run_id", "partition")
_COUNTS = """
    SELECT (
        SELECT count(*) FROM asset_check_executions
        WHERE asset_key = json_extract(value, '$[0]') AND check_name = json_extract(value, '$[1]')
            AND run_id = json_extract(value, '$[2]') AND "partition" = json_extract(value, '$[3]')
    )
    FROM json_each(?) ORDER BY key
"""
_UPDATE = ManyRows(
    _TABLE.update()
    .where(sa.and_(*(_TABLE.c[name] == sa.bindparam(f"at_{name}") for name in _OF_ROW)))
    .values(
        {
            name: sa.bindparam(f"to_{name}")
            for name in (
                "execution_status",
                "evaluation_event",
                "evaluation_event_timestamp",
                "evaluation_event_storage_id",
                "materialization_event_storage_id",
            )
        }
    )
)
_INSERT = ManyRows(
    _TABLE.insert(),
    [
        *_OF_ROW,
        "execution_status",
        "evaluation_event",
        "evaluation_event_timestamp",
        "evaluation_event_storage_id",
    ],
)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event that has been written into the index.

    Attributes:
        event: The event.
        event_id: Its number there.
        serialized: The event as Dagster spells it.
    """

    event: EventLogEntry
    event_id: int
    serialized: str

    @property
    def data(self) -> Any:
        """What is special to its kind."""
        return self.event.get_dagster_event().event_specific_data


def insert_planned(connection: Connection, stored: StoredEvent) -> None:
    """Insert the rows of a planned check, one for each of its days."""
    planned = cast("AssetCheckEvaluationPlanned", stored.data)
    days = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None]
    row = {
        "asset_key": planned.asset_key.to_string(),
        "check_name": planned.check_name,
        "run_id": stored.event.run_id,
        "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
        "evaluation_event": stored.serialized,
        "evaluation_event_timestamp": _timestamp(stored.event),
        "evaluation_event_storage_id": stored.event_id,
    }
    _INSERT.execute(connection, [row | {"partition": day} for day in days])


def update_planned(connection: Connection, evaluations: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Turn planned rows of one run into evaluated ones.

    Returns:
        Evaluations that do not fit exactly one planned row, or not one each, in their order; nothing was done for them.
    """
    keys = [_key(stored) for stored in evaluations]
    wanted = Counter(keys)
    planned = _planned(connection, keys)
    # SQL finds no missing partition by equality.
    fits = [key[-1] is not None and wanted[key] == 1 and planned[key] == 1 for key in keys]
    rows = [
        {f"at_{name}": value for name, value in zip(_OF_ROW, key, strict=True)} | _evaluated(stored)
        for stored, key, fit in zip(evaluations, keys, fits, strict=True)
        if fit
    ]
    if rows:
        _UPDATE.execute(connection, rows)
    return [stored for stored, fit in zip(evaluations, fits, strict=True) if not fit]


def _key(stored: StoredEvent) -> tuple[str | None, ...]:
    evaluation = cast("AssetCheckEvaluation", stored.data)
    return (
        evaluation.asset_key.to_string(),
        evaluation.check_name,
        stored.event.run_id,
        evaluation.partition,
    )


def _planned(
    connection: Connection, keys: Sequence[tuple[str | None, ...]]
) -> Counter[tuple[str | None, ...]]:
    """Count the rows that there are for the checks of some evaluations, by what an evaluation is found by."""
    asked = list(dict.fromkeys(keys))
    found = connection.exec_driver_sql(_COUNTS, (json.dumps(asked),)).scalars()
    return Counter(dict(zip(asked, found, strict=True)))


def _evaluated(stored: StoredEvent) -> dict[str, Any]:
    evaluation = cast("AssetCheckEvaluation", stored.data)
    status = (
        AssetCheckExecutionRecordStatus.SUCCEEDED
        if evaluation.passed
        else AssetCheckExecutionRecordStatus.FAILED
    )
    target = evaluation.target_materialization_data
    return {
        "to_execution_status": status.value,
        "to_evaluation_event": stored.serialized,
        "to_evaluation_event_timestamp": _timestamp(stored.event),
        "to_evaluation_event_storage_id": stored.event_id,
        "to_materialization_event_storage_id": target.storage_id if target else None,
    }


def _timestamp(event: EventLogEntry) -> str:
    return time_text(datetime.fromtimestamp(event.timestamp, UTC).replace(tzinfo=None))
