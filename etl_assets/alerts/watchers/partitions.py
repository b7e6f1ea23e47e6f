"""Days that are not published: withheld, or failed for good.

What belongs here: the state as it is now, so that a day which is published is over by not being told any more. What
does not: days nobody has tried yet (`late`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from etl_assets.alerts.conditions import BAD_DAYS, FAILED_AUDITS, QUARANTINED, Condition, Kind, Report
from etl_assets.alerts.engine import Scene
from etl_assets.alerts.scrub import first_line
from etl_assets.failures import FailureClass, SnapshotGuardTripped
from etl_assets.outcomes import Status
from etl_assets.warehouse.schema import table_columns

FailedAudits = Mapping[tuple[str, date, str], Sequence[str]]

_QUERY = """
SELECT source || '/' || stream AS id, partition, status, message, coalesce(failure_stage, ''),
       coalesce(failure_class, ''), coalesce(error_type, ''), run_id, extracted, quarantined, updated_at, loaded_rows
FROM etl.partitions WHERE status IN ('failed', 'withheld') AND updated_at >= ? ORDER BY id, partition"""


_AUDITS = """
SELECT source || '/' || stream AS id, partition, run_id, list_sort(list(DISTINCT check_name)) AS names
FROM etl.check_results
WHERE NOT passed AND severity = 'withhold' AND kind NOT IN ('contract', 'conservation') AND evaluated_at >= ?
GROUP BY ALL"""


def unpublished_partitions(
    connection: duckdb.DuckDBPyConnection | None, scene: Scene, memory: dict[str, Any]
) -> Report:
    """Report every day whose last attempt did not publish it, unless that attempt is still under way."""
    if connection is None:
        return Report(complete=BAD_DAYS)
    since = scene.horizon.astimezone(UTC).replace(tzinfo=None)
    rows = connection.execute(_QUERY, [since]).fetchall()
    audits = _failed_audits(connection, since) if any(row[2] == Status.WITHHELD.value for row in rows) else {}
    return Report(conditions=list(_bad(rows, audits, scene, memory)), complete=BAD_DAYS)


def _failed_audits(connection: duckdb.DuckDBPyConnection, since: datetime) -> FailedAudits:
    """Give the audits that days failed, by stream, day and run; none where no audit was ever made."""
    if not table_columns(connection, "etl", "check_results"):
        return {}
    found = connection.execute(_AUDITS, [since]).fetchall()
    return {(stream, day, run_id): names for stream, day, run_id, names in found}


def _bad(
    rows: list[tuple[Any, ...]], audits: FailedAudits, scene: Scene, memory: dict[str, Any]
) -> Iterator[Condition]:
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
            details=_details(stage, extracted, quarantined, kept, audits.get((stream, day, run_id), ())),
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


def _details(
    stage: str, extracted: int, quarantined: int, kept: int | None, audits: Sequence[str]
) -> dict[str, str]:
    details = {"Stage": stage} if stage else {}
    if audits:
        details[FAILED_AUDITS] = ", ".join(audits)
    if quarantined:
        details[QUARANTINED] = f"{quarantined:,} of {extracted:,} rows of the last day"
    if kept:
        details["Still in the table"] = f"{kept:,} rows of its last publication"
    return details
