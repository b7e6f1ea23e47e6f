"""The audit of totals against another stream.

Whichever of the two streams is loaded later finds the other one there and judges; where both declare the audit, it does
not matter which that is. What belongs here: comparing totals by key. What does not: single keys (`keys`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import duckdb

from etl_assets.quality.audits.staged_day import (
    Finding,
    StagedDay,
    day_literal,
    has_table,
    name_of,
    personal_columns,
    published_days,
    staged_rows,
    table_of,
)
from etl_assets.quality.preview import MASK, markdown_table
from etl_assets.streams.audits_of_tables import Agreement
from etl_assets.streams.base import Stream
from etl_assets.streams.write import Cdc, Merge, Snapshot

DIFFERS, LACKING_THERE, LACKING_HERE, AGREES = "differs", "lacking there", "lacking here", "agrees"
SHOWN_KEYS = 5

Sample = tuple[str, date, Any, Any]


@dataclass(slots=True)
class Comparison:
    """What became of the keys of one day.

    Attributes:
        agree: Keys whose totals agree.
        differ: Keys whose totals differ.
        lacking_there: Keys that the other stream lacks, though it should have them.
        lacking_here: Keys that this stream lacks, though it should have them.
        pending: Keys that the other stream lacks and that may still come.
        explained: Rows in quarantine, of either stream and for the judged dates.
        dates: Business dates with disagreements.
        worst: Keys with the greatest differences.
    """

    agree: int = 0
    differ: int = 0
    lacking_there: int = 0
    lacking_here: int = 0
    pending: int = 0
    explained: int = 0
    dates: set[date] = field(default_factory=set)
    worst: list[Sample] = field(default_factory=list)

    def judge(self, audit: Agreement, staged: StagedDay) -> Finding:
        """Judge the day."""
        wrong = self.differ + self.lacking_there + self.lacking_here
        compared = self.agree + wrong
        numbers: dict[str, float] = {
            "compared": compared,
            "differ": self.differ,
            "lacking_there": self.lacking_there,
            "lacking_here": self.lacking_here,
            "pending": self.pending,
            "quarantined_rows": self.explained,
        }
        if not wrong:
            waiting = f", {self.pending} not there yet" if self.pending else ""
            return Finding(
                True, f"{compared:,} totals of {audit.total} agree with {audit.stream}{waiting}", numbers
            )
        message = (
            f"{wrong:,} of {compared:,} totals of {audit.total} do not agree with {audit.stream} "
            f"({self.differ} differ, {self.lacking_there} lack there, {self.lacking_here} lack here; "
            f"business dates {_span(self.dates)})"
        )
        if wrong <= self.explained:
            return Finding(True, f"{message}, no more than the {self.explained} rows in quarantine", numbers)
        return Finding(False, message, numbers, sample=self._sample(audit, staged.stream))

    def _sample(self, audit: Agreement, stream: Stream) -> str:
        hidden = personal_columns(stream)
        rows = [
            (
                MASK if audit.key in hidden else key,
                day,
                MASK if mine is not None and audit.total in hidden else mine,
                MASK if theirs is not None and audit.total in hidden else theirs,
            )
            for key, day, mine, theirs in self.worst[:SHOWN_KEYS]
        ]
        return markdown_table((audit.key, "business date", stream.id, audit.stream), rows)


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Which days of both streams are published around the judged ones, and how many rows are in quarantine there."""

    mine: Mapping[date, int]
    theirs: Mapping[date, int]

    def they_are_complete(self, audit: Agreement, business_date: date) -> bool:
        """Whether the other stream has brought all that it can for a business date."""
        return all(day in self.theirs for day in _days(business_date, audit.stream_late_days))

    def completed_by(
        self, audit: Agreement, staged: StagedDay, group: Mapping[date, StagedDay]
    ) -> date | None:
        """Give the business date of which this day is the last to bring rows, if both streams are complete then."""
        business_date = staged.day - timedelta(days=audit.late_days)
        earlier = [day for day in _days(business_date, audit.late_days) if day != staged.day]
        here = all(day in self.mine or day in group for day in earlier)
        return business_date if here and self.they_are_complete(audit, business_date) else None

    def quarantined(self, audit: Agreement, staged: StagedDay, dates: set[date]) -> int:
        """Count rows in quarantine that may be what is missing."""
        mine = {day for one in dates for day in _days(one, audit.late_days)} - {staged.day}
        theirs = {day for one in dates for day in _days(one, audit.stream_late_days)}
        return (
            staged.counts.quarantined
            + sum(self.mine.get(day, 0) for day in mine)
            + sum(self.theirs.get(day, 0) for day in theirs)
        )


