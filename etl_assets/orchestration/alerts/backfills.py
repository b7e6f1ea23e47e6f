"""Backfills that have finished: one summary each, instead of a message for every run.

What belongs here: backfills launched in Dagster. What does not: `etl-assets backfill`, which tells its own end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.storage.tags import BACKFILL_ID_TAG

from etl_assets.alerts.conditions import Condition, Kind, Report, Severity
from etl_assets.alerts.durations import spell_span
from etl_assets.alerts.engine import Scene, Watcher
from etl_assets.alerts.outbox import moment
from etl_assets.alerts.scrub import first_line
from etl_assets.orchestration.keys import Layer

NAME = "backfills"
INTERVAL = timedelta(seconds=60)
MOST = 100
SHOWN_ASSETS = 6
_UNDER_WAY = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
_LAYERS = frozenset(layer.value for layer in Layer)
_ENDINGS = {
    BulkActionStatus.COMPLETED_SUCCESS: ("every run succeeded", Severity.INFO),
    BulkActionStatus.COMPLETED: ("it is complete", Severity.INFO),
    BulkActionStatus.CANCELED: ("it was cancelled", Severity.INFO),
    BulkActionStatus.COMPLETED_FAILED: ("some runs failed", Severity.ERROR),
    BulkActionStatus.FAILED: ("it failed", Severity.ERROR),
}


def backfill_watcher(instance: dg.DagsterInstance) -> Watcher:
    """Give the watcher of an instance's backfills."""
    return Watcher(NAME, lambda scene: _watch(instance, scene))


def _watch(instance: dg.DagsterInstance, scene: Scene) -> Report:
    memory: dict[str, Any] = json.loads(scene.outbox.cursor(NAME) or "{}")
    looked_at = datetime.fromisoformat(memory["at"]) if "at" in memory else scene.horizon
    if "at" in memory and timedelta(0) <= scene.now - looked_at < INTERVAL:
        return Report()
    ended = {
        backfill.backfill_id: backfill
        # One that began and ended since the last look, and then those that were under way by then.
        for backfill in instance.get_backfills(
            filters=BulkActionsFilter(
                statuses=BULK_ACTION_TERMINAL_STATUSES, created_after=looked_at - timedelta(minutes=5)
            ),
            limit=MOST,
        )
    }
    under_way = [
        backfill.backfill_id
        for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=_UNDER_WAY), limit=MOST)
    ]
    for backfill_id in memory.get("under_way", []):
        known = instance.get_backfill(backfill_id) if backfill_id not in {*ended, *under_way} else None
        if known is not None:
            ended[backfill_id] = known
    conditions = [
        _condition(instance, scene, backfill)
        for backfill in ended.values()
        if moment(backfill.backfill_timestamp) >= scene.horizon
    ]
    return Report(
        conditions=conditions, cursor=json.dumps({"at": scene.now.isoformat(), "under_way": under_way})
    )


def _condition(instance: dg.DagsterInstance, scene: Scene, backfill: PartitionBackfill) -> Condition:
    said, severity = _ENDINGS.get(backfill.status, ("it ended", Severity.INFO))
    owners = {owner for subject in _subjects(backfill) if (owner := scene.owner_of(subject))}
    error = first_line(backfill.error.message if backfill.error else "", scene.secrets, foreign=True)
    begun = moment(backfill.backfill_timestamp)
    ended = moment(backfill.backfill_end_timestamp) if backfill.backfill_end_timestamp else scene.now
    return Condition(
        kind=Kind.BACKFILL_FINISHED,
        subject=f"Backfill {backfill.backfill_id}",
        key=backfill.backfill_id,
        ref=backfill.backfill_id,
        at=ended,
        owner=owners.pop() if len(owners) == 1 else "",
        severity=severity,
        error=error,
        details=dict(_details(instance, backfill, f"{said}, after {spell_span(ended - begun)}")),
        link=f"/runs/b/{backfill.backfill_id}",
    )


def _subjects(backfill: PartitionBackfill) -> list[str]:
    paths = [key.path for key in backfill.asset_selection or ()]
    return sorted({"/".join(path[1:] if path[0] in _LAYERS else path) for path in paths})


def _details(
    instance: dg.DagsterInstance, backfill: PartitionBackfill, ending: str
) -> Iterator[tuple[str, str]]:
    yield "Ended", ending
    subjects = _subjects(backfill)
    if subjects:
        more = f" and {len(subjects) - SHOWN_ASSETS} more" if len(subjects) > SHOWN_ASSETS else ""
        yield "What", ", ".join(subjects[:SHOWN_ASSETS]) + more
    counts = {
        word: instance.get_runs_count(
            dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill.backfill_id}, statuses=[status])
        )
        for word, status in (
            ("succeeded", dg.DagsterRunStatus.SUCCESS),
            ("failed", dg.DagsterRunStatus.FAILURE),
            ("cancelled", dg.DagsterRunStatus.CANCELED),
        )
    }
    yield "Runs", ", ".join(f"{number:,} {word}" for word, number in counts.items() if number) or "none"
    data = backfill.asset_backfill_data
    if data is not None:
        wanted, made, failed = (
            subset.num_partitions_and_non_partitioned_assets
            for subset in (data.target_subset, data.materialized_subset, data.failed_and_downstream_subset)
        )
        yield "Partitions of assets", f"{made:,} of {wanted:,} made, {failed:,} failed"
