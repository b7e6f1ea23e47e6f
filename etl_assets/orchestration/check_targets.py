"""Which materialization a check's result is about.

Dagster counts a partition's result only when it names the partition's latest materialization; a result without one
reads as missing. What belongs here: looking that up. What does not: the results (`outcome_events`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)

_BY_NUMBER = """
    SELECT id, "partition", run_id, json_extract(event, '$.timestamp') FROM event_logs
    WHERE "partition" IS NOT NULL AND id IN (SELECT value FROM json_each(?))
"""
Targets = Mapping[tuple[dg.AssetKey, str], Target]


def latest_materializations(
    instance: DagsterInstance, keys: Iterable[dg.AssetKey], partitions: Iterable[str]
) -> Targets:
    """Look up the latest materializations, as far as there are any.

    Args:
        instance: Where they are recorded.
        keys: The assets.
        partitions: The partitions.
    """
    wanted = set(partitions)
    targets: dict[tuple[dg.AssetKey, str], Target] = {}
    for key in keys:
        latest = instance.get_latest_storage_id_by_partition(
            key, DagsterEventType.ASSET_MATERIALIZATION, wanted
        )
        if latest:
            found = _recorded(instance, key, list(latest.values()))
            targets.update({(key, partition): target for partition, target in found})
    return targets


def _recorded(
    instance: DagsterInstance, key: dg.AssetKey, storage_ids: list[int]
) -> list[tuple[str, Target]]:
    # Imported on use: the storage behind it takes longer to import than all of our own modules.
    from etl_assets.orchestration.event_log import BatchingSqliteEventLogStorage

    storage = instance.event_log_storage
    if isinstance(storage, BatchingSqliteEventLogStorage):
        # The rest of the events, which are long, need not be read.
        with storage.index_connection() as connection:
            rows = connection.exec_driver_sql(_BY_NUMBER, (json.dumps(storage_ids),)).all()
        return [
            (partition, Target(storage_id=number, run_id=run_id, timestamp=timestamp))
            for number, partition, run_id, timestamp in rows
        ]
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, storage_ids=storage_ids), limit=len(storage_ids)
    ).records
    return [
        (
            record.partition_key,
            Target(storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp),
        )
        for record in records
        if record.partition_key is not None
    ]
