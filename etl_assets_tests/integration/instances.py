"""Looking into a Dagster instance, with the code that its own UI colours the partition bar by.

What belongs here: reading what was recorded. What does not: recording it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date

import dagster as dg
from dagster import DagsterEventType
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from etl_assets.orchestration.instance import opened_instance
from etl_assets.orchestration.keys import Layer, stream_key
from etl_assets.orchestration.partitions import daily_partitions
from etl_assets.settings import Settings

MATERIALIZED, FAILED, IN_PROGRESS = "materialized", "failed", "in progress"


def partition_statuses(settings: Settings, stream_id: str) -> dict[str, dict[str, str]]:
    """Give the status of each day of a stream's assets, by layer and day; days never asked for are left out.

    Args:
        settings: Whose instance.
        stream_id: The stream.
    """
    with opened_instance(settings) as instance:
        return {
            layer.value: _statuses(instance, stream_key(layer, stream_id), settings.start_date)
            for layer in Layer
        }


def events_of_runs(settings: Settings, run_ids: Iterable[str], kind: DagsterEventType) -> int:
    """Give how many events of a kind some runs have recorded."""
    with opened_instance(settings) as instance:
        return sum(len(instance.all_logs(run_id, of_type=kind)) for run_id in run_ids)


def check_results(settings: Settings, stream_id: str, layer: Layer, name: str) -> dict[str, list[bool]]:
    """Give the results of a check in the order in which they were recorded, by partition."""
    key = dg.AssetCheckKey(stream_key(layer, stream_id), name)
    found: dict[str, list[bool]] = {}
    with opened_instance(settings) as instance:
        for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=1_000):
            event = record.event.dagster_event if record.event else None
            if event is not None and event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                found.setdefault(str(evaluation.partition), []).insert(0, evaluation.passed)
    return found


def materializations(settings: Settings, stream_id: str) -> Counter[tuple[str, str]]:
    """Give how often each day of a stream's assets was recorded as materialized, by layer and day."""
    found: Counter[tuple[str, str]] = Counter()
    with opened_instance(settings) as instance:
        for layer in Layer:
            records = instance.fetch_materializations(stream_key(layer, stream_id), limit=10_000).records
            found.update((layer.value, str(record.partition_key)) for record in records)
    return found


def _statuses(instance: dg.DagsterInstance, key: dg.AssetKey, start: date) -> dict[str, str]:
    partitions = daily_partitions(start)
    cached = get_and_update_asset_status_cache_value(instance, key, partitions)
    if cached is None:
        return {}
    statuses: dict[str, str] = {}
    # As in the UI, a day that failed last is red although it was materialized before.
    for status, subset in (
        (MATERIALIZED, cached.deserialize_materialized_partition_subsets(partitions)),
        (FAILED, cached.deserialize_failed_partition_subsets(partitions)),
        (IN_PROGRESS, cached.deserialize_in_progress_partition_subsets(partitions)),
    ):
        statuses.update(dict.fromkeys(subset.get_partition_keys(), status))
    return statuses
