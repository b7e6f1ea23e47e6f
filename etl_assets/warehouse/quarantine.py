"""The quarantine: rows that broke a contract rule, kept with their reason, their state, and each change of it.

A bad row is known again by its partition, the hash of its raw payload, and its place among equal payloads of
the same partition. What belongs here: what a load makes of `etl.quarantine`. What does not: judging rows
(`etl_assets.quality`), and what people do with quarantined rows (`quarantine_moves`, `decisions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import duckdb

from etl_assets.warehouse.decisions import Action

_BAD = "_etl_bad"
_REFUSED = "_etl_refused"
_MOVES = "_etl_moves"
_SAME_PARTITION = "q.source = $source AND q.stream = $stream AND q.partition = $partition"
_SAME_ROW = "q.payload_hash = bad.payload_hash AND q.occurrence = bad.occurrence"
_HASHED = "sha256(coalesce(raw_payload, '')) AS payload_hash"

LOAD = "load"
"""Who and what moves a row where no person does."""


class State(StrEnum):
    """Where a row of the quarantine is."""

    PENDING = "pending"
    """Bad when it was last looked at, and not in the table."""
    REPLAYED = "replayed"
    """Loaded by the normal commit: the contract, the transform or the row was mended."""
    WAIVED = "waived"
    """Loaded as it is, by somebody's decision."""
    DISCARDED = "discarded"
    """Not to be loaded, by somebody's decision."""
    SUPERSEDED = "superseded"
    """Newer answers of the source do not have it as a bad row, or it is kept under another payload now."""


