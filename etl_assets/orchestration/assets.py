"""A stream as three Dagster assets, made by one op that can be subset.

Per-day outcomes follow what Dagster does with range runs: when every day is good, normal results are yielded and the
numbers attached per day; when some day failed, the good days are logged one by one and the op fails, so that exactly
the failed days turn red. What belongs here: that translation. What does not: loading (`etl_assets.pipeline`).
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import dagster as dg

from etl_assets.observability.logging import mirror_to_dagster
from etl_assets.orchestration.check_targets import latest_materializations
from etl_assets.orchestration.event_reports import add_partition_metadata, log_events, stored_together
from etl_assets.orchestration.failed_items import retry_config, to_retry
from etl_assets.orchestration.keys import DAILY_TAG, DAILY_TAG_VALUE, Layer, asset_key, source_pool
from etl_assets.orchestration.outcome_events import (
    check_evaluations,
    check_specs,
    failure_observation,
    materialization_metadata,
)
from etl_assets.orchestration.schema import table_metadata
from etl_assets.outcomes import PartitionOutcome, Status
from etl_assets.pipeline.audit import audit_loaded
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.resources.progress import PROGRESS
from etl_assets.resources.warehouse import WAREHOUSE
from etl_assets.streams.base import Files, Stream

_DESCRIPTIONS = {
    Layer.RAW: "The source's answers, byte for byte, in landing.",
    Layer.STAGED: "Cleaned rows that kept the contract, as Parquet; not yet visible.",
    Layer.WAREHOUSE: "Published rows in the warehouse.",
}
_KINDS = {Layer.STAGED: {"pandas", "parquet"}, Layer.WAREHOUSE: {"duckdb", "table"}}
_OP_CONFIG = {
    "confirm_empty": dg.Field(
        bool,
        default_value=False,
        description="Accept that the source has no rows for a day that holds some: the day becomes empty.",
    ),
    "confirm_audits": dg.Field(
        bool,
        default_value=False,
        description="Publish a day though an audit would withhold it: someone looked at it.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAssetOptions:
    """What all streams' assets share."""

    environment: Environment
    partitions: dg.DailyPartitionsDefinition
    partitions_per_run: int
    retry_policy: dg.RetryPolicy


