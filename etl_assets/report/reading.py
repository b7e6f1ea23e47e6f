"""Reading what a report tells: a few statements over the bookkeeping, in one session.

A session holds the warehouse alone, so that what the statements say belongs together, and loads wait meanwhile: nothing
is computed here that can wait until the warehouse is closed. What belongs here: the statements. What does not: what
follows from them (`facts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

import etl_assets
from etl_assets.alerts.scrub import first_line, secrets_in
from etl_assets.failures import ConfigurationError
from etl_assets.landing.store import Landing
from etl_assets.marts.catalogue import Mart
from etl_assets.pipeline.present import can_be_had
from etl_assets.quality.rules import compile_contract
from etl_assets.report.checks import checks_of, failed_checks_of
from etl_assets.report.facts import (
    Day,
    DayStatus,
    Facts,
    MartFacts,
    ReasonCount,
    StageTime,
    StreamFacts,
)
from etl_assets.report.tables import is_there
from etl_assets.settings import Settings
from etl_assets.streams.base import Contract, Stream
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.failed_items import pending_items
from etl_assets.warehouse.ledger import ROLLED_BACK
from etl_assets.warehouse.quarantine import State
from etl_assets.warehouse.quarantined import pending_rows
from etl_assets.warehouse.schema_changes import changes_of, standing_changes
from etl_assets.warehouse.set_aside import RULE as SET_ASIDE
from etl_assets.warehouse.status import first_partition, open_gaps, stream_status

DEFAULT_DAYS = 731
"""Days of a report whose first day was not named, at most: two years."""
LISTED_REASONS = 200
LISTED_CHANGES = 200
STAGES = ("extract", "stage", "commit")

Clean = Callable[[str | None], str]


@dataclass(frozen=True, slots=True)
class Period:
    """The days of a report, both ends included; an end that was not named follows from what there is."""

    first: date | None = None
    last: date | None = None


def read_facts(
    settings: Settings,
    warehouse: Warehouse,
    streams: Sequence[Stream],
    marts: Sequence[Mart],
    period: Period,
    now: datetime | None = None,
) -> Facts:
    """Read everything that a report tells.

    Args:
        settings: Where everything else is.
        warehouse: The warehouse.
        streams: The streams that it tells of.
        marts: All marts; those that read none of the streams are left out.
        period: The days.
        now: The time, with a zone; the present by default.

    Raises:
        ConfigurationError: If the period ends before it begins.
        WarehouseError: If there is no warehouse yet, or it cannot be read.
    """
    now = now or datetime.now(UTC)
    secrets = secrets_in(settings.environment)

    def clean(text: str | None) -> str:
        return first_line(text or "", secrets)

    def clean_of_checks(text: str | None) -> str:
        # As in alerts: what checks say loses what stands in quotes, which may be a value.
        return first_line(text or "", secrets, foreign=True)

    with warehouse.read("etl-assets report") as connection:
        first, last = _ends(connection, period, settings.start_date, now)
        found = _read(connection, streams, marts, first, last, clean, clean_of_checks)
    landing = Landing(settings.landing_dir)
    return replace(
        found,
        made_at=now,
        ui_url=settings.ui_url,
        version=etl_assets.__version__,
        streams=tuple(_with_every_day(one, landing, first, last, now) for one in found.streams),
    )


def _ends(
    connection: duckdb.DuckDBPyConnection, period: Period, start_date: date, now: datetime
) -> tuple[date, date]:
    """Fill in ends that were not named, as `etl-assets status` does: the first partition, and the newest full day."""
    start = min(first_partition(connection) or start_date, start_date)
    last = period.last or max(start, now.date() - timedelta(days=1))
    first = period.first or max(start, last - timedelta(days=DEFAULT_DAYS - 1))
    if first > last:
        raise ConfigurationError(f"--from {first} is after --to {last}", hint="name an earlier first day")
    return first, last


def _read(
    connection: duckdb.DuckDBPyConnection,
    streams: Sequence[Stream],
    marts: Sequence[Mart],
    first: date,
    last: date,
    clean: Clean,
    clean_of_checks: Clean,
) -> Facts:
    ids = [stream.id for stream in streams]
    bounds: dict[str, Any] = {"ids": ids, "first": first, "last": last}
    states = {status.stream: status for status in stream_status(connection, ids, [])}
    days = _days(connection, bounds, clean)
    checks = checks_of(connection, bounds, clean_of_checks)
    failed, failed_left_out = failed_checks_of(connection, bounds, clean_of_checks)
    pending, items = pending_rows(connection, ids), pending_items(connection, ids)
    gaps = open_gaps(connection, ids)
    reasons = _reasons(connection, bounds, streams)
    changes = [one for one in changes_of(connection, ids) if first <= one.partition <= last]
    return Facts(
        first=first,
        last=last,
        made_at=datetime.min.replace(tzinfo=UTC),
        streams=tuple(
            StreamFacts(
                stream=stream,
                status=states[stream.id],
                days=tuple(days.get(stream.id, ())),
                checks=tuple(checks.get(stream.id, ())),
                failed_checks=tuple(failed.get(stream.id, ())),
                pending=pending.get(stream.id, 0),
                failed_items=items.get(stream.id, 0),
                gaps=tuple(gap for gap in gaps if gap.stream == stream.id),
            )
            for stream in sorted(streams, key=lambda one: one.id)
        ),
        marts=tuple(_marts(connection, [mart for mart in marts if set(mart.reads) & set(ids)])),
        reasons=tuple(reasons[:LISTED_REASONS]),
        stages=tuple(_stages(connection, bounds)),
        changes=tuple(reversed(changes[-LISTED_CHANGES:])),
        standing=tuple(standing_changes(connection, ids)),
        left_out={
            "reasons": max(len(reasons) - LISTED_REASONS, 0),
            "changes": max(len(changes) - LISTED_CHANGES, 0),
            **{f"failed checks of {stream}": number for stream, number in failed_left_out.items()},
        },
    )


def _days(
    connection: duckdb.DuckDBPyConnection, bounds: Mapping[str, Any], clean: Clean
) -> dict[str, list[Day]]:
    """Give the last outcome of every day that was attempted, by stream and day."""
    if not is_there(connection, "partitions"):
        return {}
    found = connection.execute(
        "SELECT source || '/' || stream AS id, partition, status, coalesce(extracted, 0), coalesce(loaded_rows, 0), "
        "coalesce(quarantined, 0), message, coalesce(failure_stage, ''), coalesce(failure_class, ''), "
        "published_at IS NOT NULL, updated_at FROM etl.partitions "
        "WHERE partition BETWEEN $first AND $last AND list_contains(CAST($ids AS VARCHAR[]), id) "
        "ORDER BY id, partition",
        dict(bounds),
    ).fetchall()
    days: dict[str, list[Day]] = {}
    for stream, day, status, extracted, loaded, quarantined, message, stage, failure, published, at in found:
        kind = DayStatus(status)
        days.setdefault(stream, []).append(
            Day(
                day=day,
                status=kind,
                extracted=extracted,
                loaded_rows=loaded,
                quarantined=quarantined,
                message=clean(message),
                stage=stage,
                failure_class=failure,
                shows_earlier=published and not kind.is_published,
                updated_at=at,
            )
        )
    return days


def _with_every_day(
    found: StreamFacts, landing: Landing, first: date, last: date, now: datetime
) -> StreamFacts:
    """Add the days that were never attempted, and tell those that can still be had from the others."""
    known = {day.day: day for day in found.days}

    def missing(day: date) -> Day:
        possible = can_be_had(found.stream, day, landing, now)
        return Day(day, DayStatus.MISSING if possible else DayStatus.LOST)

    every = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return replace(found, days=tuple(known.get(day) or missing(day) for day in every))


def _reasons(
    connection: duckdb.DuckDBPyConnection, bounds: Mapping[str, Any], streams: Sequence[Stream]
) -> list[ReasonCount]:
    """Count rows by the rule that they broke, the most frequent rules first; no value of a row is read."""
    found: list[ReasonCount] = []
    if is_there(connection, "quarantine"):
        rows = connection.execute(
            "WITH bad AS (SELECT source || '/' || stream AS id, partition, state, rules, string_split(reason, '; ') "
            "AS said FROM etl.quarantine WHERE partition BETWEEN $first AND $last AND rule <> $set_aside "
            "AND list_contains(CAST($ids AS VARCHAR[]), id)), broken AS (SELECT id, partition, state, "
            "unnest(rules) AS broken_rule, unnest(CASE WHEN len(said) = len(rules) THEN said END) AS said FROM bad) "
            "SELECT id, broken_rule, coalesce(any_value(said), ''), count(*), count(*) FILTER (state = $pending), "
            "count(DISTINCT partition), max(partition) FROM broken GROUP BY 1, 2",
            {**bounds, "set_aside": SET_ASIDE, "pending": State.PENDING.value},
        ).fetchall()
        found += [
            ReasonCount(stream, rule, reason, True, *counted) for stream, rule, reason, *counted in rows
        ]
    if is_there(connection, "partitions"):
        rows = connection.execute(
            "SELECT source || '/' || stream, warned.key, CAST(sum(CAST(warned.value AS BIGINT)) AS BIGINT), count(*), "
            "max(partition) FROM etl.partitions, json_each(coalesce(warnings, '{}')) AS warned WHERE partition BETWEEN "
            "$first AND $last AND list_contains(CAST($ids AS VARCHAR[]), source || '/' || stream) GROUP BY 1, 2",
            dict(bounds),
        ).fetchall()
        found += [
            ReasonCount(stream, rule, "", False, n, 0, days, last) for stream, rule, n, days, last in rows
        ]
    declared = {stream.id: _words(stream) for stream in streams}
    found = [
        one if one.reason else replace(one, reason=declared[one.stream].get(one.rule, "")) for one in found
    ]
    return sorted(found, key=lambda one: (not one.quarantines, -one.rows, one.stream, one.rule))


def _words(stream: Stream) -> dict[str, str]:
    """Put the rules of a stream into words, for rows that were loaded with a warning."""
    words = _words_of(stream.contract)
    for child in stream.children:
        words |= {f"{child.name}.{rule}": reason for rule, reason in _words_of(child.contract).items()}
    return words


def _words_of(of: type[Contract]) -> dict[str, str]:
    contract = compile_contract(of)
    words = {f"{column.name}.missing": f"{column.name} is missing" for column in contract.columns}
    checks = (rule for column in contract.columns for rule in column.checks)
    return words | {rule.name: rule.reason for rule in (*contract.row_rules, *checks)}


def _stages(connection: duckdb.DuckDBPyConnection, bounds: Mapping[str, Any]) -> list[StageTime]:
    """Tell how long the last loads of days took, the slowest stages first."""
    if not is_there(connection, "loads"):
        return []
    each = " UNION ALL ".join(
        f"SELECT id, partition, '{stage}' AS stage, TRY_CAST(seconds->>'$.{stage}' AS DOUBLE) AS taken FROM counting"
        for stage in STAGES
    )
    found = connection.execute(
        "WITH counting AS (SELECT * FROM (SELECT source || '/' || stream AS id, partition, verdict, seconds "
        "FROM etl.loads WHERE partition BETWEEN $first AND $last AND list_contains(CAST($ids AS VARCHAR[]), id) "
        "QUALIFY row_number() OVER (PARTITION BY source, stream, partition ORDER BY load_id DESC) = 1) "
        f"WHERE verdict <> $rolled_back) SELECT id, stage, count(*), sum(taken), median(taken), max(taken), "
        f"arg_max(partition, taken) FROM ({each}) WHERE taken IS NOT NULL GROUP BY 1, 2 ORDER BY 4 DESC, 1, 2",
        {**bounds, "rolled_back": ROLLED_BACK},
    ).fetchall()
    return [StageTime(*row) for row in found]


def _marts(connection: duckdb.DuckDBPyConnection, marts: Sequence[Mart]) -> Iterable[MartFacts]:
    builds: dict[str, tuple[int, datetime]] = {}
    if is_there(connection, "mart_builds"):
        found = connection.execute(
            "SELECT mart, arg_max(rows, built_at), max(built_at) FROM etl.mart_builds GROUP BY mart"
        ).fetchall()
        builds = {mart: (rows, built_at) for mart, rows, built_at in found}
    columns: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = 'marts' "
        "ORDER BY table_name, column_index"
    ).fetchall():
        columns.setdefault(table, []).append((column, kind))
    for mart in marts:
        rows, built_at = builds.get(mart.name, (None, None))
        yield MartFacts(mart, tuple(columns.get(mart.name, ())), rows, built_at)
