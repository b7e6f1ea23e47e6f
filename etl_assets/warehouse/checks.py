"""The account of checks: their results, and the numbers of published days that later days are compared with.

What belongs here: writing and reading these two tables within someone else's transaction. What does not: evaluating
checks (`etl_assets.quality`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb

from etl_assets.outcomes import CheckResult
from etl_assets.warehouse.ledger import as_json
from etl_assets.warehouse.rows import insert_rows


@dataclass(frozen=True, slots=True)
class CheckedPartition:
    """What is to be recorded of one partition.

    Attributes:
        source: Source of the stream.
        stream: Name of the stream.
        partition: The day.
        results: What its checks say.
        statistics: Its numbers, if it was published; None keeps those of its last publication.
        run_id: The run.
        at: When; naive UTC.
    """

    source: str
    stream: str
    partition: date
    results: tuple[CheckResult, ...]
    statistics: Mapping[str, Any] | None
    run_id: str
    at: datetime


def record_checks(connection: duckdb.DuckDBPyConnection, partitions: Sequence[CheckedPartition]) -> None:
    """Write the results and numbers of some partitions."""
    rows = [
        (
            one.source,
            one.stream,
            one.partition,
            result.check,
            result.kind,
            "withhold" if result.withholds else "warn",
            result.passed,
            result.message,
            as_json(result.numbers),
            one.run_id,
            one.at,
        )
        for one in partitions
        for result in one.results
    ]
    insert_rows(connection, "etl.check_results", _RESULTS, rows)
    # Of a partition that was committed twice, the last time counts.
    last = {(one.source, one.stream, one.partition): one for one in partitions if one.statistics is not None}
    published = list(last.values())
    if not published:
        return
    for source, stream in {(one.source, one.stream) for one in published}:
        days = [one.partition for one in published if (one.source, one.stream) == (source, stream)]
        connection.execute(
            "DELETE FROM etl.partition_statistics WHERE source = ? AND stream = ? "
            "AND partition IN (SELECT unnest(CAST(? AS DATE[])))",
            [source, stream, days],
        )
    insert_rows(
        connection,
        "etl.partition_statistics",
        _STATISTICS,
        [
            (one.source, one.stream, one.partition, as_json(dict(one.statistics or {})), one.run_id, one.at)
            for one in published
        ],
    )


def results_of_run(
    connection: duckdb.DuckDBPyConnection, stream_id: str, run_id: str
) -> dict[date, tuple[CheckResult, ...]]:
    """Give what the checks of a stream said in a run, by day; the last time counts. Samples are not kept."""
    source, _, stream = stream_id.partition("/")
    found = connection.execute(
        "SELECT partition, check_name, kind, passed, severity = 'withhold', message, numbers FROM etl.check_results "
        "WHERE source = ? AND stream = ? AND run_id = ? "
        "QUALIFY row_number() OVER (PARTITION BY partition, check_name ORDER BY evaluated_at DESC) = 1 "
        "ORDER BY partition, check_name",
        [source, stream, run_id],
    ).fetchall()
    results: dict[date, tuple[CheckResult, ...]] = {}
    for day, check, kind, passed, withholds, message, numbers in found:
        result = CheckResult(check, kind, passed, withholds, message, json.loads(numbers))
        results[day] = (*results.get(day, ()), result)
    return results


_RESULTS = {
    "source": "VARCHAR",
    "stream": "VARCHAR",
    "partition": "DATE",
    **dict.fromkeys(("check_name", "kind", "severity"), "VARCHAR"),
    "passed": "BOOLEAN",
    **dict.fromkeys(("message", "numbers", "run_id"), "VARCHAR"),
    "evaluated_at": "TIMESTAMP",
}
_STATISTICS = {
    "source": "VARCHAR",
    "stream": "VARCHAR",
    "partition": "DATE",
    "statistics": "VARCHAR",
    "run_id": "VARCHAR",
    "loaded_at": "TIMESTAMP",
}
