"""Streams, marts and resources put together into Dagster definitions; every part can be swapped.

What belongs here: the wiring. What does not: any single definition.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster import BetaWarning, PreviewWarning

from etl_assets.alerts.rules import load_rules
from etl_assets.marts.catalogue import Mart, discover_marts
from etl_assets.observability.logging import configure_logging
from etl_assets.observability.progress import LogReporter
from etl_assets.orchestration.alerts.sensor import alert_sensor
from etl_assets.orchestration.assets import StreamAssetOptions, build_stream_assets
from etl_assets.orchestration.data_quality import build_freshness_checks, build_report_asset
from etl_assets.orchestration.embeddings import build_embeddings_asset
from etl_assets.orchestration.jobs import (
    daily_job,
    daily_schedule,
    data_quality_job,
    data_quality_schedule,
    mart_automation,
)
from etl_assets.orchestration.marts import build_mart_asset
from etl_assets.orchestration.partitions import daily_partitions
from etl_assets.orchestration.quarantine import replay_quarantine_job
from etl_assets.orchestration.retries import step_retry_policy
from etl_assets.pipeline.environment import Environment
from etl_assets.resources.progress import PROGRESS, progress_resource
from etl_assets.resources.source import SourceResource
from etl_assets.resources.warehouse import WAREHOUSE, WarehouseResource
from etl_assets.settings import Settings, load_settings
from etl_assets.streams.discovery import StreamCatalogue, discover_streams


def build_definitions(
    settings: Settings | None = None,
    *,
    streams: StreamCatalogue | None = None,
    marts: Sequence[Mart] | None = None,
    resources: Mapping[str, Any] | None = None,
) -> dg.Definitions:
    """Build all definitions.

    Args:
        settings: Where everything is; from the environment by default.
        streams: The streams; all discovered ones by default.
        marts: The marts; all discovered ones by default.
        resources: Resources to use instead of the usual ones, by name: `warehouse`, `progress`, or a source's name.

    Raises:
        ConfigurationError: If a setting, a stream file or a mart file cannot be used.
    """
    settings = load_settings() if settings is None else settings
    configure_logging(settings.log_format, settings.log_level)
    streams = discover_streams() if streams is None else streams
    marts = discover_marts() if marts is None else marts
    partitions = daily_partitions(settings.start_date)
    retry_policy = step_retry_policy(settings)
    options = StreamAssetOptions(
        environment=Environment.of(settings, streams.code_versions, streams=streams),
        partitions=partitions,
        partitions_per_run=settings.partitions_per_run,
        retry_policy=retry_policy,
    )
    rules = load_rules(settings)
    rules.check_streams(streams)
    alerts = alert_sensor(settings, rules, streams, {f"marts/{mart.name}": mart.owner for mart in marts})
    with warnings.catch_warnings():
        # Partitioned checks are in preview and backfill policies in beta; the pinned version is tested with both.
        warnings.simplefilter("ignore", PreviewWarning)
        warnings.simplefilter("ignore", BetaWarning)
        assets = [
            *(build_stream_assets(stream, options) for stream in streams.values()),
            *(build_mart_asset(mart, retry_policy) for mart in marts),
            *(
                build_embeddings_asset(stream, settings.embed_model, retry_policy)
                for stream in streams.values()
                if stream.embed
            ),
            build_report_asset(
                settings,
                list(streams.values()),
                marts,
                partitions,
                settings.partitions_per_run,
                retry_policy,
            ),
        ]
        freshness = build_freshness_checks(streams, settings.start_date, retry_policy)
    job, report_job = daily_job(freshness), data_quality_job(freshness)
    return dg.Definitions(
        assets=assets,
        asset_checks=[freshness] if freshness else [],
        jobs=[job, report_job, replay_quarantine_job(streams, options.environment)],
        schedules=[daily_schedule(job), data_quality_schedule(report_job)],
        sensors=[mart_automation(), alerts],
        # One process a run: its steps share one warehouse file, and a process each would cost seconds of imports.
        executor=dg.in_process_executor,
        # What matters of a run is in its event log; Dagster's debug lines on the terminal would bury our own.
        loggers={"console": dg.colored_console_logger.configured({"log_level": "WARNING"})},
        resources={**default_resources(settings, streams), **(resources or {})},
    )


def default_resources(settings: Settings, streams: StreamCatalogue) -> dict[str, Any]:
    """Give the usual resources: the warehouse, progress told in log lines, and one per source."""
    return {
        WAREHOUSE: WarehouseResource(
            database=str(settings.warehouse_path),
            lock_timeout=settings.lock_timeout,
            memory_limit=settings.memory_limit,
        ),
        PROGRESS: progress_resource(LogReporter()),
        **{stream.source.name: SourceResource() for stream in streams.values()},
    }
