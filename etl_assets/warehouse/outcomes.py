"""Outcomes of partitions, to and from the bookkeeping.

What belongs here: the record of a failed attempt, and reading back what a run has settled. What does not: the
outcome of a commit (`commit`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import duckdb

from etl_assets.failures import FailureClass
from etl_assets.outcomes import Counts, FailureRecord, PartitionOutcome, Status
from etl_assets.warehouse.checks import results_of_run
from etl_assets.warehouse.ledger import PartitionEntry, as_json
from etl_assets.warehouse.schema_changes import changes_of

_STAGES = ("extract", "stage", "commit")
_COUNTED_IN_PARTITIONS = ("extracted", "staged", "quarantined", "warned", "failed_items")
_COUNTED_IN_LOADS = ("loaded", "updated", "unchanged", "deduplicated", "removed")


def failed_entry(outcome: PartitionOutcome, run_id: str, at: datetime) -> PartitionEntry:
    """Make the record of a failed attempt.

    Args:
        outcome: The failed outcome.
        run_id: The run.
        at: When; naive UTC.
    """
    source, _, stream = outcome.stream.partition("/")
    failure = outcome.failure
    return PartitionEntry(
        source=source,
        stream=stream,
        partition=outcome.partition,
        status=Status.FAILED.value,
        message=outcome.message or (failure.message if failure else ""),
        failure_stage=str(failure.stage) if failure else None,
        failure_class=failure.failure_class.value if failure else None,
        error_type=failure.error_type if failure else None,
        run_id=run_id,
        extracted=outcome.counts.extracted,
        staged=outcome.counts.staged,
        loaded_rows=None,
        quarantined=outcome.counts.quarantined,
        warned=outcome.counts.warned,
        failed_items=outcome.counts.failed_items,
        warnings=as_json(outcome.warnings),
        violations=as_json(outcome.violations),
        seconds=as_json(outcome.seconds),
        landing_version=outcome.landing_version,
        updated_at=at,
        published_at=None,
    )


def settled_outcomes(
    connection: duckdb.DuckDBPyConnection,
    stream_id: str,
    run_id: str,
    days: Sequence[date],
    stages: Sequence[str],
) -> list[PartitionOutcome]:
    """Give the days that a run published, withheld, or saw fail for good, by day.

    Args:
        connection: The warehouse.
        stream_id: The stream.
        run_id: The run.
        days: Days to look at.
        stages: Stages that were asked for.
    """
    source, _, stream = stream_id.partition("/")
    counted = ", ".join(f"coalesce(l.{name}, 0) AS {name}" for name in _COUNTED_IN_LOADS)
    cursor = connection.execute(
        "WITH l AS (SELECT * FROM etl.loads WHERE source = $source AND stream = $stream AND run_id = $run_id "
        "QUALIFY row_number() OVER (PARTITION BY partition ORDER BY load_id DESC) = 1) "
        f"SELECT p.*, {counted} FROM etl.partitions AS p LEFT JOIN l ON l.partition = p.partition "
        "WHERE p.source = $source AND p.stream = $stream AND p.run_id = $run_id "
        "AND p.partition IN (SELECT unnest(CAST($days AS DATE[]))) ORDER BY p.partition",
        {"source": source, "stream": stream, "run_id": run_id, "days": list(days)},
    )
    names = [column[0] for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    changes = changes_of(connection, [stream_id], days, run_id=run_id) if rows else []
    checks = results_of_run(connection, stream_id, run_id) if rows else {}
    return [
        replace(
            _outcome_of(stream_id, row, stages),
            schema_changes=tuple(one.change for one in changes if one.partition == row["partition"]),
            checks=checks.get(row["partition"], ()),
        )
        for row in rows
        if _is_settled(row)
    ]


def loaded_outcomes(
    connection: duckdb.DuckDBPyConnection, stream_id: str, days: Sequence[date]
) -> dict[date, PartitionOutcome]:
    """Give what the last load of each of some days brought, whatever was attempted since; days never loaded lack.

    Args:
        connection: The warehouse.
        stream_id: The stream.
        days: Days to look at.
    """
    source, _, stream = stream_id.partition("/")
    names = (
        "partition",
        "verdict",
        "warnings",
        "violations",
        "landing_version",
        *Counts.__dataclass_fields__,
    )
    found = connection.execute(
        f"SELECT {', '.join(names)} FROM etl.loads WHERE source = $source AND stream = $stream "
        "AND partition IN (SELECT unnest(CAST($days AS DATE[]))) "
        "QUALIFY row_number() OVER (PARTITION BY partition ORDER BY load_id DESC) = 1 ORDER BY partition",
        {"source": source, "stream": stream, "days": list(days)},
    ).fetchall()
    rows = [dict(zip(names, row, strict=True)) for row in found]
    return {
        row["partition"]: PartitionOutcome(
            stream=stream_id,
            partition=row["partition"],
            status=Status(row["verdict"]),
            counts=Counts(**{name: row[name] or 0 for name in Counts.__dataclass_fields__}),
            warnings=json.loads(row["warnings"]),
            violations=json.loads(row["violations"]),
            landing_version=row["landing_version"],
            completed=_STAGES[1:],
        )
        for row in rows
    }


def _is_settled(row: dict[str, Any]) -> bool:
    if row["status"] != Status.FAILED.value:
        return True
    return row["failure_class"] is not None and not FailureClass(row["failure_class"]).retryable


def _outcome_of(stream_id: str, row: dict[str, Any], stages: Sequence[str]) -> PartitionOutcome:
    status = Status(row["status"])
    failure = None
    if not status.is_published:
        failure = FailureRecord(
            row["failure_stage"], FailureClass(row["failure_class"]), row["error_type"], row["message"]
        )
    counts = (
        Counts(**{name: row[name] for name in Counts.__dataclass_fields__})
        if status.is_published
        else Counts(**{name: row[name] for name in _COUNTED_IN_PARTITIONS})
    )
    return PartitionOutcome(
        stream=stream_id,
        partition=row["partition"],
        status=status,
        counts=counts,
        warnings=json.loads(row["warnings"]),
        violations=json.loads(row["violations"]),
        message=row["message"],
        failure=failure,
        seconds=json.loads(row["seconds"]),
        landing_version=row["landing_version"],
        completed=_completed(stages, row["failure_stage"]),
    )


def _completed(stages: Sequence[str], failure_stage: str | None) -> tuple[str, ...]:
    """Give the asked stages that ended well: all before the one that failed."""
    until = _STAGES.index(failure_stage) if failure_stage in _STAGES else len(_STAGES)
    return tuple(stage for stage in _STAGES[:until] if stage in stages)
