"""What people do with quarantined rows: decide on them, discard them, open them again, purge what is settled.

Each is one transaction of the caller's, and leaves a trace in `etl.quarantine_moves`. What belongs here: that. What
does not: rows that a load moves (`quarantine`), and what a decision means (`decisions`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb

from etl_assets.failures import ConfigurationError
from etl_assets.warehouse.decisions import ROW_KEY, Action, Decision, end_decisions, record_decisions
from etl_assets.warehouse.quarantine import State
from etl_assets.warehouse.quarantined import ROW_ID, Choice, QuarantinedRow, rows_of

SETTLED = (State.REPLAYED, State.WAIVED, State.DISCARDED, State.SUPERSEDED)

_CHOSEN = "_etl_chosen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who does something, why, and when (naive UTC)."""

    by: str
    reason: str
    at: datetime


def chosen_rows(connection: duckdb.DuckDBPyConnection, choice: Choice) -> list[QuarantinedRow]:
    """Give the chosen rows; each row that was named must be there, in one of the wanted states.

    Raises:
        ConfigurationError: If one is not.
    """
    found = rows_of(connection, choice)
    missing = sorted(set(choice.rows) - {row.id for row in found})
    if missing:
        other = {row.id: row for row in rows_of(connection, replace(choice, rows=tuple(missing), states=()))}
        row = other.get(missing[0])
        if row is None:
            raise ConfigurationError(
                f"row {missing[0]} is not in the quarantine",
                hint="see etl-assets quarantine list and show",
            )
        raise ConfigurationError(
            f"row {row.id} is {row.state}, not {' or '.join(choice.states)}",
            hint="see etl-assets quarantine show",
        )
    return found


def decide(
    connection: duckdb.DuckDBPyConnection,
    rows: Sequence[QuarantinedRow],
    action: Action,
    who: Who,
    changes: Callable[[QuarantinedRow], dict[str, object]] = lambda row: {},
) -> None:
    """Record what was decided on some rows; the next load of their days carries it out, and moves them.

    Args:
        connection: The warehouse, within a transaction.
        rows: The rows.
        action: What was decided; a waiver is for the rules that the row breaks.
        who: By whom, and why.
        changes: Gives the mended fields of a row.
    """
    for stream in sorted({row.stream for row in rows}):
        record_decisions(
            connection,
            stream,
            [
                Decision(
                    decision_id=0,
                    partition=row.partition,
                    payload_hash=row.payload_hash,
                    occurrence=row.occurrence,
                    landing_version=row.landing_version,
                    row_number=row.row_number,
                    action=action,
                    rules=tuple(row.rules) if action is Action.WAIVE else (),
                    changes=changes(row),
                    decided_by=who.by,
                    reason=who.reason,
                    decided_at=who.at,
                )
                for row in rows
                if row.stream == stream
            ],
        )


def discard(connection: duckdb.DuckDBPyConnection, rows: Sequence[QuarantinedRow], who: Who) -> None:
    """Settle rows as not to be loaded; they stay in the account of their days, and nobody is asked again."""
    _move(connection, rows, f"'{State.DISCARDED.value}'", "discard", who)


def reopen(connection: duckdb.DuckDBPyConnection, rows: Sequence[QuarantinedRow], who: Who) -> None:
    """Take back what was decided on rows: discarded ones are pending, others are moved by the next load of their days.

    Until then their rows are in the table, and their state says so.
    """
    state = f"CASE WHEN state = '{State.DISCARDED.value}' THEN '{State.PENDING.value}' ELSE state END"
    _move(connection, rows, state, "reopen", who)


def purge(
    connection: duckdb.DuckDBPyConnection, choice: Choice, before: datetime, who: Who
) -> dict[str, int]:
    """Remove the payloads of rows that were neither seen nor moved since a time; the rows' accounts stay.

    Pending rows are discarded by that.

    Args:
        connection: The warehouse, within a transaction.
        choice: The rows.
        before: Naive UTC.
        who: By whom, and why.

    Returns:
        Number of rows by the state that they were in.
    """
    same = " AND ".join(f"m.{name} = q.{name}" for name in ROW_KEY)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_CHOSEN} AS SELECT * FROM etl.quarantine AS q WHERE {choice.condition} "
        "AND raw_payload IS NOT NULL AND last_seen < CAST($before AS TIMESTAMP) "
        f"AND NOT EXISTS (SELECT 1 FROM etl.quarantine_moves AS m WHERE {same} "
        "AND m.moved_at >= CAST($before AS TIMESTAMP))",
        choice.parameters | {"before": before},
    )
    pending = f"CASE WHEN state = '{State.PENDING.value}' THEN '{State.DISCARDED.value}' ELSE state END"
    _record(connection, pending, "purge", who)
    same_row = " AND ".join(f"q.{name} = chosen.{name}" for name in ROW_KEY)
    connection.execute(
        "UPDATE etl.quarantine AS q SET raw_payload = NULL, "
        f"state = {pending.replace('state', 'chosen.state')} FROM {_CHOSEN} AS chosen WHERE {same_row}"
    )
    counts = connection.execute(
        f"SELECT state, count(*) FROM {_CHOSEN} GROUP BY state ORDER BY state"
    ).fetchall()
    connection.execute(f"DROP TABLE {_CHOSEN}")
    return {state: int(number) for state, number in counts}


def _move(
    connection: duckdb.DuckDBPyConnection, rows: Sequence[QuarantinedRow], state: str, action: str, who: Who
) -> None:
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_CHOSEN} AS SELECT * FROM etl.quarantine "
        f"WHERE list_contains(CAST($ids AS VARCHAR[]), {ROW_ID})",
        {"ids": [row.id for row in rows]},
    )
    end_decisions(
        connection,
        _CHOSEN,
        by="CAST($by AS VARCHAR)",
        reason="CAST($reason AS VARCHAR)",
        parameters={"by": who.by, "reason": who.reason},
    )
    _record(connection, state, action, who)
    same_row = " AND ".join(f"q.{name} = chosen.{name}" for name in ROW_KEY)
    after = state.replace("state", "chosen.state")
    connection.execute(
        f"UPDATE etl.quarantine AS q SET state = {after} FROM {_CHOSEN} AS chosen WHERE {same_row}"
    )
    connection.execute(f"DROP TABLE {_CHOSEN}")


def _record(connection: duckdb.DuckDBPyConnection, state: str, action: str, who: Who) -> None:
    connection.execute(
        f"INSERT INTO etl.quarantine_moves ({', '.join(ROW_KEY)}, from_state, to_state, action, moved_by, reason, "
        f"moved_at) SELECT {', '.join(ROW_KEY)}, state, {state}, $action, $by, $reason, CAST($at AS TIMESTAMP) "
        f"FROM {_CHOSEN}",
        {"action": action, "by": who.by, "reason": who.reason, "at": who.at},
    )
