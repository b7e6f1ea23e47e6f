"""Which materialization a check's result is about.

Dagster counts a partition's result only when it names the partition's latest materialization; a result without one
reads as missing. What belongs here: looking that up. What does not: the results (`outcome_events`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)

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
        if not latest:
            continue
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, storage_ids=list(latest.values())), limit=len(latest)
        ).records
        for record in records:
            if record.partition_key is not None:
                targets[key, record.partition_key] = Target(
                    storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
                )
    return targets
