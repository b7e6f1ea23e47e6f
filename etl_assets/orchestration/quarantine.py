"""Replaying the quarantine as a job: the days of pending rows are loaded again from landing.

Which days these are is known by the warehouse alone, and only when the job runs; hence an op that finds them and tells
of each day as of a materialization, and not a partitioned job, whose days somebody would have to choose. What belongs
here: that job. What does not: the account of the rows (`etl_assets.warehouse.quarantined`), and loading.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

import dagster as dg

from etl_assets.observability.logging import mirror_to_dagster
from etl_assets.orchestration.assets import partition_events
from etl_assets.orchestration.event_reports import log_events, stored_together
from etl_assets.orchestration.keys import REPLAY_QUARANTINE_JOB, Layer
from etl_assets.outcomes import PartitionOutcome
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.resources.progress import PROGRESS
from etl_assets.resources.warehouse import WAREHOUSE
from etl_assets.settings import parse_iso_day
from etl_assets.streams.base import Stream
from etl_assets.streams.discovery import StreamCatalogue
from etl_assets.warehouse.quarantined import Choice, days_of

_LAYERS = (Layer.STAGED, Layer.WAREHOUSE)
_CONFIG = {
    "streams": dg.Field([str], default_value=[], description="Streams or sources; all when none is named."),
    "first": dg.Field(str, default_value="", description="First day, YYYY-MM-DD; any when empty."),
    "last": dg.Field(str, default_value="", description="Last day, included; any when empty."),
    "rules": dg.Field(
        [str], default_value=[], description="Only days with rows that break one of these rules."
    ),
}


def replay_quarantine_job(catalogue: StreamCatalogue, environment: Environment) -> dg.JobDefinition:
    """Make the job.

    Args:
        catalogue: All streams.
        environment: The rooms; the warehouse is that of the resource.
    """

    @dg.op(
        name="replay_pending_rows",
        config_schema=_CONFIG,
        required_resource_keys={WAREHOUSE, PROGRESS},
        description="Loads the days of pending rows again from landing, by the present contract and transform.",
    )
    def replay_pending_rows(context: dg.OpExecutionContext) -> None:
        with mirror_to_dagster(context.log, partial(stored_together, context.instance)):
            _replay(context, catalogue, environment)

    @dg.job(
        name=REPLAY_QUARANTINE_JOB,
        description="Loads the days of quarantined rows again from landing; rows that pass now leave the quarantine.",
    )
    def replay_quarantine() -> None:
        replay_pending_rows()

    return replay_quarantine


def _replay(context: dg.OpExecutionContext, catalogue: StreamCatalogue, environment: Environment) -> None:
    resources: Any = context.resources
    environment = replace(environment, warehouse=resources.warehouse.open())
    choice = _choice(context.op_config, catalogue)
    days: dict[str, list[date]] = {}
    if environment.warehouse.exists():
        with environment.warehouse.session("find quarantined rows") as session:
            days = days_of(session.connection, choice)
    unpublished: list[PartitionOutcome] = []
    for stream_id, wanted in days.items():
        stream = catalogue[stream_id]
        outcomes = _load(stream, wanted, environment, context.run.run_id, resources.progress)
        log_events(
            context, [event for outcome in outcomes for event in partition_events(stream, _LAYERS, outcome)]
        )
        unpublished += [outcome for outcome in outcomes if not outcome.status.is_published]
    context.log.info(f"{sum(map(len, days.values()))} days of {len(days)} streams had pending rows")
    if unpublished:
        lines = [f"{each.stream} {each.partition}: {each.message}" for each in unpublished[:20]]
        raise dg.Failure(
            f"{len(unpublished)} days were not published. " + " | ".join(lines), allow_retries=False
        )


def _load(
    stream: Stream, days: Sequence[date], environment: Environment, run_id: str, reporter: Any
) -> list[PartitionOutcome]:
    pipeline = PartitionPipeline(environment, stream, frozenset({Stage.STAGE, Stage.COMMIT}), run_id)
    outcomes = run_partitions(pipeline, days, reporter=reporter, threads=stream.source.concurrency)
    return sorted(outcomes, key=lambda outcome: outcome.partition)


def _choice(config: dict[str, Any], catalogue: StreamCatalogue) -> Choice:
    return Choice(
        streams=tuple(stream.id for stream in catalogue.select(config["streams"])),
        first=parse_iso_day(config["first"]) if config["first"] else date.min,
        last=parse_iso_day(config["last"]) if config["last"] else date.max,
        rules=tuple(config["rules"]),
    )
