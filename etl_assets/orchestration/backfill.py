"""A backfill in this process, recorded in the same Dagster instance that the UI shows.

What belongs here: cutting days into runs and executing them. What does not: arguments and output (`etl_assets.cli`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from dagster import DagsterInstance

from etl_assets.marts.catalogue import Mart
from etl_assets.orchestration.dead_runs import process_tags
from etl_assets.orchestration.failed_items import RETRY_FAILED
from etl_assets.orchestration.keys import FRESHNESS_CHECK, Layer, asset_key, embeddings_key, mart_key
from etl_assets.streams.base import Stream
from etl_assets.warehouse.failed_items import Retry

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
ORIGIN_TAG = {"etl/started_by": "etl-assets backfill"}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class RunResult:
    """One finished run.

    Attributes:
        run_id: Its identifier.
        success: Whether every step ended well.
        failures: First line of each failed step's error, by step.
        metadata: Metadata of the materialized assets without partitions, by asset.
    """

    run_id: str
    success: bool
    failures: dict[str, str]
    metadata: dict[dg.AssetKey, dict[str, Any]]


def runs_of(days: Sequence[date], partitions_per_run: int) -> Iterator[list[date]]:
    """Cut consecutive days into runs."""
    for first in range(0, len(days), partitions_per_run):
        yield list(days[first : first + partitions_per_run])


def load_days(
    definitions: dg.Definitions,
    instance: DagsterInstance,
    streams: Sequence[Stream],
    days: Sequence[date],
    *,
    confirm_empty: bool = False,
    confirm_audits: bool = False,
    replay: bool = False,
    retry: Retry = Retry.NONE,
) -> RunResult:
    """Load consecutive days of streams in one run.

    Args:
        definitions: From `build_definitions`.
        instance: Where the run is recorded.
        streams: The streams.
        days: Consecutive days.
        confirm_empty: Accept that days which hold rows become empty.
        confirm_audits: Publish days though an audit would withhold them.
        replay: Load again from landing, without asking the source.
        retry: Whether to ask only for documents that failed; the streams must be ones of documents then.
    """
    options: dict[str, Any] = {"confirm_empty": confirm_empty, "confirm_audits": confirm_audits}
    if retry is not Retry.NONE:
        options[RETRY_FAILED] = retry.value
    config: dict[str, Any] = {
        "ops": {f"load_{stream.source.name}__{stream.name}": {"config": options} for stream in streams}
    }
    if len(days) == 1:
        partition: dict[str, Any] = {"partition_key": days[0].isoformat()}
    else:
        partition = {"tags": {RANGE_START_TAG: days[0].isoformat(), RANGE_END_TAG: days[-1].isoformat()}}
    layers = [layer for layer in Layer if not (replay and layer is Layer.RAW)]
    keys = [asset_key(layer, stream) for stream in streams for layer in layers]
    return _execute(definitions, instance, keys, config, partition)


def rebuild_marts(definitions: dg.Definitions, instance: DagsterInstance, marts: Sequence[Mart]) -> RunResult:
    """Rebuild marts for the dates that loads touched, in one run."""
    return _execute(definitions, instance, [mart_key(mart.name) for mart in marts], {}, {})


def embed_streams(
    definitions: dg.Definitions, instance: DagsterInstance, streams: Sequence[Stream]
) -> RunResult:
    """Embed the new and changed texts of streams that declare some, in one run."""
    return _execute(definitions, instance, [embeddings_key(stream) for stream in streams], {}, {})


def _execute(
    definitions: dg.Definitions,
    instance: DagsterInstance,
    keys: Sequence[dg.AssetKey],
    config: dict[str, Any],
    partition: dict[str, Any],
) -> RunResult:
    job = definitions.resolve_implicit_global_asset_job_def()
    graph = definitions.resolve_asset_graph()
    # The checks that come with a load; freshness is about today, whichever days are loaded.
    checks = {check for check in graph.get_check_keys_for_assets(set(keys)) if check.name != FRESHNESS_CHECK}
    tags = {**ORIGIN_TAG, **process_tags(), **partition.pop("tags", {})}
    result = job.get_subset(asset_selection=set(keys), asset_check_selection=checks).execute_in_process(
        run_config={**_QUIET, **config},
        instance=instance,
        tags=tags,
        raise_on_error=False,
        **partition,
    )
    failures = {}
    for event in result.all_events:
        if event.is_step_failure and event.step_key:
            failures[event.step_key] = _first_line(event)
    metadata = {
        event.asset_key: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key and not event.partition
    }
    return RunResult(result.run_id, result.success, failures, metadata)


def _first_line(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return " ".join(error.message.split()) if error else "the step failed"
