"""Looking at the quarantine: which rows there are, where they are in their life, and what became of them.

What belongs here: choosing rows and reading them. What does not: changing anything (`quarantine_moves`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb

from etl_assets.warehouse.decisions import ROW_KEY
from etl_assets.warehouse.quarantine import State
from etl_assets.warehouse.schema import table_columns

ID_DIGITS = 12
ROW_ID = (
    "substr(sha256(concat_ws('/', source, stream, CAST(partition AS VARCHAR), payload_hash, "
    f"CAST(occurrence AS VARCHAR))), 1, {ID_DIGITS})"
)
"""What people call a row by, as SQL over a table that has its key: the same for as long as the row is the same."""

_ROW_COLUMNS = (
    f"{ROW_ID}, source || '/' || stream, partition, payload_hash, occurrence, row_number, landing_version, rules, "
    "reason, raw_payload, state, attempts, first_seen, last_seen"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rows of the quarantine are meant; all conditions must hold.

    Attributes:
        streams: Stream ids.
        first: First partition.
        last: Last partition.
        rules: Rules of which a row breaks at least one; any where none is named.
        rows: Ids of rows; any where none is named.
        states: States; any where none is named.
    """

    streams: tuple[str, ...]
    first: date = date.min
    last: date = date.max
    rules: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    states: tuple[State, ...] = (State.PENDING,)

    @property
    def condition(self) -> str:
        """The condition on `etl.quarantine`, as SQL."""
        parts = [
            "list_contains(CAST($streams AS VARCHAR[]), source || '/' || stream)",
            "partition BETWEEN CAST($first AS DATE) AND CAST($last AS DATE)",
        ]
        if self.rules:
            parts.append("list_has_any(rules, CAST($rules AS VARCHAR[]))")
        if self.rows:
            parts.append(f"list_contains(CAST($rows AS VARCHAR[]), {ROW_ID})")
        if self.states:
            parts.append("list_contains(CAST($states AS VARCHAR[]), state)")
        return " AND ".join(parts)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the condition."""
        found: dict[str, Any] = {"streams": list(self.streams), "first": self.first, "last": self.last}
        lists = (
            ("rules", self.rules),
            ("rows", self.rows),
            ("states", [state.value for state in self.states]),
        )
        return found | {name: list(values) for name, values in lists if values}


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row of `etl.quarantine`; times are naive UTC. `payload` is missing where it was purged."""

    id: str
    stream: str
    partition: date
    payload_hash: str
    occurrence: int
    row_number: int
    landing_version: str | None
    rules: list[str]
    reason: str
    payload: str | None
    state: str
    attempts: int
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class RuleCount:
    """Rows of a stream that break a rule; `example` is the id of the one that was seen last."""

    stream: str
    rule: str
    state: str
    first: date
    last: date
    days: int
    rows: int
    attempts: int
    example: str
    reason: str


@dataclass(frozen=True, slots=True)
class Move:
    """A change of a row's state; times are naive UTC."""

    from_state: str | None
    to_state: str
    action: str
    moved_by: str
    reason: str
    run_id: str | None
    moved_at: datetime


def rows_of(
    connection: duckdb.DuckDBPyConnection, choice: Choice, limit: int | None = None
) -> list[QuarantinedRow]:
    """Give the chosen rows, by stream, partition and position."""
    if not _is_there(connection):
        return []
    found = connection.execute(
        f"SELECT {_ROW_COLUMNS} FROM etl.quarantine WHERE {choice.condition} "
        "ORDER BY source, stream, partition, row_number, payload_hash, occurrence"
        + ("" if limit is None else f" LIMIT {int(limit)}"),
        choice.parameters,
    ).fetchall()
    return [QuarantinedRow(*row) for row in found]


def count_by_rule(
    connection: duckdb.DuckDBPyConnection, choice: Choice, *, by_day: bool = False
) -> list[RuleCount]:
    """Count the chosen rows by stream, rule and state; a row that breaks two rules counts for both.

    Args:
        connection: The warehouse.
        choice: The rows.
        by_day: Count each day by itself.
    """
    if not _is_there(connection):
        return []
    day = ", partition" if by_day else ""
    found = connection.execute(
        f"WITH broken AS (SELECT *, unnest(rules) AS broken_rule, {ROW_ID} AS id FROM etl.quarantine "
        f"WHERE {choice.condition}) SELECT source || '/' || stream AS stream_id, broken_rule, state, "
        "min(partition), max(partition), count(DISTINCT partition), count(*), max(attempts), "
        "arg_max(id, (last_seen, partition, id)), arg_max(reason, (last_seen, partition, id)) FROM broken "
        f"WHERE NOT {bool(choice.rules)} OR list_contains(CAST($wanted AS VARCHAR[]), broken_rule) "
        f"GROUP BY stream_id, broken_rule, state{day} ORDER BY stream_id, min(partition), broken_rule, state",
        choice.parameters | {"wanted": list(choice.rules)},
    ).fetchall()
    return [RuleCount(*row) for row in found]


def pending_rows(connection: duckdb.DuckDBPyConnection, stream_ids: Sequence[str]) -> dict[str, int]:
    """Count the rows that wait for somebody, by stream; streams without any are left out."""
    if not table_columns(connection, "etl", "quarantine"):
        return {}
    found = connection.execute(
        "SELECT source || '/' || stream AS id, count(*) FROM etl.quarantine "
        "WHERE state = ? AND list_contains(CAST(? AS VARCHAR[]), id) GROUP BY id ORDER BY id",
        [State.PENDING.value, list(stream_ids)],
    ).fetchall()
    return {row[0]: int(row[1]) for row in found}


def days_of(connection: duckdb.DuckDBPyConnection, choice: Choice) -> dict[str, list[date]]:
    """Give the partitions that have chosen rows, in order, by stream."""
    if not _is_there(connection):
        return {}
    found = connection.execute(
        "SELECT source || '/' || stream AS id, partition FROM etl.quarantine "
        f"WHERE {choice.condition} GROUP BY ALL ORDER BY ALL",
        choice.parameters,
    ).fetchall()
    days: dict[str, list[date]] = {}
    for stream, day in found:
        days.setdefault(stream, []).append(day)
    return days


def moves_of(connection: duckdb.DuckDBPyConnection, row: QuarantinedRow) -> list[Move]:
    """Give what became of a row, in the order of time."""
    if not table_columns(connection, "etl", "quarantine_moves"):
        return []
    source, _, name = row.stream.partition("/")
    same = " AND ".join(f"{column} = ${column}" for column in ROW_KEY)
    found = connection.execute(
        "SELECT from_state, to_state, action, moved_by, reason, run_id, moved_at FROM etl.quarantine_moves "
        f"WHERE {same} ORDER BY moved_at, rowid",
        {
            "source": source,
            "stream": name,
            "partition": row.partition,
            "payload_hash": row.payload_hash,
            "occurrence": row.occurrence,
        },
    ).fetchall()
    return [Move(*move) for move in found]


def _is_there(connection: duckdb.DuckDBPyConnection) -> bool:
    # A warehouse that no load of this version has opened yet lacks the column.
    return "landing_version" in table_columns(connection, "etl", "quarantine")
