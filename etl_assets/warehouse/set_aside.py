"""Unknown fields that are kept aside: a part of the quarantine that is no quarantined row.

Each row has what one loaded record has in fields that the contract does not know, and nothing else of it. It has the
state `set_aside`, counts in no budget and in no balance, and is `superseded` when a later load of its day does without.

What belongs here: writing these rows. What does not: rows that broke a rule (`quarantine`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import duckdb

from etl_assets.streams.base import Stream
from etl_assets.streams.observed import SetAside

RULE = "unknown_fields"
STATE = "set_aside"
_REASON = "the contract does not know these fields"
_GIVEN = "_etl_set_aside"
_THIS_DAY = "q.source = $source AND q.stream = $stream AND q.partition = $partition AND q.rule = $rule"
_SAME = "q.payload_hash = given.payload_hash AND q.occurrence = given.occurrence"


def record_set_aside(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    partition: date,
    rows: Sequence[SetAside],
    *,
    run_id: str,
    contract_version: str,
    at: datetime,
    published: bool,
) -> None:
    """Write what a day's load kept aside, within the caller's transaction.

    Args:
        connection: The warehouse.
        stream: The stream.
        partition: The day.
        rows: What was kept aside; what the day had before and has not now is superseded, if it is published.
        run_id: The run.
        contract_version: The contract's version.
        at: When; naive UTC.
        published: Whether the day's rows are published.
    """
    day = {"source": stream.source.name, "stream": stream.name, "partition": partition, "rule": RULE}
    known = connection.execute(f"SELECT EXISTS (SELECT 1 FROM etl.quarantine AS q WHERE {_THIS_DAY})", day)
    found = known.fetchone()
    if not rows and not (found and found[0]):
        return
    seen = {"at": at, "run_id": run_id, "contract_version": contract_version}
    # The hash begins otherwise than a bad row's, so that the two are never taken for each other.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_GIVEN} AS SELECT *, "
        "row_number() OVER (PARTITION BY payload_hash ORDER BY row_number) AS occurrence FROM (SELECT row_number, "
        "payload, sha256(concat('set aside ', payload)) AS payload_hash FROM "
        "(SELECT unnest(CAST($numbers AS BIGINT[])) AS row_number, unnest(CAST($payloads AS VARCHAR[])) AS payload))",
        {"numbers": [row.row_number for row in rows], "payloads": [row.payload for row in rows]},
    )
    if published:
        connection.execute(
            "UPDATE etl.quarantine AS q SET state = 'superseded', run_id = $run_id "
            f"WHERE {_THIS_DAY} AND q.state = $state "
            f"AND NOT EXISTS (SELECT 1 FROM {_GIVEN} AS given WHERE {_SAME})",
            day | {"run_id": run_id, "state": STATE},
        )
    connection.execute(
        "UPDATE etl.quarantine AS q SET row_number = given.row_number, last_seen = $at, attempts = q.attempts + 1, "
        f"state = $state, run_id = $run_id, contract_version = $contract_version FROM {_GIVEN} AS given "
        f"WHERE {_THIS_DAY} AND {_SAME}",
        day | seen | {"state": STATE},
    )
    connection.execute(
        "INSERT INTO etl.quarantine (source, stream, partition, row_number, rule, rules, reason, raw_payload, "
        "payload_hash, occurrence, first_seen, last_seen, attempts, state, run_id, contract_version) "
        "SELECT $source, $stream, CAST($partition AS DATE), row_number, $rule, [$rule], $reason, payload, "
        "payload_hash, occurrence, CAST($at AS TIMESTAMP), CAST($at AS TIMESTAMP), 1, $state, $run_id, "
        f"$contract_version FROM {_GIVEN} AS given "
        f"WHERE NOT EXISTS (SELECT 1 FROM etl.quarantine AS q WHERE {_THIS_DAY} AND {_SAME})",
        day | seen | {"reason": _REASON, "state": STATE},
    )
    connection.execute(f"DROP TABLE {_GIVEN}")
