"""Evaluating the audits of partitions that are loaded already, without loading them again.

What belongs here: putting a loaded partition before its audits as it was staged. What does not: the audits themselves,
and judging a partition on its way (`partition`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import partial

import duckdb

from etl_assets.failures import FailureClass
from etl_assets.outcomes import CheckResult, FailureRecord, PartitionOutcome, Status
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Prepared, Stage
from etl_assets.quality.audits.judge import judge
from etl_assets.quality.audits.staged_day import StagedDay
from etl_assets.streams.base import Stream

GROUP_DAYS = 31


def audit_loaded(
    environment: Environment, stream: Stream, days: Sequence[date], run_id: str
) -> list[PartitionOutcome]:
    """Evaluate the audits of some days against the warehouse as it is now; nothing but their results is written.

    A day is staged from its newest landed answers, or found staged still. What a day would be withheld for now is told,
    and the day stays published.

    Args:
        environment: Stores and warehouse.
        stream: The stream.
        days: The days, in their order.
        run_id: The run that asks.

    Returns:
        An outcome a day: what its last load brought, with the results; FAILED where it cannot be checked.
    """
    pipeline = PartitionPipeline(
        environment=environment, stream=stream, stages=frozenset({Stage.STAGE}), run_id=run_id
    )
    outcomes: list[PartitionOutcome] = []
    for first in range(0, len(days), GROUP_DAYS):
        group: list[Prepared] = []
        try:
            group.extend(pipeline.prepare(day) for day in days[first : first + GROUP_DAYS])
            outcomes += _evaluate(environment, stream, group, run_id)
        finally:
            for prepared in group:
                prepared.release()
    return outcomes


def _evaluate(
    environment: Environment, stream: Stream, group: Sequence[Prepared], run_id: str
) -> list[PartitionOutcome]:
    with environment.warehouse.session(f"check {stream.id}") as session:
        loaded = session.evaluate_checks(
            stream,
            [prepared.day for prepared in group if prepared.failure is None],
            partial(_judge, environment, stream, {prepared.day: prepared for prepared in group}),
            run_id=run_id,
            at=datetime.now(UTC),
        )
    return [loaded.get(prepared.day) or _not_checked(stream, prepared) for prepared in group]


def _judge(
    environment: Environment,
    stream: Stream,
    prepared_of: dict[date, Prepared],
    connection: duckdb.DuckDBPyConnection,
    days: Sequence[date],
) -> dict[date, tuple[CheckResult, ...]]:
    staged = [
        StagedDay(stream, day, found.rows, found.counts, found.statistics)
        for day in days
        if (found := prepared_of[day].staged) is not None
    ]
    results = judge(connection, staged, environment.streams, tolerant=True)
    return {one.day: found for one, found in zip(staged, results, strict=True)}


def _not_checked(stream: Stream, prepared: Prepared) -> PartitionOutcome:
    failure = prepared.failure or FailureRecord(
        Stage.COMMIT.value,
        FailureClass.PERMANENT,
        "EtlError",
        "the day has not been loaded yet; load it first",
    )
    return PartitionOutcome(
        stream=stream.id,
        partition=prepared.day,
        status=Status.FAILED,
        message=failure.message,
        failure=failure,
    )
