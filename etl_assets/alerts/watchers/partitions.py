"""Days that are not published: withheld, or failed for good.

What belongs here: the state as it is now, so that a day which is published is over by not being told any more. What
does not: days nobody has tried yet (`late`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import duckdb

from etl_assets.alerts.conditions import BAD_DAYS, Condition, Kind, Report
from etl_assets.alerts.engine import Scene
from etl_assets.alerts.scrub import first_line
from etl_assets.failures import FailureClass, SnapshotGuardTripped
from etl_assets.outcomes import Status

_QUERY = """
SELECT source || '/' || stream AS id, partition, status, message, coalesce(failure_stage, ''),
       coalesce(failure_class, ''), coalesce(error_type, ''), run_id, extracted, quarantined, updated_at, loaded_rows
FROM etl.partitions WHERE status IN ('failed', 'withheld') AND updated_at >= ? ORDER BY id, partition"""


def unpublished_partitions(
    connection: duckdb.DuckDBPyConnection | None, scene: Scene, memory: dict[str, Any]
) -> Report:
    """Report every day whose last attempt did not publish it, unless that attempt is still under way."""
    if connection is None:
        return Report(complete=BAD_DAYS)
    since = scene.horizon.astimezone(UTC).replace(tzinfo=None)
    return Report(
        conditions=list(_bad(connection.execute(_QUERY, [since]).fetchall(), scene, memory)),
        complete=BAD_DAYS,
    )


def _bad(rows: list[tuple[Any, ...]], scene: Scene, memory: dict[str, Any]) -> Iterator[Condition]:
    secrets = scene.secrets
    is_over: dict[str, bool] = {}
    under_way = memory["under_way"] = []
    for (
        stream,
        day,
        status,
        message,
        stage,
        failure_class,
        error_type,
        run_id,
        extracted,
        quarantined,
        at,
        kept,
    ) in rows:
        kind = _kind(status, error_type)
        condition = Condition(
            kind=kind,
            subject=stream,
            key=day.isoformat(),
            ref=f"{run_id} {status}",
            at=at.replace(tzinfo=UTC),
            owner=scene.owner_of(stream),
            error=first_line(message, secrets),
            failure_class=failure_class,
            run_id=run_id,
            rows=extracted or None,
            details=_details(stage, extracted, quarantined, kept),
            link=f"/assets/warehouse/{stream}?view=partitions&partition={day.isoformat()}",
        )
        if status == Status.FAILED.value and FailureClass(failure_class or "permanent").retryable:
            if run_id not in is_over:
                is_over[run_id] = scene.is_over(run_id)
            if not is_over[run_id]:
                # A repeat is coming; what had failed before stays failed until then.
                memory["waiting"] = True
                under_way.append(f"{stream} {day}")
                if not _is_known(scene, condition):
                    continue
        yield condition


def _is_known(scene: Scene, condition: Condition) -> bool:
    sql = "SELECT 1 FROM occurrences WHERE state = 'open' AND fingerprint = ?"
    return scene.outbox.row(sql, condition.fingerprint) is not None


def _kind(status: str, error_type: str) -> Kind:
    if status == Status.FAILED.value:
        return Kind.PARTITION_FAILED
    return Kind.SNAPSHOT_GUARD if error_type == SnapshotGuardTripped.__name__ else Kind.PARTITION_WITHHELD


def _details(stage: str, extracted: int, quarantined: int, kept: int | None) -> dict[str, str]:
    details = {"Stage": stage} if stage else {}
    if extracted:
        details["Rows of the last day"] = f"{extracted:,} extracted, {quarantined:,} quarantined"
    if kept:
        details["Still in the table"] = f"{kept:,} rows of its last publication"
    return details
