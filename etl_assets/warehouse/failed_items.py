"""Failed items: documents that could not be had or read, kept until a later load of their partition has them.

What belongs here: writing and reading `etl.failed_items`. What does not: rows that broke a contract (`quarantine`),
and asking for the documents again (`etl_assets.pipeline.documents`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import duckdb

from etl_assets.failures import FailureClass
from etl_assets.outcomes import FailedItem
from etl_assets.warehouse.schema import table_columns
from etl_assets.warehouse.transaction import naive_utc

PENDING, RESOLVED = "pending", "resolved"
EMBED = "embed"
"""The stage of items whose text could not be embedded; they have an account of their own (`embeddings`)."""

_FAILED = "_etl_failed"
_SAME_PARTITION = "f.source = $source AND f.stream = $stream AND f.partition = $partition"
_SAME_ITEM = "f.identifier = failed.identifier"


@dataclass(frozen=True, slots=True)
class FailedItems:
    """The failed items of one attempt at a partition.

    Attributes:
        source: The stream's source.
        stream: The stream's name.
        partition: The day.
        items: Those that failed.
        run_id: Recorded with each item.
        published: Whether the partition's rows are published with this attempt. Only then are items that fail no
            longer resolved, together with their rows.
    """

    source: str
    stream: str
    partition: date
    items: Sequence[FailedItem]
    run_id: str
    published: bool

    @property
    def key(self) -> dict[str, Any]:
        """The partition, as parameters."""
        return {"source": self.source, "stream": self.stream, "partition": self.partition}


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A row of `etl.failed_items`; times are naive UTC."""

    stream: str
    partition: date
    identifier: str
    stage: str
    error_type: str
    failure_class: str
    message: str
    attempts: int
    first_attempt_at: datetime
    last_attempt_at: datetime
    state: str
    traceback: str = ""

    @property
    def is_pending(self) -> bool:
        """Whether no later load had it."""
        return self.state == PENDING

    @property
    def retryable(self) -> bool:
        """Whether trying again without changing anything can help."""
        return FailureClass(self.failure_class).retryable


class Retry(StrEnum):
    """Which documents of a day a load asks for."""

    NONE = "none"
    """All of them, as usual."""
    TRANSIENT = "transient"
    """Those that failed for a reason that may have passed."""
    ALL = "all"
    """Those that failed for whichever reason."""

    def takes(self, item: KnownItem) -> bool:
        """Whether a failed item is one of those; what could not be embedded is there, and need not be asked for."""
        if item.stage == EMBED:
            return False
        return self is Retry.ALL or (self is Retry.TRANSIENT and item.retryable)


def record_failed_items(connection: duckdb.DuckDBPyConnection, failed: FailedItems) -> None:
    """Write the failed items of an attempt, within the caller's transaction.

    An item that failed before counts one more attempt if it was tried again since; a load from landing tries nothing.
    """
    _stage(connection, failed.items)
    if failed.published:
        connection.execute(
            f"UPDATE etl.failed_items AS f SET state = '{RESOLVED}', run_id = $run_id "
            f"WHERE {_SAME_PARTITION} AND f.state = '{PENDING}' AND f.stage <> '{EMBED}' "
            f"AND NOT EXISTS (SELECT 1 FROM {_FAILED} AS failed WHERE {_SAME_ITEM})",
            failed.key | {"run_id": failed.run_id},
        )
    connection.execute(
        "UPDATE etl.failed_items AS f SET stage = failed.stage, error_type = failed.error_type, "
        "failure_class = failed.failure_class, message = failed.message, traceback = failed.traceback, "
        "attempts = f.attempts + CASE WHEN f.last_attempt_at = failed.attempted_at THEN 0 ELSE 1 END, "
        f"last_attempt_at = failed.attempted_at, state = '{PENDING}', run_id = $run_id "
        f"FROM {_FAILED} AS failed WHERE {_SAME_PARTITION} AND {_SAME_ITEM} AND f.stage <> '{EMBED}'",
        failed.key | {"run_id": failed.run_id},
    )
    connection.execute(
        "INSERT INTO etl.failed_items (source, stream, partition, identifier, stage, error_type, failure_class, "
        "message, attempts, first_attempt_at, last_attempt_at, state, run_id, traceback) "
        "SELECT $source, $stream, CAST($partition AS DATE), identifier, stage, error_type, failure_class, "
        f"message, 1, attempted_at, attempted_at, '{PENDING}', $run_id, traceback FROM {_FAILED} AS failed "
        f"WHERE NOT EXISTS (SELECT 1 FROM etl.failed_items AS f WHERE {_SAME_PARTITION} AND {_SAME_ITEM} "
        f"AND f.stage <> '{EMBED}')",
        failed.key | {"run_id": failed.run_id},
    )
    connection.execute(f"DROP TABLE {_FAILED}")


