"""Audits of keys against tables: values that occur once, values that exist elsewhere.

Days that are committed together are looked up together: one statement an audit and group. What belongs here: looking up
staged keys. What does not: totals (`agreement`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import duckdb

from etl_assets.quality.audits.staged_day import (
    Finding,
    StagedDay,
    has_table,
    name_of,
    personal_columns,
    published_days,
    staged_rows,
    table_of,
)
from etl_assets.quality.preview import MASK, markdown_table
from etl_assets.streams.audits_of_tables import ForeignKey, UniqueInTable
from etl_assets.streams.base import Stream
from etl_assets.streams.children import CHILDREN_COLUMN
from etl_assets.streams.write import Cdc, Merge, Snapshot

SHOWN_VALUES = 5


@dataclass(slots=True)
class Repeats:
    """Rows of one day whose values occur elsewhere, by where: None for the table, a day for one of the same group.

    Attributes:
        rows: How many.
        positions: Of a few of them.
    """

    rows: dict[date | None, int] = field(default_factory=dict)
    positions: dict[date | None, list[int]] = field(default_factory=dict)

    def judge(self, audit: UniqueInTable, staged: StagedDay, published: Collection[date]) -> Finding:
        """Count what is in the table, or will be before this day is."""
        repeated = sum(count for origin, count in self.rows.items() if origin is None or origin in published)
        share = repeated / staged.counts.staged if staged.counts.staged else 0.0
        columns = ", ".join(audit.columns)
        message = (
            f"{repeated:,} of {staged.counts.staged:,} rows have a {columns} that the table has already"
            if repeated
            else f"no {columns} occurs elsewhere in the table"
        )
        return Finding(
            share <= audit.maximum_share,
            message,
            {"repeated_rows": repeated, "repeated_share": round(share, 6)},
            worst=f"_row IN ({', '.join(map(str, self._shown(published)))}) ORDER BY _row"
            if repeated
            else "",
        )

    def _shown(self, published: Collection[date]) -> list[int]:
        counted = [rows for origin, rows in self.positions.items() if origin is None or origin in published]
        return sorted({position for rows in counted for position in rows})


def find_repeats(
    connection: duckdb.DuckDBPyConnection, audit: UniqueInTable, group: Sequence[StagedDay]
) -> dict[date, Repeats]:
    """Find staged rows whose values occur in the table or in an earlier day of the group, other versions left out."""
    found = {staged.day: Repeats() for staged in group}
    days = [staged for staged in group if staged.counts.staged]
    if not days:
        return found
    stream = days[0].stream
    columns = [name_of(column) for column in audit.columns]
    keyed = _key_of(stream)
    own_day = (
        f"CAST({name_of(stream.window_column)} AS DATE) AS _own" if stream.window_column else "NULL AS _own"
    )
    picked = dict.fromkeys([*columns, *map(name_of, keyed)])
    rows = staged_rows(days, [*picked, own_day])
    same = " AND ".join(f"o.{column} = s.{column}" for column in columns)
    if keyed:
        elsewhere = f"({', '.join(f's.{name_of(key)}' for key in keyed)}) IS DISTINCT FROM " + (
            f"({', '.join(f'o.{name_of(key)}' for key in keyed)})"
        )
        among, within = elsewhere, elsewhere
    else:
        among = "o._partition <> coalesce(s._own, s._day)"
        within = "coalesce(o._own, o._day) <> coalesce(s._own, s._day)"
    counted = f"count(DISTINCT s._row), (list(DISTINCT s._row ORDER BY s._row))[:{SHOWN_VALUES}]"
    parts = [
        f"SELECT s._day, CAST(NULL AS DATE) AS origin, {counted} FROM {table_of(stream.id)} AS o "
        f"JOIN staged AS s ON {same} AND {among} {_present(stream)} GROUP BY 1"
    ]
    if len(days) > 1:
        parts.append(
            f"SELECT s._day, o._day AS origin, {counted} FROM staged AS o "
            f"JOIN staged AS s ON {same} AND o._day < s._day AND {within} GROUP BY 1, 2"
        )
    sql = f"WITH staged AS MATERIALIZED ({rows}) {' UNION ALL '.join(parts)}"
    for day, origin, count, positions in connection.execute(sql).fetchall():
        found[day].rows[origin] = int(count)
        found[day].positions[origin] = list(positions)
    return found


def _key_of(stream: Stream) -> tuple[str, ...]:
    return stream.write.key_columns if isinstance(stream.write, Merge | Cdc | Snapshot) else ()


def _present(stream: Stream) -> str:
    """Leave out rows that are kept though they are gone."""
    match stream.write:
        case Snapshot(removed="mark"):
            return "AND o._removed_on IS NULL"
        case Cdc(delete="soft"):
            return "AND o._deleted_at IS NULL"
    return ""


@dataclass(slots=True)
class Orphans:
    """Rows of one day whose value does not exist in the other table, and the most frequent such values.

    Attributes:
        rows: How many.
        of: Of how many.
        values: The most frequent values, each with its number of rows.
        complete: Whether the other table owes nothing any more.
    """

    rows: int = 0
    of: int = 0
    values: list[tuple[str, int]] = field(default_factory=list)
    complete: bool = False

    def judge(self, audit: ForeignKey, staged: StagedDay) -> Finding:
        """Judge them, unless they may still come."""
        share = self.rows / self.of if self.of else 0.0
        numbers: dict[str, float] = {
            "orphan_rows": self.rows,
            "pending_rows": 0 if self.complete else self.of,
            "orphan_share": round(share, 6),
        }
        there = f"{audit.references}.{audit.key}"
        if not self.complete:
            return Finding(True, f"{audit.references} may still bring what is missing", numbers)
        if not self.rows:
            return Finding(True, f"every {audit.column} exists in {there}", numbers)
        rows = f"rows of {audit.child}" if audit.child else "rows"
        said = f"{self.rows:,} of {self.of:,} {rows} ({share:.1%}) have a {audit.column} that {there} lacks"
        masked = audit.column in personal_columns(staged.stream, audit.child)
        shown = [(MASK if masked else value, count) for value, count in self.values]
        return Finding(
            share <= audit.maximum_share,
            said,
            numbers,
            sample=markdown_table((audit.column, "rows"), shown),
        )


def find_orphans(
    connection: duckdb.DuckDBPyConnection, audit: ForeignKey, group: Sequence[StagedDay], other: Stream | None
) -> dict[date, Orphans]:
    """Find staged values that the other table does not have.

    Args:
        connection: The warehouse.
        audit: The audit.
        group: Days that are judged together.
        other: The other stream, where it is known.
    """
    found = {staged.day: Orphans(of=staged.counts.staged) for staged in group}
    days = [staged for staged in group if staged.counts.staged]
    if not days:
        return found
    if audit.child is not None:
        _count_child_rows(connection, audit, days, found)
    complete = _complete_days(connection, audit, days, other)
    days = [staged for staged in days if staged.day in complete]
    if not days or not has_table(connection, audit.references):
        return found
    values = f"SELECT _day, value, count(*) AS n FROM ({_referring(audit, days)}) WHERE value IS NOT NULL GROUP BY ALL"
    sql = (
        f"WITH v AS MATERIALIZED ({values}) SELECT _day, sum(n), "
        f"list((CAST(value AS VARCHAR), n) ORDER BY n DESC, value)[:{SHOWN_VALUES}] "
        f"FROM v {_not_there(audit, days)} GROUP BY 1"
    )
    for day, rows, worst in connection.execute(sql).fetchall():
        pairs = [tuple(pair.values()) if isinstance(pair, dict) else tuple(pair) for pair in worst]
        found[day].rows = int(rows)
        found[day].values = [(str(value), int(count)) for value, count in pairs]
    for day, orphans in found.items():
        orphans.complete = day in complete
    return found


def _referring(audit: ForeignKey, days: Sequence[StagedDay]) -> str:
    """Give the values that refer to another table, a row each, with their day; as text where a list has them."""
    if audit.child is None:
        return staged_rows(days, [f"{name_of(audit.column)} AS value"])
    structure = json.dumps({audit.child: [{audit.column: "VARCHAR"}]})
    lists = f"from_json({name_of(CHILDREN_COLUMN)}, '{structure}').{name_of(audit.child)}"
    listed = staged_rows(days, [f"unnest({lists}) AS listed"])
    return f"SELECT _day, listed.{name_of(audit.column)} AS value FROM ({listed})"


def _not_there(audit: ForeignKey, days: Sequence[StagedDay]) -> str:
    """Leave out, as SQL, the values that are known; of its own stream also those that come with the day, or before."""
    stream = days[0].stream
    key = name_of(audit.key) if audit.child is None else f"CAST({name_of(audit.key)} AS VARCHAR)"
    own = audit.references == stream.id
    there = f"WHERE true {_present(stream)}" if own else ""
    known = f"SELECT DISTINCT {key} AS value FROM {table_of(audit.references)} AS o {there}"
    left_out = f"ANTI JOIN ({known}) AS k USING (value)"
    if own:
        coming = staged_rows([one for one in days if one.publishable] or days, [f"{key} AS value"])
        left_out += f" ANTI JOIN ({coming}) AS c ON c.value = v.value AND c._day <= v._day"
    return left_out


def _count_child_rows(
    connection: duckdb.DuckDBPyConnection,
    audit: ForeignKey,
    days: Sequence[StagedDay],
    found: Mapping[date, Orphans],
) -> None:
    for staged in days:
        found[staged.day].of = 0
    sql = f"SELECT _day, count(*) FROM ({_referring(audit, days)}) GROUP BY 1"
    for day, rows in connection.execute(sql).fetchall():
        found[day].of = int(rows)


def _complete_days(
    connection: duckdb.DuckDBPyConnection, audit: ForeignKey, group: Sequence[StagedDay], other: Stream | None
) -> set[date]:
    """Give the days after which the other stream owes nothing any more.

    A snapshot shows all there is, so that a single later one will do; of anything else, each day brings its own.
    """
    days, grace = [staged.day for staged in group], timedelta(days=audit.grace_days)
    whole = other is not None and isinstance(other.write, Snapshot)
    last = date.max if whole else max(days) + grace
    there = set(published_days(connection, audit.references, min(days), last))
    if audit.references == group[0].stream.id:
        there.update(days)
    if whole:
        newest = max(there, default=date.min)
        return {day for day in days if newest >= day + grace}
    return {
        day
        for day in days
        if all(day + timedelta(days=number) in there for number in range(audit.grace_days + 1))
    }