def build_stream_assets(stream: Stream, options: StreamAssetOptions) -> dg.AssetsDefinition:
    """Make the three assets of a stream, four checks, and one for each audit.

    Args:
        stream: The stream.
        options: What all streams share.
    """

    @dg.multi_asset(
        name=f"load_{stream.source.name}__{stream.name}",
        specs=_specs(stream, options.environment.code_versions[stream.id]),
        check_specs=check_specs(stream, options.partitions),
        partitions_def=options.partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(options.partitions_per_run),
        retry_policy=options.retry_policy,
        pool=source_pool(stream.source.name),
        config_schema={**_OP_CONFIG, **retry_config(stream)},
        required_resource_keys={WAREHOUSE, PROGRESS, stream.source.name},
        can_subset=True,
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        with mirror_to_dagster(context.log, partial(stored_together, context.instance)):
            yield from _load(context, stream, options.environment)

    return load


def _specs(stream: Stream, code_version: str) -> list[dg.AssetSpec]:
    specs = []
    upstream: dg.AssetKey | None = None
    for layer in Layer:
        key = asset_key(layer, stream)
        specs.append(
            dg.AssetSpec(
                key,
                deps=[upstream] if upstream else None,
                description=f"{_DESCRIPTIONS[layer]} {stream.description}".strip(),
                group_name=stream.source.name,
                owners=[stream.owner],
                kinds=_kinds(layer, stream),
                tags={DAILY_TAG: DAILY_TAG_VALUE},
                code_version=code_version,
                metadata={} if layer is Layer.RAW else table_metadata(stream, layer),
                skippable=True,
            )
        )
        upstream = key
    return specs


def _kinds(layer: Layer, stream: Stream) -> set[str]:
    """Say what an asset consists of, for the UI's labels."""
    if layer is Layer.RAW:
        return {stream.extract.format} if isinstance(stream.extract, Files) else {"json"}
    return _KINDS[layer]


def _load(
    context: dg.AssetExecutionContext, stream: Stream, environment: Environment
) -> Iterator[dg.Output[None]]:
    layers = [layer for layer in Layer if asset_key(layer, stream) in context.selected_asset_keys]
    if not layers:
        _check_loaded(context, stream, environment)
        return
    settled, fresh = _run(context, stream, environment, frozenset(layer.stage for layer in layers))
    outcomes = sorted([*settled, *fresh], key=lambda outcome: outcome.partition)
    wanted = {layer.stage for layer in layers}
    bad = [outcome for outcome in outcomes if not wanted <= set(outcome.completed)]
    if bad:
        # What an earlier attempt of this step settled, it has also told of.
        log_events(
            context, [event for outcome in fresh for event in partition_events(stream, layers, outcome)]
        )
        _log_checks(context, stream, fresh)
        raise _failure(stream, bad, len(outcomes))
    add_partition_metadata(
        context,
        {
            (asset_key(layer, stream), outcome.partition.isoformat()): materialization_metadata(
                layer, outcome
            )
            for outcome in outcomes
            for layer in layers
        },
    )
    for layer in layers:
        yield dg.Output(None, output_name=asset_key(layer, stream).to_python_identifier())
    _log_checks(context, stream, outcomes)


def _check_loaded(context: dg.AssetExecutionContext, stream: Stream, environment: Environment) -> None:
    """Evaluate the selected checks of days that are loaded already."""
    resources: Any = context.resources
    environment = replace(environment, warehouse=resources.warehouse.open())
    days = [date.fromisoformat(key) for key in context.partition_keys]
    outcomes = audit_loaded(environment, stream, days, context.run.run_id)
    _log_checks(context, stream, outcomes)
    if bad := [outcome for outcome in outcomes if outcome.status is Status.FAILED]:
        raise _failure(stream, bad, len(outcomes), done="checked")


def _log_checks(
    context: dg.AssetExecutionContext,
    stream: Stream,
    outcomes: Sequence[PartitionOutcome],
) -> None:
    """Record the checks' results, after the materializations that they are about."""
    selected = set(context.selected_asset_check_keys)
    targets = latest_materializations(
        context.instance,
        {check.asset_key for check in selected},
        [outcome.partition.isoformat() for outcome in outcomes],
    )
    log_events(
        context,
        [
            evaluation
            for outcome in outcomes
            for evaluation in check_evaluations(stream, outcome, selected, targets)
        ],
    )


def _run(
    context: dg.AssetExecutionContext, stream: Stream, environment: Environment, stages: frozenset[Stage]
) -> tuple[list[PartitionOutcome], list[PartitionOutcome]]:
    """Load the run's days; a retry redoes only what failed for a reason that may have passed.

    Returns:
        The days that an earlier attempt settled, and those of this attempt.
    """
    resources: Any = context.resources
    environment = replace(environment, warehouse=resources.warehouse.open())
    source = getattr(resources, stream.source.name)
    if url := getattr(source, "url", None):
        # Whether a source is a demo's must be judged by the address that is asked.
        settings = environment.settings.with_address(stream.source.name, url)
        environment = replace(environment, settings=settings)
    days = [date.fromisoformat(key) for key in context.partition_keys]
    settled: list[PartitionOutcome] = []
    if context.retry_number and Stage.COMMIT in stages:
        with environment.warehouse.session(f"retry {stream.id}") as session:
            settled = session.settled_in_run(
                stream, run_id=context.run.run_id, days=days, stages=tuple(stages)
            )
        done = {outcome.partition for outcome in settled}
        days = [day for day in days if day not in done]
    opened = source.open(stream.source) if Stage.EXTRACT in stages else nullcontext()
    with opened as reader:
        config = context.op_execution_context.op_config
        pipeline = PartitionPipeline(
            environment=environment,
            stream=stream,
            stages=stages,
            run_id=context.run.run_id,
            client=reader,
            confirm_empty=config["confirm_empty"],
            confirm_audits=config["confirm_audits"],
            retry=to_retry(config, environment, stream, days),
            progress=resources.progress,
        )
        fresh = list(
            run_partitions(pipeline, days, reporter=resources.progress, threads=stream.source.concurrency)
        )
    return settled, fresh


def partition_events(
    stream: Stream, layers: Sequence[Layer], outcome: PartitionOutcome
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """Give what is to be told of one day by itself: what was made of it, and why the rest was not."""
    for layer in layers:
        if layer.stage in outcome.completed:
            yield dg.AssetMaterialization(
                asset_key(layer, stream),
                partition=outcome.partition.isoformat(),
                metadata=materialization_metadata(layer, outcome),
            )
        else:
            yield failure_observation(stream, layer, outcome)


def _failure(
    stream: Stream, bad: Sequence[PartitionOutcome], total: int, *, done: str = "published"
) -> dg.Failure:
    """Make the op's failure: names the days, and may be retried only if a day may pass by itself."""
    by_message: dict[str, list[str]] = {}
    for outcome in bad:
        by_message.setdefault(outcome.message, []).append(outcome.partition.isoformat())
    lines = [f"{_span(days)}: {message}" for message, days in by_message.items()]
    retryable = any(
        outcome.failure is not None and outcome.failure.failure_class.retryable for outcome in bad
    )
    return dg.Failure(
        description=f"{len(bad)} of {total} days of {stream.id} were not {done}. " + " | ".join(lines[:20]),
        metadata={
            "days": dg.IntMetadataValue(len(bad)),
            "failed_days": dg.TextMetadataValue(", ".join(outcome.partition.isoformat() for outcome in bad)),
            "failure_classes": dg.TextMetadataValue(
                ", ".join(sorted({outcome.failure.failure_class for outcome in bad if outcome.failure}))
            ),
        },
        allow_retries=retryable,
    )


def _span(days: Sequence[str]) -> str:
    return days[0] if len(days) == 1 else f"{days[0]} and {len(days) - 1} more"
