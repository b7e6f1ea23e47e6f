"""Loading by the pipeline alone, without Dagster: for tests that load many times, and for processes that get killed.

What belongs here: the shortest way from settings to a loaded warehouse. What does not: the ways users take.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime

from etl_assets.marts.catalogue import discover_marts
from etl_assets.observability.logging import configure_logging
from etl_assets.observability.progress import ProgressReporter, SilentReporter
from etl_assets.outcomes import PartitionOutcome
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import Settings, load_settings
from etl_assets.streams.discovery import discover_streams
from etl_assets.warehouse.opening import open_warehouse
from etl_assets_tests.integration.shops import LINES, ORDERS

ALL_STAGES = frozenset(Stage)
FROM_LANDING = frozenset({Stage.STAGE, Stage.COMMIT})


def load(
    settings: Settings,
    stream_id: str,
    days: Sequence[date],
    *,
    stages: Collection[Stage] = ALL_STAGES,
    run_id: str = "run",
    reporter: ProgressReporter | None = None,
) -> list[PartitionOutcome]:
    """Load days of a stream, in the order given.

    Args:
        settings: Where everything is.
        stream_id: The stream.
        days: The days.
        stages: `FROM_LANDING` replays without asking the source.
        run_id: The run.
        reporter: Told of every step.
    """
    catalogue = discover_streams()
    stream = catalogue[stream_id]
    environment = Environment.of(settings, catalogue.code_versions, streams=catalogue)
    with closing(environment.open_source(stream.source)) as client:
        pipeline = PartitionPipeline(
            environment=environment,
            stream=stream,
            stages=frozenset(stages),
            run_id=run_id,
            client=client,
        )
        return list(run_partitions(pipeline, days, reporter=reporter or SilentReporter(), threads=2))


def rebuild_marts(settings: Settings, run_id: str = "run") -> None:
    """Rebuild every mart for the dates that loads touched since its last build."""
    with open_warehouse(settings).session("rebuild marts") as session:
        for mart in discover_marts():
            session.rebuild_mart(mart, run_id=run_id, at=datetime.now(UTC))


def load_range(
    variables: Mapping[str, str],
    days: Sequence[date],
    run_id: str,
    *,
    stages: Collection[Stage] = ALL_STAGES,
    reporter: ProgressReporter | None = None,
) -> bool:
    """Load days of the shop's order lines and orders, and rebuild the marts.

    Args:
        variables: The settings.
        days: The days.
        run_id: The run.
        stages: As for `load`.
        reporter: Told of every step.

    Returns:
        Whether every day was published.
    """
    configure_logging("console", "ERROR")
    settings = load_settings(variables)
    outcomes = [
        outcome
        for stream_id in (LINES, ORDERS)
        for outcome in load(settings, stream_id, days, stages=stages, run_id=run_id, reporter=reporter)
    ]
    rebuild_marts(settings, run_id)
    return all(outcome.status.is_published for outcome in outcomes)
