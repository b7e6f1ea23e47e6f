"""Reading what checks said over a period: how often they failed, and the trend of their numbers.

What belongs here: statements over `etl.check_results`. What does not: all other facts (`reading`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import duckdb

from etl_assets.report.facts import CheckHistory, FailedCheck, TrendPoint, bucket_width
from etl_assets.report.tables import is_there

MEASURES: Mapping[str, tuple[str, ...]] = {
    "contract": ("quarantined_share",),
    "row_count": ("rows",),
    "volume": ("rows",),
    "null_share": ("null_share",),
    "categories": ("population_stability_index", "unexpected_share"),
    "outliers": ("outlier_share",),
    "mean_drift": ("mean",),
    "unique_in_table": ("repeated_share",),
    "foreign_key": ("orphan_share",),
    "agreement": ("differ",),
    "freshness": ("days_behind",),
}
"""Which number of a check its trend shows, by kind; of several, the first that its results have. `conservation` has
none: its numbers are the volumes, which have a chart of their own."""
LISTED_FAILURES = 100
"""Failed checks that are listed of each stream."""

_LATEST = (
    "SELECT source || '/' || stream AS id, * FROM etl.check_results WHERE partition BETWEEN $first AND $last "
    "AND list_contains(CAST($ids AS VARCHAR[]), source || '/' || stream) QUALIFY row_number() OVER "
    "(PARTITION BY source, stream, partition, check_name ORDER BY evaluated_at DESC) = 1"
)

Clean = Callable[[str | None], str]


def checks_of(
    connection: duckdb.DuckDBPyConnection, bounds: Mapping[str, Any], clean: Clean
) -> dict[str, list[CheckHistory]]:
    """Give what each check said over the period, by stream and name.

    Args:
        connection: The warehouse.
        bounds: Ids of streams as `ids`, and the ends of the period as `first` and `last`.
        clean: Makes a message fit to be shown.
    """
    if not is_there(connection, "check_results"):
        return {}
    found = connection.execute(
        "SELECT id, check_name, arg_max(kind, partition), arg_max(severity, partition) = 'withhold', count(*), "
        "count(*) FILTER (NOT passed), max(partition) FILTER (NOT passed), "
        "arg_max(message, (NOT passed, partition)) "
        f"FROM ({_LATEST}) GROUP BY id, check_name ORDER BY id, check_name",
        dict(bounds),
    ).fetchall()
    trends = _trends(connection, bounds)
    checks: dict[str, list[CheckHistory]] = {}
    for stream, *history in found:
        check = CheckHistory(*history)
        measure, trend = trends.get((stream, check.name), ("", ()))
        checks.setdefault(stream, []).append(
            replace(check, message=clean(check.message), measure=measure, trend=trend)
        )
    return checks


def failed_checks_of(
    connection: duckdb.DuckDBPyConnection, bounds: Mapping[str, Any], clean: Clean
) -> tuple[dict[str, list[FailedCheck]], dict[str, int]]:
    """Give the latest failures of checks by stream, newest day first, and how many more there are."""
    if not is_there(connection, "check_results"):
        return {}, {}
    found = connection.execute(
        "SELECT id, partition, check_name, severity = 'withhold', message, count(*) OVER (PARTITION BY id) "
        f"FROM ({_LATEST}) WHERE NOT passed "
        "QUALIFY row_number() OVER (PARTITION BY id ORDER BY partition DESC, check_name) <= $listed "
        "ORDER BY id, partition DESC, check_name",
        {**bounds, "listed": LISTED_FAILURES},
    ).fetchall()
    failures: dict[str, list[FailedCheck]] = {}
    left_out: dict[str, int] = {}
    for stream, day, name, withholds, message, number in found:
        failures.setdefault(stream, []).append(FailedCheck(day, name, withholds, clean(message)))
        if number > LISTED_FAILURES:
            left_out[stream] = number - LISTED_FAILURES
    return failures, left_out


def _trends(
    connection: duckdb.DuckDBPyConnection, bounds: Mapping[str, Any]
) -> dict[tuple[str, str], tuple[str, tuple[TrendPoint, ...]]]:
    """Give the name of each check's number and its mean over each of the periods that charts show."""
    keys = sorted({key for kind in MEASURES.values() for key in kind})
    means = ", ".join(f"avg(TRY_CAST(numbers->>'$.{key}' AS DOUBLE)) AS {key}" for key in keys)
    found = connection.execute(
        f"SELECT id, check_name, any_value(kind), CAST($first AS DATE) + "
        "CAST((partition - CAST($first AS DATE)) // $width * $width AS INTEGER) AS bucket, "
        f"count(*) FILTER (NOT passed), {means} FROM ({_LATEST}) GROUP BY id, check_name, bucket ORDER BY ALL",
        {**bounds, "width": bucket_width(bounds["first"], bounds["last"])},
    ).fetchall()
    values: dict[tuple[str, str], dict[str, list[TrendPoint]]] = {}
    for stream, check, kind, bucket, failed, *numbers in found:
        named = dict(zip(keys, numbers, strict=True))
        for key in MEASURES.get(kind, ()):
            if named[key] is not None:
                measured = values.setdefault((stream, check), {})
                measured.setdefault(key, []).append(TrendPoint(bucket, named[key], failed))
    kinds = {(row[0], row[1]): row[2] for row in found}
    return {which: _first_of(MEASURES[kinds[which]], measured) for which, measured in values.items()}


def _first_of(
    keys: tuple[str, ...], measured: Mapping[str, list[TrendPoint]]
) -> tuple[str, tuple[TrendPoint, ...]]:
    key = next(key for key in keys if key in measured)
    return key, tuple(measured[key])
