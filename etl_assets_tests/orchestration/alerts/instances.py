"""Dagster instances with things that went wrong in them, on SQLite and on PostgreSQL.

What belongs here: making them, as Dagster itself records them. What does not: assertions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster._core.events import DagsterEvent, JobFailureData
from dagster._core.events.log import EventLogEntry
from dagster._core.test_utils import create_run_for_test
from dagster._utils.error import SerializableErrorInfo

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
    """Open an instance on a PostgreSQL server, whose database is emptied of Dagster's tables afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    url = server.url.replace("postgresql+psycopg://", "postgresql+psycopg2://")
    (folder / "dagster.yaml").write_text(
        f"storage:\n  postgres:\n    postgres_url: {url}\n"
        "telemetry:\n  enabled: false\n"
        "run_retries:\n  enabled: true\n  max_retries: 1\n  retry_on_asset_or_op_failure: false\n"
    )
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance
        instance.wipe()


def fail_run(
    instance: dg.DagsterInstance,
    number: int,
    *,
    job: str = "nightly",
    tags: Mapping[str, str] | None = None,
    at: datetime | None = None,
    error: str = "the pump broke",
) -> str:
    """Record a run that failed, as a process does that reports its own failure; gives the run."""
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
        event_specific_data=JobFailureData(SerializableErrorInfo(error, [], "RuntimeError")),
    )
    instance.handle_new_event(
        EventLogEntry(
            error_info=None,
            level=40,
            user_message="",
            run_id=run.run_id,
            timestamp=(at or datetime.now(UTC)).timestamp(),
            job_name=job,
            dagster_event=event,
        )
    )
    return run.run_id


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
