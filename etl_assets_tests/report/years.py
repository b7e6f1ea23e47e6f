"""Bookkeeping of a long time, written by SQL: what loads of many streams over years would have left.

What belongs here: rows of the `etl` tables, the same each time. What does not: assertions.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import duckdb

from etl_assets.streams.base import Stream
from etl_assets_tests.warehouse.samples import LINES

FIRST = date(2024, 1, 1)
CHECKS = (
    ("contract", "contract", "warn", "'quarantined_share', h / 1000"),
    ("conservation", "conservation", "withhold", "'extracted', e"),
    ("volume", "volume", "warn", "'rows', e, 'robust_z', h / 10"),
    ("null_share__customer_id", "null_share", "withhold", "'null_share', h / 200, 'earlier_days', 28"),
    ("mean_drift__amount", "mean_drift", "warn", "'mean', 5 + h / 50, 'ratio', 1.01"),
    ("outliers__amount", "outliers", "warn", "'outliers', h, 'outlier_share', h / 500"),
    ("unique_in_table__line_id", "unique_in_table", "withhold", "'repeated_share', 0"),
    ("foreign_key__customer_id", "foreign_key", "warn", "'orphan_share', h / 400"),
    ("agreement__orders", "agreement", "warn", "'differ', h % 4, 'compared', e"),
    ("categories__country", "categories", "warn", "'population_stability_index', h / 300"),
)


def many_streams(number: int) -> list[Stream]:
    """Make streams of some sources."""
    return [
        replace(LINES, source=replace(LINES.source, name=f"source{n % 3}"), name=f"stream_{n:02}", audits=())
        for n in range(number)
    ]


def fill(connection: duckdb.DuckDBPyConnection, streams: list[Stream], days: int) -> date:
    """Write the bookkeeping of streams over days, of which some failed, and give the last day.

    Args:
        connection: A warehouse that has been opened for writing, so that its tables are there.
        streams: The streams.
        days: Days from the first.
    """
    ids = [[stream.source.name, stream.name] for stream in streams]
    connection.execute(
        "CREATE TEMP TABLE day AS SELECT *, CASE WHEN h = 0 THEN 'failed' WHEN h = 1 THEN 'withheld' "
        "WHEN h < 8 THEN 'published_with_warnings' ELSE 'published' END AS status, "
        "'run' || n AS run_id, partition + INTERVAL 26 HOUR AS attempted "
        "FROM (SELECT one[1] AS source, one[2] AS stream, "
        "n, CAST($first AS DATE) + CAST(n AS INTEGER) AS partition, "
        "CAST(hash(one[2], n) % 60 AS INTEGER) AS h, 800 + CAST(hash(n, one[2]) % 400 AS INTEGER) AS e "
        "FROM (SELECT unnest(CAST($ids AS VARCHAR[][])) AS one), range($days) AS r(n)) WHERE h <> 59",
        {"ids": ids, "first": FIRST, "days": days},
    )
    connection.execute(
        "INSERT INTO etl.partitions BY NAME SELECT source, stream, partition, status, "
        "CASE WHEN h < 8 THEN 'volume: ' || e || ' rows, 0.31 times the usual 2,604 of 8 earlier days of the week; "
        "mean_drift__amount: mean amount ' || e || ', 1.7 times the 310 of 28 earlier days' ELSE '' END AS message, "
        "CASE WHEN h = 0 THEN 'extract' END AS failure_stage, CASE WHEN h = 0 THEN 'transient' END AS failure_class, "
        "CASE WHEN h = 0 THEN 'SourceError' END AS error_type, run_id, e AS extracted, e - h AS staged, "
        "CASE WHEN h < 2 THEN 0 ELSE e - h END AS loaded_rows, h AS quarantined, h AS warned, "
        "'{\"customer_id.missing\": ' || h || '}' AS warnings, '{\"amount.parse\": ' || h || '}' AS violations, "
        "'{}' AS seconds, attempted AS updated_at, CASE WHEN h > 1 THEN attempted END AS published_at FROM day"
    )
    connection.execute(
        "INSERT INTO etl.loads BY NAME SELECT row_number() OVER (ORDER BY partition, stream) AS load_id, source, "
        "stream, partition, run_id, status AS verdict, e AS extracted, e - h AS loaded, h AS quarantined, "
        "'{\"extract\": ' || h / 10 || ', \"stage\": 0.75}' AS seconds, attempted AS loaded_at FROM day WHERE h > 1"
    )
    for name, kind, severity, numbers in CHECKS:
        connection.execute(
            "INSERT INTO etl.check_results BY NAME SELECT source, stream, partition, $name AS check_name, "
            "$kind AS kind, $severity AS severity, h > 7 OR hash(h, $name) % 4 > 0 AS passed, "
            "e || ' rows, 0.9 times the usual' AS message, "
            f"CAST(json_object({numbers}) AS VARCHAR) AS numbers, run_id, attempted AS evaluated_at FROM day",
            {"name": name, "kind": kind, "severity": severity},
        )
    connection.execute(
        "INSERT INTO etl.quarantine BY NAME SELECT source, stream, partition, n AS row_number, rule, [rule] AS rules, "
        "rule || ' is broken' AS reason, '{}' AS raw_payload, 'h' || n AS payload_hash, 1 AS occurrence, "
        "'pending' AS state, 1 AS attempts FROM (SELECT *, 'column_' || (hash(h, n) % 30) || '.parse' AS rule FROM day)"
    )
    return FIRST + timedelta(days=days - 1)
