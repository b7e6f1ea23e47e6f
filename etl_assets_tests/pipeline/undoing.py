"""Events that are landed by hand, loaded, and taken back, for the tests of rollbacks.

What belongs here: landing, loading, and a process that can be killed while it rolls back. What does not: assertions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from etl_assets.observability.logging import configure_logging
from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import PartitionOutcome
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.rollback import plan_rollback, roll_back
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams.base import ErrorBudget, Merge, Stream
from etl_assets.warehouse.rollback import RolledBack
from etl_assets_tests.pipeline.landings import land
from etl_assets_tests.pipeline.till import DAY, EVENTS

REPLACED = replace(EVENTS, budget=ErrorBudget(warn=1, fail=1))
MERGED = replace(REPLACED, name="newest", write=Merge(key="event_id", version="happened_at"))
FROM_LANDING = frozenset({Stage.STAGE, Stage.COMMIT})


def days(number: int) -> date:
    """Give a day, counted from the first."""
    return DAY + timedelta(days=number)


def rooms(folder: Path, code: str = "v1") -> Environment:
    """Give the rooms of a data folder, as a version of the code sees them."""
    return Environment.of(
        load_settings({"ETL_DATA_DIR": str(folder)}), dict.fromkeys((REPLACED.id, MERGED.id), code)
    )


def load(
    environment: Environment,
    stream: Stream,
    number: int,
    events: Mapping[str, int] | None,
    run_id: str,
    *,
    bad: Iterable[str] = (),
) -> PartitionOutcome:
    """Land a day and load it.

    Args:
        environment: Where.
        stream: The stream.
        number: The day.
        events: Minute of the day by identifier; None to load what has been landed.
        run_id: The run.
        bad: Identifiers of events without a time.
    """
    if events is not None:
        records: list[dict[str, str | None]] = [
            {"event_id": name, "happened_at": f"{days(number)}T00:{minute:02}:00Z"}
            for name, minute in events.items()
        ]
        records += [{"event_id": name, "happened_at": None} for name in bad]
        land(environment.settings.data_dir, [records], stream, days(number))
    pipeline = PartitionPipeline(environment, stream, FROM_LANDING, run_id)
    [outcome] = run_partitions(pipeline, [days(number)], reporter=SilentReporter(), threads=1)
    return outcome


def undo(
    environment: Environment,
    to: str,
    *streams: Stream,
    run_id: str = "undo",
    span: tuple[date, date] | None = None,
) -> list[RolledBack]:
    """Take streams back."""
    plan = plan_rollback(environment, streams or (REPLACED, MERGED), to, days=span)
    return roll_back(environment, plan, run_id, datetime.now(UTC))


def undo_in_folder(folder: Path, to: str) -> None:
    """Take both streams of a data folder back: what a process does until it is killed."""
    configure_logging("console", "ERROR")
    undo(rooms(folder), to)