def compare(
    connection: duckdb.DuckDBPyConnection, audit: Agreement, group: Sequence[StagedDay], other: Stream
) -> dict[date, Comparison]:
    """Compare the totals of some days with the other stream's table.

    Args:
        connection: The warehouse; the stream's own table exists.
        audit: The audit.
        group: Days that are judged together, in their order.
        other: The other stream.
    """
    found = {staged.day: Comparison() for staged in group}
    if not group:
        return found
    reach = timedelta(days=max(audit.late_days, audit.stream_late_days) + 1)
    first, last = group[0].day - reach, max(staged.day for staged in group) + reach
    dates = _business_dates(group)
    if dates:
        first, last = min(first, min(dates)), max(last, max(dates) + reach)
    neighbours = _Neighbours(
        published_days(connection, group[0].stream.id, first, last),
        published_days(connection, audit.stream, first, last),
    )
    if not neighbours.theirs or not has_table(connection, audit.stream):
        for staged in group:
            found[staged.day].pending = staged.counts.staged
        return found
    by_day = {staged.day: staged for staged in group}
    completed = {staged.day: neighbours.completed_by(audit, staged, by_day) for staged in group}
    wanted = dates | {day for day in completed.values() if day is not None}
    if not wanted:
        return found
    rows = connection.execute(_statement(audit, group, other, completed, min(wanted), max(wanted))).fetchall()
    for day, state, business_date, count, worst in rows:
        _take_in(found[day], audit, neighbours, state, business_date, int(count), worst)
    for staged in group:
        comparison = found[staged.day]
        if comparison.dates:
            comparison.explained = neighbours.quarantined(audit, staged, comparison.dates)
        comparison.worst.sort(key=lambda one: (-abs(float(one[2] or 0) - float(one[3] or 0)), str(one[0])))
    return found


def _take_in(
    comparison: Comparison,
    audit: Agreement,
    neighbours: _Neighbours,
    state: str,
    business_date: date,
    count: int,
    worst: Sequence[Any],
) -> None:
    if state == AGREES:
        comparison.agree += count
        return
    if state == LACKING_THERE and not neighbours.they_are_complete(audit, business_date):
        comparison.pending += count
        return
    name = {DIFFERS: "differ", LACKING_THERE: "lacking_there", LACKING_HERE: "lacking_here"}[state]
    setattr(comparison, name, getattr(comparison, name) + count)
    comparison.dates.add(business_date)
    comparison.worst += [(one["key"], business_date, one["mine"], one["theirs"]) for one in worst]


def _business_dates(group: Sequence[StagedDay]) -> set[date]:
    """Give the first and last business dates of the staged rows."""
    bounds = [staged.statistics.business_dates for staged in group]
    return {date.fromisoformat(day) for pair in bounds if pair for day in pair}


