"""How the data of one day is: the summary of its partitions, checks and quarantine, against the days before.

What belongs here: reading the bookkeeping and putting it into words. What does not: evaluating checks
(`etl_assets.quality`) and sending the words to anyone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import duckdb

from etl_assets.outcomes import CheckResult, Status
from etl_assets.streams.audits_of_tables import Freshness
from etl_assets.streams.base import Stream
from etl_assets.warehouse.schema import table_columns

DAYS_BEFORE = 7
SHOWN_RULES = 3


@dataclass(frozen=True, slots=True)
class TableQuality:
    """One stream's day.

    Attributes:
        stream: Stream id.
        status: Status of the last attempt; None when there was none.
        message: Why it was withheld or failed, or what it was published with.
        extracted: Rows that came.
        quarantined: Rows that were quarantined.
        rules: Quarantined rows by rule.
        checks: Checks whose result is known.
        failed: Message of each check that failed, by name.
        usual_extracted: Mean of the days before; None when none of them was loaded.
        usual_quarantined: The same of quarantined rows.
    """

    stream: str
    status: Status | None
    message: str = ""
    extracted: int = 0
    quarantined: int = 0
    rules: Mapping[str, int] = field(default_factory=dict)
    checks: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    usual_extracted: float | None = None
    usual_quarantined: float | None = None

    @property
    def has_issues(self) -> bool:
        """Whether someone should look: it is not there, or it is and something was found."""
        return self.status is not Status.PUBLISHED or bool(self.failed)


@dataclass(frozen=True, slots=True)
class DataQuality:
    """One day of all streams.

    Attributes:
        day: The day.
        tables: The streams, those with issues first.
        failed_before: Checks that failed a day, in the mean of the days before.
    """

    day: date
    tables: tuple[TableQuality, ...]
    failed_before: float

    @property
    def numbers(self) -> dict[str, int]:
        """The totals."""
        return {
            "tables": len(self.tables),
            "tables_with_issues": sum(table.has_issues for table in self.tables),
            "checks": sum(table.checks for table in self.tables),
            "checks_failed": sum(len(table.failed) for table in self.tables),
            "rows": sum(table.extracted for table in self.tables),
            "rows_quarantined": sum(table.quarantined for table in self.tables),
            "withheld": sum(table.status is Status.WITHHELD for table in self.tables),
        }

    @property
    def text(self) -> str:
        """The summary in words: a line of totals, and one or more for each table with issues or quarantined rows."""
        totals = self.numbers
        lines = [
            f"data quality of {self.day}: {totals['tables_with_issues']} of {totals['tables']} tables with issues, "
            f"{totals['checks']} checks, {totals['checks_failed']} failed (usually {self.failed_before:.1f}), "
            f"{totals['rows_quarantined']:,} of {totals['rows']:,} rows quarantined, {totals['withheld']} withheld"
        ]
        for table in self.tables:
            lines += _lines(table)
        return "\n".join(lines)


def _lines(table: TableQuality) -> list[str]:
    if not table.has_issues and not table.quarantined:
        return []
    status = table.status.value.replace("_", " ") if table.status else "not loaded"
    line = f"- {table.stream}: {status}, {table.extracted:,} rows{_usual(table.usual_extracted)}"
    if table.quarantined or table.usual_quarantined:
        line += f", {table.quarantined:,} quarantined{_usual(table.usual_quarantined)}"
    if table.rules:
        ranked = sorted(table.rules.items(), key=lambda item: (-item[1], item[0]))
        line += ": " + ", ".join(f"{rule} {count}" for rule, count in ranked[:SHOWN_RULES])
    lines = [line]
    lines += [f"  {name}: {message}" for name, message in table.failed.items()]
    if table.message and not table.failed:
        lines.append(f"  {table.message}")
    return lines


def _usual(mean: float | None) -> str:
    return "" if mean is None else f" (usually {mean:,.0f})"


def data_quality_of(
    connection: duckdb.DuckDBPyConnection, streams: Sequence[Stream], day: date
) -> DataQuality:
    """Read the summary of a day.

    Args:
        connection: The warehouse.
        streams: The streams that should be there.
        day: The day.
    """
    if not table_columns(connection, "etl", "check_results"):
        return DataQuality(day, tuple(TableQuality(stream.id, None) for stream in streams), 0.0)
    checks = _checks(connection, day)
    attempts = _attempts(connection, day)
    tables = []
    for stream in streams:
        results = checks.get(stream.id, {})
        failed = {name: message for name, (passed, message) in results.items() if not passed}
        tables.append(_table(stream.id, attempts.get(stream.id, {}), day, len(results), failed))
    tables.sort(key=lambda table: (not table.has_issues, table.stream))
    known = {stream.id for stream in streams}
    return DataQuality(day, tuple(tables), _failed_before(connection, day, known))


Attempt = tuple[str, str, int, int, str]


def _table(
    stream_id: str, attempts: Mapping[date, Attempt], day: date, checks: int, failed: Mapping[str, str]
) -> TableQuality:
    before = [attempt for one, attempt in attempts.items() if one != day]
    usual_extracted = sum(attempt[2] for attempt in before) / len(before) if before else None
    usual_quarantined = sum(attempt[3] for attempt in before) / len(before) if before else None
    if day not in attempts:
        return TableQuality(
            stream_id, None, usual_extracted=usual_extracted, usual_quarantined=usual_quarantined
        )
    status, message, extracted, quarantined, rules = attempts[day]
    return TableQuality(
        stream=stream_id,
        status=Status(status),
        message=message,
        extracted=extracted,
        quarantined=quarantined,
        rules=json.loads(rules),
        checks=checks,
        failed=failed,
        usual_extracted=usual_extracted,
        usual_quarantined=usual_quarantined,
    )


def _attempts(connection: duckdb.DuckDBPyConnection, day: date) -> dict[str, dict[date, Attempt]]:
    found = connection.execute(
        "SELECT source || '/' || stream, partition, status, coalesce(message, ''), coalesce(extracted, 0), "
        "coalesce(quarantined, 0), coalesce(violations, '{}') FROM etl.partitions WHERE partition BETWEEN ? AND ?",
        [day - timedelta(days=DAYS_BEFORE), day],
    ).fetchall()
    attempts: dict[str, dict[date, Attempt]] = {}
    for stream, partition, *attempt in found:
        status, message, extracted, quarantined, rules = attempt
        attempts.setdefault(stream, {})[partition] = (status, message, extracted, quarantined, rules)
    return attempts


_LATEST = (
    "SELECT * FROM etl.check_results WHERE partition BETWEEN ? AND ? QUALIFY row_number() OVER "
    "(PARTITION BY source, stream, partition, check_name ORDER BY evaluated_at DESC) = 1"
)


def _checks(connection: duckdb.DuckDBPyConnection, day: date) -> dict[str, dict[str, tuple[bool, str]]]:
    """Give the latest result of each check of a day, by stream and check."""
    found = connection.execute(
        f"SELECT source || '/' || stream, check_name, passed, message FROM ({_LATEST}) ORDER BY ALL",
        [day, day],
    ).fetchall()
    checks: dict[str, dict[str, tuple[bool, str]]] = {}
    for stream, name, passed, message in found:
        checks.setdefault(stream, {})[name] = (passed, message)
    return checks


def _failed_before(connection: duckdb.DuckDBPyConnection, day: date, streams: set[str]) -> float:
    found = connection.execute(
        f"SELECT source || '/' || stream, count(*) FILTER (NOT passed) FROM ({_LATEST}) GROUP BY 1",
        [day - timedelta(days=DAYS_BEFORE), day - timedelta(days=1)],
    ).fetchall()
    return sum(int(failed) for stream, failed in found if stream in streams) / DAYS_BEFORE


def expected_day(audit: Freshness, now: datetime) -> date:
    """Give the newest day that should be published by now.

    Args:
        audit: How long a day may take after its end.
        now: Aware.
    """
    return (now - audit.within).date() - timedelta(days=1)


def freshness(
    connection: duckdb.DuckDBPyConnection, stream: Stream, audit: Freshness, now: datetime, start: date
) -> CheckResult:
    """Tell whether the day that should be there is there.

    Args:
        connection: The warehouse.
        stream: The stream.
        audit: Its declaration.
        now: Aware.
        start: First partition.
    """
    day = expected_day(audit, now)
    found = None
    if table_columns(connection, "etl", "partitions"):
        found = connection.execute(
            "SELECT bool_or(partition = $day), max(partition) FILTER (partition <= $day) FROM etl.partitions "
            "WHERE source = $source AND stream = $stream AND published_at IS NOT NULL",
            {"day": day, "source": stream.source.name, "stream": stream.name},
        ).fetchone()
    there, newest = found or (None, None)
    behind = 0 if there else (day - max(newest or date.min, start - timedelta(days=1))).days
    passed = bool(there) or day < start
    if passed:
        message = f"{day} is published" if there else "no day is expected yet"
    else:
        message = (
            f"{day} should be published by now; the newest published day before it is {newest or 'none'}"
        )
    numbers: dict[str, float] = {"days_behind": max(behind, 0)}
    return CheckResult(audit.check_name, audit.kind, passed, False, message, numbers)
