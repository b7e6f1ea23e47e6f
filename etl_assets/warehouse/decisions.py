"""Decisions that people made on quarantined rows: to load a row as it is, or with some of its fields mended.

A decision is applied in every load of its day until it is ended, so that a plain rerun, a replay and a lost staged file
come to the same table. It knows its row by the landed version and the row's position in it; in any other landed
version by the hash of the quarantined payload and its place among equal ones. What belongs here:
`etl.quarantine_decisions`. What does not: the states of rows (`quarantine`), and applying decisions
(`etl_assets.pipeline.decided`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import duckdb

from etl_assets.warehouse.schema import table_columns

ROW_KEY = ("source", "stream", "partition", "payload_hash", "occurrence")
"""Columns by which a row of the quarantine is known, in all of its tables."""

_NEW = "_etl_new_decisions"


class Action(StrEnum):
    """What was decided."""

    WAIVE = "waive"
    """The row is loaded as it is, though it breaks certain rules."""
    MEND = "mend"
    """The row is loaded with other values in some of its raw fields, if it keeps the contract then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decision on one row.

    Attributes:
        decision_id: Its number.
        partition: The row's day.
        payload_hash: SHA-256 of the quarantined payload.
        occurrence: The row's place, from 1, among the bad rows of its day that have this payload.
        landing_version: The landed version that `row_number` counts in.
        row_number: The row's position there, from 0.
        action: What was decided.
        rules: Rules that a waiver is for; no other rule is waived.
        changes: Raw fields with the values that a mended row has.
        decided_by: Who.
        reason: Why.
        decided_at: When; naive UTC.
    """

    decision_id: int
    partition: date
    payload_hash: str
    occurrence: int
    landing_version: str | None
    row_number: int | None
    action: Action
    rules: tuple[str, ...]
    changes: dict[str, Any]
    decided_by: str
    reason: str
    decided_at: datetime


def decisions_version(decisions: Iterable[Decision]) -> str:
    """Give a short hash of what a partition's decisions say; empty where there are none.

    Where their rows are is left out: within one landed version it follows from the rest.
    """
    told = [
        [each.decision_id, each.decided_at.isoformat(), each.action, each.rules, each.changes]
        for each in sorted(decisions, key=lambda each: each.decision_id)
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12] if told else ""


def standing_decisions(
    connection: duckdb.DuckDBPyConnection,
    stream_id: str,
    days: Collection[date] | None = None,
    at: datetime | None = None,
) -> dict[date, tuple[Decision, ...]]:
    """Give the decisions that hold, by partition; partitions without any are left out.

    Args:
        connection: The warehouse.
        stream_id: The stream.
        days: Partitions to look at; all of them where not given.
        at: Give those that held then, naive UTC; those that hold now where not given.
    """
    if not table_columns(connection, "etl", "quarantine_decisions"):
        return {}
    source, _, name = stream_id.partition("/")
    found = connection.execute(
        "SELECT decision_id, partition, payload_hash, occurrence, landing_version, row_number, action, rules, changes, "
        "decided_by, reason, decided_at FROM etl.quarantine_decisions "
        "WHERE source = $source AND stream = $stream "
        "AND CASE WHEN $at IS NULL THEN ended_at IS NULL ELSE decided_at <= $at AND coalesce(ended_at > $at, true) END "
        "AND ($days IS NULL OR list_contains(CAST($days AS DATE[]), partition)) ORDER BY decision_id",
        {"source": source, "stream": name, "days": None if days is None else list(days), "at": at},
    ).fetchall()
    decisions: dict[date, list[Decision]] = {}
    for row in found:
        decision = _decision(row)
        decisions.setdefault(decision.partition, []).append(decision)
    return {day: tuple(made) for day, made in decisions.items()}


def record_decisions(
    connection: duckdb.DuckDBPyConnection, stream_id: str, decisions: Sequence[Decision]
) -> None:
    """Write decisions, within the caller's transaction; each ends what was decided on its row before.

    Args:
        connection: The warehouse.
        stream_id: The stream.
        decisions: What was decided; their numbers are given here.
    """
    source, _, name = stream_id.partition("/")
    columns: dict[str, tuple[str, list[Any]]] = {
        "partition": ("DATE", [each.partition for each in decisions]),
        "payload_hash": ("VARCHAR", [each.payload_hash for each in decisions]),
        "occurrence": ("BIGINT", [each.occurrence for each in decisions]),
        "landing_version": ("VARCHAR", [each.landing_version for each in decisions]),
        "row_number": ("BIGINT", [each.row_number for each in decisions]),
        "action": ("VARCHAR", [each.action.value for each in decisions]),
        "rules": ("VARCHAR[]", [list(each.rules) for each in decisions]),
        "changes": ("VARCHAR", [json.dumps(each.changes, sort_keys=True) for each in decisions]),
        "decided_by": ("VARCHAR", [each.decided_by for each in decisions]),
        "reason": ("VARCHAR", [each.reason for each in decisions]),
        "decided_at": ("TIMESTAMP", [each.decided_at for each in decisions]),
    }
    parts = ", ".join(f"unnest(CAST(${name} AS {kind}[])) AS {name}" for name, (kind, _) in columns.items())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_NEW} AS SELECT $source AS source, $stream AS stream, {parts}",
        {"source": source, "stream": name} | {name: values for name, (_, values) in columns.items()},
    )
    end_decisions(connection, _NEW, by="new.decided_by", reason="'decided anew: ' || new.reason")
    connection.execute(
        f"INSERT INTO etl.quarantine_decisions (decision_id, source, stream, {', '.join(columns)}) "
        "SELECT row_number() OVER (ORDER BY partition, row_number) + "
        "(SELECT coalesce(max(decision_id), 0) FROM etl.quarantine_decisions), "
        f"source, stream, {', '.join(columns)} FROM {_NEW}"
    )
    connection.execute(f"DROP TABLE {_NEW}")


def end_decisions(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    *,
    by: str,
    reason: str,
    parameters: dict[str, Any] | None = None,
) -> None:
    """End what was decided on some rows, where anything was, within the caller's transaction.

    Args:
        connection: The warehouse.
        rows: A table of rows of the quarantine.
        by: Who ends it, as SQL; may speak of the table as `new`.
        reason: Why, as SQL.
        parameters: Of both.
    """
    same = " AND ".join(f"d.{name} = new.{name}" for name in ROW_KEY)
    connection.execute(
        f"UPDATE etl.quarantine_decisions AS d SET ended_at = CAST(now() AS TIMESTAMP), ended_by = {by}, "
        f"ended_reason = {reason} FROM {rows} AS new WHERE {same} AND d.ended_at IS NULL",
        parameters or {},
    )


def _decision(row: tuple[Any, ...]) -> Decision:
    number, day, payload_hash, occurrence, landing_version, position, action, rules, changes, *who = row
    return Decision(
        decision_id=number,
        partition=day,
        payload_hash=payload_hash,
        occurrence=occurrence,
        landing_version=landing_version,
        row_number=position,
        action=Action(action),
        rules=tuple(rules),
        changes=json.loads(changes),
        decided_by=who[0],
        reason=who[1],
        decided_at=who[2],
    )
