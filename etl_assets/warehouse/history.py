"""What the bookkeeping knows of each day's last attempt and last load: the ground that a plan stands on.

What belongs here: reading it. What does not: what follows from it (`etl_assets.pipeline.plan`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import duckdb

from etl_assets.outcomes import Status
from etl_assets.warehouse.ledger import ROLLED_BACK
from etl_assets.warehouse.schema import table_columns

RECENT_LOADS = 30
"""Loads of a stream that say what a further one will cost."""


@dataclass(frozen=True, slots=True)
class DayHistory:
    """One day of a stream.

    Attributes:
        status: How its last attempt ended.
        message: Why it was not published.
        contract_version: Of its last load; None before the first.
        code_version: Of its last load.
        landing_version: Landed answers that its last load was made from.
        decisions: Version of the decisions on quarantined rows that its last load was made with.
    """

    status: Status
    message: str
    contract_version: str | None
    code_version: str | None
    landing_version: str | None
    decisions: str | None


@dataclass(frozen=True, slots=True)
class DayCost:
    """What a day of a stream took of late: medians over its last loads.

    Attributes:
        rows: Rows extracted.
        seconds: Seconds, from the first request to the commit.
        landed: Days, newest first, whose landed answers tell how many requests a day takes.
    """

    rows: float
    seconds: float
    landed: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class DayLoaded:
    """The last published load of a day.

    Attributes:
        extracted: Records that it was made from.
        landing_version: Landed answers that it was made from.
        began_at: When it began, in UTC.
    """

    extracted: int
    landing_version: str | None
    began_at: datetime


def history_of(
    connection: duckdb.DuckDBPyConnection, stream_id: str, days: Sequence[date]
) -> dict[date, DayHistory]:
    """Give what is known of some days of a stream; days never attempted are left out."""
    if not days or not table_columns(connection, "etl", "partitions"):
        return {}
    source, _, stream = stream_id.partition("/")
    # A warehouse that no load of this version has opened yet lacks the column.
    decisions = "l.decisions" if "decisions" in table_columns(connection, "etl", "loads") else "''"
    found = connection.execute(
        "WITH l AS (SELECT * FROM (SELECT * FROM etl.loads WHERE source = $source AND stream = $stream "
        "QUALIFY row_number() OVER (PARTITION BY partition ORDER BY load_id DESC) = 1) WHERE verdict <> $rolled_back) "
        "SELECT p.partition, p.status, p.message, l.contract_version, l.code_version, l.landing_version, "
        f"{decisions} "
        "FROM etl.partitions AS p "
        "LEFT JOIN l ON l.partition = p.partition WHERE p.source = $source AND p.stream = $stream "
        "AND p.partition BETWEEN $first AND $last",
        {
            "source": source,
            "stream": stream,
            "first": min(days),
            "last": max(days),
            "rolled_back": ROLLED_BACK,
        },
    ).fetchall()
    wanted = set(days)
    return {row[0]: DayHistory(Status(row[1]), *row[2:]) for row in found if row[0] in wanted}


def loads_of(
    connection: duckdb.DuckDBPyConnection, stream_id: str, days: Sequence[date]
) -> dict[date, DayLoaded]:
    """Give the last published load of some days of a stream; days never published are left out."""
    if not days or not table_columns(connection, "etl", "loads"):
        return {}
    source, _, stream = stream_id.partition("/")
    found = connection.execute(
        "SELECT partition, extracted, landing_version, loaded_at, seconds_total FROM etl.loads "
        "WHERE source = $source AND stream = $stream AND partition BETWEEN $first AND $last "
        "QUALIFY row_number() OVER (PARTITION BY partition ORDER BY load_id DESC) = 1",
        {"source": source, "stream": stream, "first": min(days), "last": max(days)},
    ).fetchall()
    wanted = set(days)
    return {
        day: DayLoaded(extracted, version, loaded_at.replace(tzinfo=UTC) - timedelta(seconds=seconds))
        for day, extracted, version, loaded_at, seconds in found
        if day in wanted
    }


def cost_of(connection: duckdb.DuckDBPyConnection, stream_id: str) -> DayCost | None:
    """Tell what a day of a stream took of late; None before its first load."""
    if not table_columns(connection, "etl", "loads"):
        return None
    source, _, stream = stream_id.partition("/")
    rows, seconds, landed = connection.execute(
        "SELECT median(extracted), median(seconds_total), list(partition ORDER BY load_id DESC) FROM "
        "(SELECT * FROM etl.loads WHERE source = $source AND stream = $stream AND verdict <> $rolled_back "
        "ORDER BY load_id DESC LIMIT $recent)",
        {"source": source, "stream": stream, "recent": RECENT_LOADS, "rolled_back": ROLLED_BACK},
    ).fetchone() or (None, None, None)
    return None if rows is None else DayCost(float(rows), float(seconds), tuple(dict.fromkeys(landed)))