def pending_items(connection: duckdb.DuckDBPyConnection, stream_ids: Collection[str]) -> dict[str, int]:
    """Count the items that are still missing, by stream; streams without any are left out."""
    if not table_columns(connection, "etl", "failed_items"):
        return {}
    found = connection.execute(
        "SELECT source || '/' || stream AS id, count(*) FROM etl.failed_items "
        "WHERE state = ? AND list_contains(CAST(? AS VARCHAR[]), id) GROUP BY id ORDER BY id",
        [PENDING, list(stream_ids)],
    ).fetchall()
    return {row[0]: int(row[1]) for row in found}


def known_items(
    connection: duckdb.DuckDBPyConnection,
    stream_id: str,
    days: Collection[date] | None = None,
    *,
    state: str | None = PENDING,
) -> list[KnownItem]:
    """Give the failed items of a stream, by partition and identifier.

    Args:
        connection: The warehouse.
        stream_id: The stream.
        days: Partitions to look at; all of them where not given.
        state: `pending`, `resolved`, or None for both.
    """
    if not table_columns(connection, "etl", "failed_items"):
        return []
    source, _, name = stream_id.partition("/")
    # A warehouse that was last written by an older version is read as it is.
    known = table_columns(connection, "etl", "failed_items")
    traceback = "coalesce(traceback, '')" if "traceback" in known else "''"
    found = connection.execute(
        "SELECT partition, identifier, stage, error_type, failure_class, message, attempts, first_attempt_at, "
        f"last_attempt_at, state, {traceback} FROM etl.failed_items WHERE source = $source AND stream = $stream "
        "AND ($days IS NULL OR list_contains(CAST($days AS DATE[]), partition)) "
        "AND ($state IS NULL OR state = $state) ORDER BY partition, identifier",
        {
            "source": source,
            "stream": name,
            "days": None if days is None else list(days),
            "state": state,
        },
    ).fetchall()
    return [KnownItem(stream_id, *row) for row in found]


def _stage(connection: duckdb.DuckDBPyConnection, items: Sequence[FailedItem]) -> None:
    columns: dict[str, tuple[str, list[Any]]] = {
        "identifier": ("VARCHAR", [item.identifier for item in items]),
        "stage": ("VARCHAR", [item.stage for item in items]),
        "error_type": ("VARCHAR", [item.error_type for item in items]),
        "failure_class": ("VARCHAR", [item.failure_class.value for item in items]),
        "message": ("VARCHAR", [item.message for item in items]),
        "traceback": ("VARCHAR", [item.traceback for item in items]),
        "attempted_at": ("TIMESTAMP", [naive_utc(item.attempted_at) for item in items]),
    }
    parts = ", ".join(f"unnest(CAST(${name} AS {kind}[])) AS {name}" for name, (kind, _) in columns.items())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_FAILED} AS SELECT {parts}",
        {name: values for name, (_, values) in columns.items()},
    )