def _statement(
    audit: Agreement,
    group: Sequence[StagedDay],
    other: Stream,
    completed: Mapping[date, date | None],
    first: date,
    last: date,
) -> str:
    stream = group[0].stream
    days = [staged for staged in group if staged.counts.staged]
    mine = _mine(audit, stream, days) if days else _NOTHING
    there = name_of(_business_date(other))
    theirs = (
        f"SELECT {name_of(audit.stream_key)} AS key, CAST({there} AS DATE) AS business_date, "
        f"sum({name_of(audit.stream_total)}) AS total FROM {table_of(other.id)} "
        f"WHERE {there} >= {day_literal(first)} AND {there} < {day_literal(last + timedelta(days=1))} "
        f"AND {name_of(audit.stream_key)} IS NOT NULL {_not_gone(other)} GROUP BY ALL"
    )
    pairs = ", ".join(
        f"({day_literal(day)}, {day_literal(date_)})" for day, date_ in completed.items() if date_
    )
    here = name_of(_business_date(stream))
    lacking = ""
    if pairs:
        known = f"SELECT _day, key FROM mine UNION ALL SELECT NULL, {name_of(audit.key)} FROM {table_of(stream.id)} "
        known += f"WHERE {here} >= {day_literal(first)} AND {here} < {day_literal(last + timedelta(days=1))}"
        if not audit.late_days:
            # A day's own rows are all that there will be of it: what the table still holds of it is replaced.
            known = "SELECT _day, key FROM mine"
        lacking = (
            f" UNION ALL SELECT c._day, t.key, t.business_date, NULL, t.total, '{LACKING_HERE}' FROM theirs AS t "
            f"JOIN (VALUES {pairs}) AS c(_day, business_date) USING (business_date) WHERE NOT EXISTS "
            f"(SELECT 1 FROM ({known}) AS k WHERE k.key = t.key AND (k._day IS NULL OR k._day <= c._day))"
        )
    return (
        f"WITH mine AS MATERIALIZED ({mine}), theirs AS MATERIALIZED ({theirs}), pairs AS ("
        "SELECT m._day, m.key, m.business_date, m.total AS mine, t.total AS theirs, "
        f"CASE WHEN t.key IS NULL THEN '{LACKING_THERE}' "
        f"WHEN abs(m.total - t.total) <= {float(audit.tolerance)!r} THEN '{AGREES}' ELSE '{DIFFERS}' END AS state "
        f"FROM mine AS m LEFT JOIN theirs AS t USING (key, business_date){lacking}) "
        "SELECT _day, state, business_date, count(*), CASE WHEN state <> 'agrees' THEN "
        "list({'key': CAST(key AS VARCHAR), 'mine': mine, 'theirs': theirs} "
        f"ORDER BY abs(coalesce(mine, 0) - coalesce(theirs, 0)) DESC, key)[:{SHOWN_KEYS}] END "
        "FROM pairs GROUP BY _day, state, business_date ORDER BY ALL"
    )


_NOTHING = (
    "SELECT CAST(NULL AS DATE) AS _day, CAST(NULL AS VARCHAR) AS key, CAST(NULL AS DATE) AS business_date, "
    "CAST(NULL AS DOUBLE) AS total WHERE false"
)


def _mine(audit: Agreement, stream: Stream, days: Sequence[StagedDay]) -> str:
    """Add up staged rows by key; of several versions of a row, the newest counts."""
    key, total = name_of(audit.key), name_of(audit.total)
    here = f"CAST({name_of(_business_date(stream))} AS DATE)"
    columns = [f"{key} AS key", f"{here} AS business_date", f"{total} AS total"]
    newest = ""
    if isinstance(stream.write, Merge | Cdc):
        version = stream.write.version if isinstance(stream.write, Merge) else stream.write.sequence
        columns += [
            *(f"{name_of(column)} AS key_{n}" for n, column in enumerate(stream.write.key_columns)),
            f"{name_of(version)} AS version",
        ]
        keys = ", ".join(f"key_{number}" for number in range(len(stream.write.key_columns)))
        newest = (
            f" QUALIFY row_number() OVER (PARTITION BY _day, {keys} ORDER BY version DESC, _row DESC) = 1"
        )
    rows = f"SELECT * FROM ({staged_rows(days, columns)}) WHERE key IS NOT NULL{newest}"
    return f"SELECT _day, key, business_date, sum(total) AS total FROM ({rows}) GROUP BY ALL"


def _not_gone(other: Stream) -> str:
    match other.write:
        case Cdc(delete="soft"):
            return "AND _deleted_at IS NULL"
        case Snapshot(removed="mark"):
            return "AND _removed_on IS NULL"
    return ""


def _business_date(stream: Stream) -> str:
    if stream.business_date is None:
        raise ValueError(f"{stream.id} has no business date")
    return stream.business_date


def _days(first: date, late: int) -> list[date]:
    return [first + timedelta(days=number) for number in range(late + 1)]


def _span(dates: set[date]) -> str:
    first, last = min(dates), max(dates)
    return first.isoformat() if first == last else f"{first} to {last}"