STATE_OF = {Action.WAIVE: State.WAIVED, Action.MEND: State.REPLAYED}
"""The state of a row that was loaded by a decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRows:
    """The bad rows of one attempt at a partition.

    Attributes:
        source: The stream's source.
        stream: The stream's name.
        partition: The day.
        rows: Parquet with row_number, rules, reasons, raw_payload; None when there are none.
        decided: Parquet of the rows that people decided on, as `etl_assets.pipeline.decided` writes it: those that are
            among the good rows by a decision, and decisions that could not be carried out. None when there are none.
        landing_version: The landed answers that the positions of the rows count in.
        run_id: Recorded with each row.
        contract_version: Recorded with each row.
        at: When they were seen; naive UTC.
        published: Whether the partition's good rows are published with this attempt. Only then do rows leave the
            quarantine: a withheld attempt says nothing about what the table holds.
        is_new: Whether the quarantine is known to have nothing of the partition yet.
    """

    source: str
    stream: str
    partition: date
    rows: Path | None
    run_id: str
    contract_version: str
    at: datetime
    published: bool
    decided: Path | None = None
    landing_version: str | None = None
    is_new: bool = False

    @property
    def key(self) -> dict[str, Any]:
        """The partition, as parameters."""
        return {"source": self.source, "stream": self.stream, "partition": self.partition}

    @property
    def seen(self) -> dict[str, Any]:
        """What is recorded with each row, as parameters."""
        return {
            "at": self.at,
            "run_id": self.run_id,
            "contract_version": self.contract_version,
            "landing_version": self.landing_version,
        }


def days_in_quarantine(
    connection: duckdb.DuckDBPyConnection, source: str, stream: str, days: Sequence[date]
) -> set[date]:
    """Give those of some days of a stream that the quarantine has anything of, in whichever state."""
    found = connection.execute(
        "SELECT DISTINCT partition FROM etl.quarantine WHERE source = ? AND stream = ? "
        "AND partition IN (SELECT unnest(CAST(? AS DATE[])))",
        [source, stream, list(days)],
    ).fetchall()
    return {row[0] for row in found}


def record_bad_rows(connection: duckdb.DuckDBPyConnection, bad: BadRows) -> int:
    """Write the bad rows of an attempt, within the caller's transaction.

    Rows seen before count one more attempt. When the attempt is published, rows that are bad no longer become
    `replayed`, or `superseded` when the source does not send them any more, and rows that were loaded by a decision get
    the state that it says. Every change of state is recorded.

    Returns:
        Number of bad rows that are not loaded.
    """
    known = not bad.is_new and bool(days_in_quarantine(connection, bad.source, bad.stream, [bad.partition]))
    if not known and bad.rows is None and bad.decided is None:
        return 0
    count = _stage(connection, bad)
    if known:
        moves = _find_moves(connection, bad)
        _see_again(connection, bad)
        if moves:
            _move(connection, bad)
        connection.execute(f"DROP TABLE {_MOVES}")
    _insert_new(connection, bad, any_known=known)
    if bad.decided is not None and bad.published:
        _follow_decisions(connection, bad)
    connection.execute(f"DROP TABLE {_BAD}")
    if bad.decided is not None:
        connection.execute(f"DROP TABLE {_REFUSED}")
    return count


def _stage(connection: duckdb.DuckDBPyConnection, bad: BadRows) -> int:
    """Put the bad rows, loaded by a decision or not, into a table, and count those that are not loaded."""
    columns = "row_number, rules, reasons, raw_payload"
    nothing = (
        "SELECT CAST(NULL AS BIGINT) AS row_number, CAST([] AS VARCHAR[]) AS rules, "
        "CAST([] AS VARCHAR[]) AS reasons, CAST(NULL AS VARCHAR) AS raw_payload, "
        "CAST(NULL AS BIGINT) AS decision_id, CAST(NULL AS VARCHAR) AS state WHERE false"
    )
    parts, parameters = [nothing], {}
    if bad.rows is not None:
        parts.append(f"SELECT {columns}, NULL, NULL FROM read_parquet($rows)")
        parameters["rows"] = str(bad.rows)
    if bad.decided is not None:
        states = " ".join(f"WHEN '{action.value}' THEN '{state.value}'" for action, state in STATE_OF.items())
        parts.append(
            f"SELECT {columns}, decision_id, CASE action {states} END FROM read_parquet($decided) WHERE loaded"
        )
        parameters["decided"] = str(bad.decided)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_REFUSED} AS SELECT row_number, decision_id, action, refusal "
            "FROM read_parquet($decided) WHERE NOT loaded",
            {"decided": str(bad.decided)},
        )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_BAD} AS SELECT *, "
        "row_number() OVER (PARTITION BY payload_hash ORDER BY row_number) AS occurrence "
        f"FROM (SELECT *, {_HASHED} FROM ({' UNION ALL '.join(parts)}))",
        parameters,
    )
    found = connection.execute(f"SELECT count(*) FROM {_BAD} WHERE decision_id IS NULL").fetchone()
    return int(found[0]) if found else 0


def _find_moves(connection: duckdb.DuckDBPyConnection, bad: BadRows) -> int:
    """Put the known rows whose state changes into a table, with the new state, and who moves them why; count them."""
    if bad.published:
        discarded = "WHEN q.state = 'discarded' THEN q.state"
        target = f"CASE WHEN bad.state IS NOT NULL THEN bad.state {discarded} ELSE 'pending' END"
    else:
        target = "CASE WHEN bad.state IS NOT NULL OR q.state = 'discarded' THEN q.state ELSE 'pending' END"
    again = "'bad again: ' || array_to_string(bad.reasons, '; ')"
    refusal = "CAST(NULL AS VARCHAR)"
    if bad.decided is not None:
        refusal = (
            f"(SELECT min(refusal) FROM {_REFUSED} AS refused WHERE refused.row_number = bad.row_number)"
        )
    found = connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_MOVES} AS SELECT q.payload_hash, q.occurrence, q.state AS from_state, "
        f"{target} AS to_state, coalesce(d.action, '{LOAD}') AS action, coalesce(d.decided_by, '{LOAD}') AS moved_by, "
        f"coalesce(d.reason, {refusal}, {again}) AS reason FROM etl.quarantine AS q "
        f"JOIN {_BAD} AS bad ON {_SAME_ROW} "
        "LEFT JOIN etl.quarantine_decisions AS d ON d.decision_id = bad.decision_id "
        f"WHERE {_SAME_PARTITION} AND to_state <> q.state",
        bad.key,
    ).fetchone()
    moves = int(found[0]) if found else 0
    return moves + _find_departures(connection, bad) if bad.published else moves


def _find_departures(connection: duckdb.DuckDBPyConnection, bad: BadRows) -> int:
    """Add the known rows that are not bad any more, and count them.

    In the landed version that a row was last seen in, it is still there: it is good now, or the same row has another
    payload, as after a change of the key of pseudonyms. Of another version nobody knows.
    """
    found = connection.execute(
        f"INSERT INTO {_MOVES} SELECT q.payload_hash, q.occurrence, q.state, "
        f"CASE WHEN q.landing_version = $landing_version AND good THEN '{State.REPLAYED.value}' "
        f"ELSE '{State.SUPERSEDED.value}' END, '{LOAD}', '{LOAD}', "
        "CASE WHEN q.landing_version IS DISTINCT FROM $landing_version "
        "THEN 'other answers were landed, in which it is not bad' WHEN good THEN 'it keeps the contract now' "
        "ELSE 'the same row is kept with another payload now' END "
        "FROM (SELECT *, NOT EXISTS "
        f"(SELECT 1 FROM {_BAD} AS bad WHERE bad.row_number = q.row_number) AS good FROM etl.quarantine AS q) AS q "
        f"WHERE {_SAME_PARTITION} AND q.state IN ('pending', 'waived', 'discarded') "
        f"AND NOT EXISTS (SELECT 1 FROM {_BAD} AS bad WHERE {_SAME_ROW})",
        bad.key | {"landing_version": bad.landing_version},
    ).fetchone()
    return int(found[0]) if found else 0


def _see_again(connection: duckdb.DuckDBPyConnection, bad: BadRows) -> None:
    connection.execute(
        "UPDATE etl.quarantine AS q SET row_number = bad.row_number, rule = bad.rules[1], rules = bad.rules, "
        "reason = array_to_string(bad.reasons, '; '), last_seen = $at, "
        # What was purged of a settled row is needed again when it is pending again.
        "raw_payload = CASE WHEN bad.decision_id IS NULL AND q.state <> 'discarded' THEN bad.raw_payload "
        "ELSE q.raw_payload END, "
        "attempts = q.attempts + CASE WHEN bad.decision_id IS NULL THEN 1 ELSE 0 END, "
        "run_id = $run_id, contract_version = $contract_version, landing_version = $landing_version "
        f"FROM {_BAD} AS bad WHERE {_SAME_PARTITION} AND {_SAME_ROW}",
        bad.key | bad.seen,
    )


def _move(connection: duckdb.DuckDBPyConnection, bad: BadRows) -> None:
    connection.execute(
        f"UPDATE etl.quarantine AS q SET state = move.to_state, run_id = $run_id FROM {_MOVES} AS move "
        f"WHERE {_SAME_PARTITION} AND q.payload_hash = move.payload_hash AND q.occurrence = move.occurrence",
        bad.key | {"run_id": bad.run_id},
    )
    _record_moves(
        connection,
        bad,
        "SELECT payload_hash, occurrence, from_state, to_state, action, moved_by, reason",
        _MOVES,
    )


def _insert_new(connection: duckdb.DuckDBPyConnection, bad: BadRows, *, any_known: bool) -> None:
    unknown = f"NOT EXISTS (SELECT 1 FROM etl.quarantine AS q WHERE {_SAME_PARTITION} AND {_SAME_ROW})"
    state = f"coalesce(bad.state, '{State.PENDING.value}')" if bad.published else f"'{State.PENDING.value}'"
    which = f" WHERE {unknown}" if any_known else ""
    if bad.decided is not None and bad.published:
        # Known under another payload before, or forgotten with a lost warehouse: the decision is what brought it.
        _record_moves(
            connection,
            bad,
            "SELECT bad.payload_hash, bad.occurrence, NULL, bad.state, d.action, d.decided_by, d.reason",
            f"{_BAD} AS bad JOIN etl.quarantine_decisions AS d ON d.decision_id = bad.decision_id" + which,
        )
    connection.execute(
        "INSERT INTO etl.quarantine (source, stream, partition, row_number, rule, rules, reason, "
        "raw_payload, payload_hash, occurrence, first_seen, last_seen, attempts, state, run_id, "
        "contract_version, landing_version) "
        "SELECT $source, $stream, CAST($partition AS DATE), bad.row_number, bad.rules[1], bad.rules, "
        "array_to_string(bad.reasons, '; '), bad.raw_payload, bad.payload_hash, bad.occurrence, "
        f"CAST($at AS TIMESTAMP), CAST($at AS TIMESTAMP), 1, {state}, $run_id, $contract_version, "
        f"CAST($landing_version AS VARCHAR) FROM {_BAD} AS bad{which}",
        bad.key | bad.seen,
    )


def _follow_decisions(connection: duckdb.DuckDBPyConnection, bad: BadRows) -> None:
    """Note where the rows of decisions are now, and end the ones by which a row could not be mended."""
    connection.execute(
        "UPDATE etl.quarantine_decisions AS d SET payload_hash = bad.payload_hash, occurrence = bad.occurrence, "
        f"landing_version = $landing_version, row_number = bad.row_number FROM {_BAD} AS bad "
        "WHERE d.decision_id = bad.decision_id AND (d.landing_version IS DISTINCT FROM $landing_version "
        "OR d.payload_hash <> bad.payload_hash OR d.occurrence <> bad.occurrence)",
        {"landing_version": bad.landing_version},
    )
    # A mend that was good once stays: an older contract, or a newer one, may accept it again.
    never = (
        "NOT EXISTS (SELECT 1 FROM etl.quarantine_moves AS m WHERE m.source = d.source AND m.stream = d.stream "
        "AND m.partition = d.partition AND m.payload_hash = d.payload_hash AND m.occurrence = d.occurrence "
        f"AND m.action = d.action AND m.to_state = '{State.REPLAYED.value}' AND m.moved_at >= d.decided_at)"
    )
    mend = f"refused.action = '{Action.MEND.value}' AND {never}"
    _record_moves(
        connection,
        bad,
        f"SELECT bad.payload_hash, bad.occurrence, '{State.PENDING.value}', '{State.PENDING.value}', refused.action, "
        "d.decided_by, refused.refusal",
        f"{_REFUSED} AS refused JOIN {_BAD} AS bad USING (row_number) "
        f"JOIN etl.quarantine_decisions AS d ON d.decision_id = refused.decision_id WHERE {mend}",
    )
    connection.execute(
        f"UPDATE etl.quarantine_decisions AS d SET ended_at = CAST($at AS TIMESTAMP), ended_by = '{LOAD}', "
        f"ended_reason = refused.refusal FROM {_REFUSED} AS refused "
        f"WHERE d.decision_id = refused.decision_id AND {mend}",
        {"at": bad.at},
    )


def _record_moves(connection: duckdb.DuckDBPyConnection, bad: BadRows, moves: str, relation: str) -> None:
    key = {name: value for name, value in bad.key.items() if f"${name}" in relation}
    connection.execute(
        "INSERT INTO etl.quarantine_moves (source, stream, partition, run_id, moved_at, payload_hash, occurrence, "
        "from_state, to_state, action, moved_by, reason) "
        "SELECT $source_name, $stream_name, CAST($day AS DATE), $run_id, CAST($at AS TIMESTAMP), "
        f"{moves.removeprefix('SELECT ')} FROM {relation}",
        {
            "source_name": bad.source,
            "stream_name": bad.stream,
            "day": bad.partition,
            "run_id": bad.run_id,
            "at": bad.at,
        }
        | key,
    )
