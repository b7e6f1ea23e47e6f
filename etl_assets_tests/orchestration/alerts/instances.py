"""Dagster instances with things that went wrong in them, on SQLite and on PostgreSQL.

What belongs here: making them, as Dagster itself records them. What does not: assertions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import DagsterEvent, JobFailureData, RunFailureReason
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.test_utils import create_run_for_test
from dagster_shared.error import SerializableErrorInfo

from etl_assets.orchestration.alerts.event_cursor import storage_of
from etl_assets.orchestration.instance import opened_instance
from etl_assets.settings import load_settings
from etl_assets_tests.sources.postgres import PostgresServer


@contextmanager
def sqlite_instance(folder: Path) -> Iterator[dg.DagsterInstance]:
    """Open an instance on the project's own storage."""
    settings = load_settings({"ETL_DATA_DIR": str(folder)})
    with opened_instance(settings) as instance:
        yield instance


@contextmanager
def postgres_instance(folder: Path, server: PostgresServer) -> Iterator[dg.DagsterInstance]:
    """Open an instance on a PostgreSQL server."""
    folder.mkdir(parents=True, exist_ok=True)
    url = server.url.replace("postgresql+psycopg://", "postgresql+psycopg2://")
    (folder / "dagster.yaml").write_text(
        f"storage:\n  postgres:\n    postgres_url: {url}\n"
        "telemetry:\n  enabled: false\n"
        "run_retries:\n  enabled: true\n  max_retries: 1\n  retry_on_asset_or_op_failure: false\n"
    )
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def fail_run(
    instance: dg.DagsterInstance,
    number: int,
    *,
    job: str = "nightly",
    tags: Mapping[str, str] | None = None,
    at: datetime | None = None,
    error: str = "the pump broke",
    reason: RunFailureReason = RunFailureReason.STEP_FAILURE,
) -> str:
    """Record a run that failed, as its own process would; gives the run."""
    run = create_run_for_test(
        instance,
        job_name=job,
        run_id=f"{number:08d}-0000-4000-8000-000000000000",
        status=dg.DagsterRunStatus.STARTED,
        tags=dict(tags or {}),
    )
    event = DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_FAILURE.value,
        job_name=job,
        message="the run failed",
        event_specific_data=JobFailureData(SerializableErrorInfo(error, [], "RuntimeError"), reason),
    )
    instance.handle_new_event(
        EventLogEntry(  # type: ignore[no-untyped-call]
            error_info=None,
            level=40,
            user_message="",
            run_id=run.run_id,
            timestamp=(at or datetime.now(UTC)).timestamp(),
            job_name=job,
            dagster_event=event,
        )
    )
    return str(run.run_id)


def repeat_failure(instance: dg.DagsterInstance, run_id: str, numbers: Iterable[int], at: datetime) -> None:
    """Record further runs that failed as one did, in one go: a copy of its rows for each."""
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    names = [f"{number:08d}-0000-4000-8000-00000000000f" for number in numbers]
    with storage.connect() as connection:
        [run] = (
            connection.execute(sa.select(RunsTable).where(RunsTable.c.run_id == run_id)).mappings().fetchall()
        )
        tags = (
            connection.execute(sa.select(RunTagsTable).where(RunTagsTable.c.run_id == run_id))
            .mappings()
            .fetchall()
        )
        connection.execute(sa.insert(RunsTable), [_copy(dict(run), run_id, name) for name in names])
        connection.execute(
            sa.insert(RunTagsTable), [_copy(dict(tag), run_id, name) for name in names for tag in tags]
        )
    with storage_of(instance).index_transaction() as connection:
        chosen = sa.select(Events).where(Events.c.run_id == run_id)
        [event] = connection.execute(chosen).mappings().fetchall()
        moved = {**event, "timestamp": at.replace(tzinfo=None)}
        connection.execute(sa.insert(Events), [_copy(moved, run_id, name) for name in names])


def _copy(row: Mapping[str, Any], run_id: str, name: str) -> dict[str, Any]:
    copied = {
        column: value.replace(run_id, name) if isinstance(value, str) else value
        for column, value in row.items()
    }
    copied.pop("id", None)
    return copied


@dg.op
def broken_op() -> None:
    """Raise an error that quotes somebody's data."""
    raise ValueError("cannot read 'Ada Lovelace' of ada@example.com")


@dg.job
def broken_job() -> None:
    """Fail."""
    broken_op()


@dg.op
def good_op() -> None:
    """Do nothing."""


@dg.job(name="broken_job")
def mended_job() -> None:
    """Succeed, under the name of the one that fails."""
    good_op()


@dg.asset
def parts() -> None:
    """Have checks."""


def check_job(name: str, *, passed: bool, severity: dg.AssetCheckSeverity) -> dg.Definitions:
    """Give definitions with one asset, and one check of it that ends as the test wants."""

    @dg.asset_check(asset=parts, name=name)
    def check() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=passed,
            severity=severity,
            description="3 parts of 'Ada Lovelace' are missing",
            metadata={"missing": 3, "note": "Ada Lovelace"},
        )

    return dg.Definitions(assets=[parts], asset_checks=[check])


def run_checks(instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    """Materialize the asset and run its checks."""
    job = definitions.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance).success
