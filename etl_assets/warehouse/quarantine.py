"""The quarantine: rows that broke a contract rule, kept with their reason until a later load has none of
them.

A bad row is known again by its partition, the hash of its raw payload, and its place among equal payloads of
the same partition. What belongs here: writing `etl.quarantine`. What does not: judging rows
(`etl_assets.quality`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

_BAD = "_etl_bad"
_SAME_PARTITION = "q.source = $source AND q.stream = $stream AND q.partition = $partition"
_SAME_ROW = "q.payload_hash = bad.payload_hash AND q.occurrence = bad.occurrence"


@dataclass(frozen=True, slots=True)
class BadRows:
    """The bad rows of one attempt at a partition.

    Attributes:
        source: The stream's source.
        stream: The stream's name.
        partition: The day.
        rows: Parquet with row_number, rules, reasons, raw_payload; None when there are none.
        run_id: Recorded with each row.
        contract_version: Recorded with each row.
        at: When they were seen; naive UTC.
        published: Whether the partition's good rows are published with this attempt. Only then are rows that
            are no longer bad superseded: a withheld attempt says nothing about what the table holds.
    """

    source: str
    stream: str
    partition: date
    rows: Path | None
    run_id: str
    contract_version: str
    at: datetime
    published: bool

    @property
    def key(self) -> dict[str, Any]:
        """The partition, as parameters."""
        return {"source": self.source, "stream": self.stream, "partition": self.partition}


def record_bad_rows(connection: duckdb.DuckDBPyConnection, bad: BadRows) -> int:
    """Write the bad rows of an attempt, within the caller's transaction.

    Rows seen before count one more attempt; rows of the partition that are bad no longer become `superseded`.

    Returns:
        Number of bad rows.
    """
    known = connection.execute(
        f"SELECT count(*) FROM etl.quarantine AS q WHERE {_SAME_PARTITION}", bad.key
    ).fetchone() or (0,)
    if bad.rows is None:
        if known[0] and bad.published:
            _supersede(connection, bad, "true")
        return 0
    count = _stage(connection, bad.rows)
    if known[0]:
        _see_again(connection, bad)
        if bad.published:
            _supersede(connection, bad, f"NOT EXISTS (SELECT 1 FROM {_BAD} AS bad WHERE {_SAME_ROW})")
    _insert_new(connection, bad, any_known=bool(known[0]))
    connection.execute(f"DROP TABLE {_BAD}")
    return count


def _stage(connection: duckdb.DuckDBPyConnection, rows: Path) -> int:
    found = connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_BAD} AS SELECT *, "
        "row_number() OVER (PARTITION BY payload_hash ORDER BY row_number) AS occurrence "
        "FROM (SELECT row_number, rules, reasons, raw_payload, "
        "sha256(coalesce(raw_payload, '')) AS payload_hash FROM read_parquet($rows))",
        {"rows": str(rows)},
    ).fetchone()
    return int(found[0]) if found else 0


def _see_again(connection: duckdb.DuckDBPyConnection, bad: BadRows) -> None:
    connection.execute(
        "UPDATE etl.quarantine AS q SET row_number = bad.row_number, rule = bad.rules[1], rules = bad.rules, "
        "reason = array_to_string(bad.reasons, '; '), last_seen = $at, attempts = q.attempts + 1, "
        "state = 'pending', run_id = $run_id, contract_version = $contract_version "
        f"FROM {_BAD} AS bad WHERE {_SAME_PARTITION} AND {_SAME_ROW}",
        bad.key | _seen(bad),
    )


def _supersede(connection: duckdb.DuckDBPyConnection, bad: BadRows, which: str) -> None:
    connection.execute(
        "UPDATE etl.quarantine AS q SET state = 'superseded', run_id = $run_id "
        f"WHERE {_SAME_PARTITION} AND q.state = 'pending' AND {which}",
        bad.key | {"run_id": bad.run_id},
    )


def _insert_new(connection: duckdb.DuckDBPyConnection, bad: BadRows, *, any_known: bool) -> None:
    unknown = f"NOT EXISTS (SELECT 1 FROM etl.quarantine AS q WHERE {_SAME_PARTITION} AND {_SAME_ROW})"
    connection.execute(
        "INSERT INTO etl.quarantine (source, stream, partition, row_number, rule, rules, reason, "
        "raw_payload, payload_hash, occurrence, first_seen, last_seen, attempts, state, run_id, "
        "contract_version) "
        "SELECT $source, $stream, CAST($partition AS DATE), bad.row_number, bad.rules[1], bad.rules, "
        "array_to_string(bad.reasons, '; '), bad.raw_payload, bad.payload_hash, bad.occurrence, "
        "CAST($at AS TIMESTAMP), CAST($at AS TIMESTAMP), 1, 'pending', $run_id, $contract_version "
        f"FROM {_BAD} AS bad" + (f" WHERE {unknown}" if any_known else ""),
        bad.key | _seen(bad),
    )


def _seen(bad: BadRows) -> dict[str, Any]:
    return {"at": bad.at, "run_id": bad.run_id, "contract_version": bad.contract_version}
