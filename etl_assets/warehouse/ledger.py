"""The account of what was loaded: load log, watermarks, touched dates, last outcome of each partition.

Entries are collected and written together, a statement a table, at the end of the transaction: `write`. Whoever asks
the ledger meanwhile is answered from memory. What belongs here: writing these `etl` tables within someone else's
transaction, and what a session may remember of them, being the only writer. What does not: the rows themselves, and the
quarantine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import duckdb

from etl_assets.streams.base import Stream
from etl_assets.warehouse.decisions import decisions_version, standing_decisions
from etl_assets.warehouse.rows import column_types, insert_rows


@dataclass(frozen=True, slots=True)
class LastLoad:
    """What the last committed load of a partition brought."""

    load_id: int
    content_hash: str
    contract_version: str
    code_version: str
    decisions: str
    staged: int
    deduplicated: int


@dataclass(frozen=True, slots=True)
class LoadEntry:
    """One row of the load log, in the order of its columns."""

    load_id: int
    source: str
    stream: str
    partition: date
    run_id: str
    verdict: str
    extracted: int
    staged: int
    loaded: int
    updated: int
    unchanged: int
    deduplicated: int
    removed: int
    quarantined: int
    warned: int
    failed_items: int
    warnings: str
    violations: str
    content_hash: str
    landing_version: str | None
    watermark: datetime
    contract_version: str
    code_version: str
    seconds: str
    seconds_total: float
    loaded_at: datetime
    restores: int | None = None
    restates: bool = False
    decisions: str = ""


@dataclass(frozen=True, slots=True)
class PartitionEntry:
    """The last outcome of one partition.

    A `loaded_rows` or `published_at` of None keeps what the table has: a failed attempt does not undo an
    earlier publication.
    """

    source: str
    stream: str
    partition: date
    status: str
    message: str
    failure_stage: str | None
    failure_class: str | None
    error_type: str | None
    run_id: str
    extracted: int
    staged: int
    loaded_rows: int | None
    quarantined: int
    warned: int
    failed_items: int
    warnings: str
    violations: str
    seconds: str
    landing_version: str | None
    updated_at: datetime
    published_at: datetime | None


ROLLED_BACK = "rolled_back"
"""Verdict of a row of the load log that no load stands behind: the partition's loads before it count no longer."""

_LOADS = column_types(LoadEntry)
_PARTITIONS = column_types(PartitionEntry)
_TOUCHED_DATES = {
    "load_id": "BIGINT",
    "source": "VARCHAR",
    "stream": "VARCHAR",
    "business_date": "DATE",
}


def as_json(values: dict[str, Any]) -> str:
    """Write a mapping as JSON text, the same for the same content."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


class Ledger:
    """Bookkeeping of one session.

    Args:
        connection: The warehouse, held exclusively for as long as the ledger lives.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._next_load_id: int | None = None
        self._last_loads: dict[tuple[str, str], dict[date, LastLoad]] = {}
        self._last_restating: dict[tuple[str, str], int] = {}
        self._watermarks: dict[tuple[str, str], datetime | None] = {}
        self._published: dict[tuple[str, str], dict[date, tuple[int, datetime | None]]] = {}
        self._decisions: dict[tuple[str, str], dict[date, str]] = {}
        self._loads: list[tuple[Any, ...]] = []
        self._touched: list[tuple[int, str, str, date]] = []
        self._advanced: dict[tuple[str, str], LoadEntry] = {}
        self._outcomes: dict[tuple[str, str, date], PartitionEntry] = {}
        self._replaced: dict[tuple[str, str], set[date]] = {}

    def forget(self) -> None:
        """Drop what is remembered and what was not written yet, after a transaction was rolled back."""
        self._next_load_id = None
        self._drop_collected()
        self._last_loads.clear()
        self._last_restating.clear()
        self._watermarks.clear()
        self._published.clear()
        self._decisions.clear()

    def decisions(self, source: str, stream: str, partition: date) -> str:
        """Give the version of the decisions that hold for a partition's quarantined rows; empty without any."""
        key = (source, stream)
        if key not in self._decisions:
            standing = standing_decisions(self._connection, f"{source}/{stream}")
            self._decisions[key] = {day: decisions_version(made) for day, made in standing.items()}
        return self._decisions[key].get(partition, "")

    def forget_decisions(self, source: str, stream: str) -> None:
        """Drop what is remembered of a stream's decisions, which have changed."""
        self._decisions.pop((source, stream), None)

    def last_load(self, source: str, stream: str, partition: date) -> LastLoad | None:
        """Give the last committed load of a partition; None if there is none that still counts."""
        key = (source, stream)
        if key not in self._last_loads:
            found = self._connection.execute(
                "SELECT partition, load_id, content_hash, contract_version, code_version, decisions, staged, "
                "deduplicated FROM (SELECT * FROM etl.loads WHERE source = ? AND stream = ? "
                "QUALIFY row_number() OVER (PARTITION BY partition ORDER BY load_id DESC) = 1) WHERE verdict <> ?",
                [source, stream, ROLLED_BACK],
            ).fetchall()
            self._last_loads[key] = {row[0]: LastLoad(*row[1:]) for row in found}
        return self._last_loads[key].get(partition)

    def last_restating(self, source: str, stream: str) -> int:
        """Give the number of a stream's last load of a day that other code had loaded before; 0 without any."""
        key = (source, stream)
        if key not in self._last_restating:
            found = self._connection.execute(
                "SELECT coalesce(max(load_id), 0) FROM etl.loads WHERE source = ? AND stream = ? AND restates",
                [source, stream],
            ).fetchone()
            self._last_restating[key] = int(found[0]) if found else 0
        return self._last_restating[key]

    def newest_day(self, source: str, stream: str) -> date | None:
        """Give the latest published day of a stream that had any good row."""
        self.last_load(source, stream, date.min)
        loads = self._last_loads[source, stream]
        return max((day for day, load in loads.items() if load.staged), default=None)

    def new_load_id(self) -> int:
        """Give the next load's number: one more than the greatest so far."""
        if self._next_load_id is None:
            found = self._connection.execute("SELECT coalesce(max(load_id), 0) + 1 FROM etl.loads").fetchone()
            self._next_load_id = int(found[0]) if found else 1
        self._next_load_id += 1
        return self._next_load_id - 1

    def record_load(self, entry: LoadEntry, touched_dates: tuple[date, ...]) -> None:
        """Take in the load log's row, the touched dates and the watermark, for `write`."""
        self._loads.append(_values(entry))
        self._touched += [(entry.load_id, entry.source, entry.stream, day) for day in touched_dates]
        self._advance_watermark(entry)
        self.last_load(entry.source, entry.stream, entry.partition)
        if entry.restates:
            self._last_restating[entry.source, entry.stream] = entry.load_id
        self._last_loads[entry.source, entry.stream][entry.partition] = LastLoad(
            entry.load_id,
            entry.content_hash,
            entry.contract_version,
            entry.code_version,
            entry.decisions,
            entry.staged,
            entry.deduplicated,
        )

    def record_rolled_back(self, stream: Stream, days: Sequence[date], run_id: str, at: datetime) -> None:
        """Write to the log that the loads of some partitions count no longer.

        Args:
            stream: The stream.
            days: The partitions.
            run_id: The run.
            at: When; naive UTC.
        """
        numbers = [self.new_load_id() for _ in days]
        none = (
            "staged",
            "loaded",
            "updated",
            "unchanged",
            "deduplicated",
            "removed",
            "quarantined",
            "warned",
        )
        self._connection.execute(
            f"INSERT INTO etl.loads (load_id, partition, source, stream, run_id, verdict, loaded_at, extracted, "
            f"{', '.join(none)}, failed_items, warnings, violations, content_hash, contract_version, code_version, "
            "seconds, seconds_total) SELECT unnest(CAST($numbers AS BIGINT[])), unnest(CAST($days AS DATE[])), "
            f"$source, $stream, $run_id, $verdict, $at, 0, {', '.join('0' for _ in none)}, 0, '{{}}', '{{}}', "
            "'', '', '', '{}', 0",
            {
                "numbers": numbers,
                "days": list(days),
                "source": stream.source.name,
                "stream": stream.name,
                "run_id": run_id,
                "verdict": ROLLED_BACK,
                "at": at,
            },
        )
        self._last_loads.pop((stream.source.name, stream.name), None)

    def touch(self, stream: Stream, dates: Sequence[date]) -> None:
        """Take in business dates that the last load, and what was logged with it, changed, for `write`."""
        assert self._next_load_id is not None
        load_id = self._next_load_id - 1
        self._touched += [(load_id, stream.source.name, stream.name, day) for day in dates]

    def record_outcome(self, entry: PartitionEntry) -> None:
        """Take in a partition's last outcome, for `write` to put in place of the one before."""
        published = self._published_of(entry.source, entry.stream)
        kept = published.get(entry.partition)
        if kept is not None:
            self._replaced.setdefault((entry.source, entry.stream), set()).add(entry.partition)
        if entry.loaded_rows is None or entry.published_at is None:
            rows, at = kept or (0, None)
            entry = replace(entry, loaded_rows=rows, published_at=at)
        self._outcomes[entry.source, entry.stream, entry.partition] = entry
        published[entry.partition] = (entry.loaded_rows or 0, entry.published_at)

    def write(self) -> None:
        """Write what was taken in, within the caller's transaction."""
        for (source, stream), days in self._replaced.items():
            self._connection.execute(
                "DELETE FROM etl.partitions WHERE source = ? AND stream = ? "
                "AND partition IN (SELECT unnest(CAST(? AS DATE[])))",
                [source, stream, sorted(days)],
            )
        for advanced in self._advanced.values():
            self._write_watermark(advanced)
        insert_rows(self._connection, "etl.loads", _LOADS, self._loads)
        insert_rows(self._connection, "etl.touched_dates", _TOUCHED_DATES, self._touched)
        outcomes = [_values(entry) for entry in self._outcomes.values()]
        insert_rows(self._connection, "etl.partitions", _PARTITIONS, outcomes)
        self._drop_collected()

    def _drop_collected(self) -> None:
        for collected in (self._loads, self._touched, self._advanced, self._outcomes, self._replaced):
            collected.clear()

    def _published_of(self, source: str, stream: str) -> dict[date, tuple[int, datetime | None]]:
        """Give rows and time of each known partition's last publication; no time if there was none."""
        key = (source, stream)
        if key not in self._published:
            found = self._connection.execute(
                "SELECT partition, loaded_rows, published_at FROM etl.partitions "
                "WHERE source = ? AND stream = ?",
                list(key),
            ).fetchall()
            self._published[key] = {day: (rows, at) for day, rows, at in found}
        return self._published[key]

    def _advance_watermark(self, entry: LoadEntry) -> None:
        key = (entry.source, entry.stream)
        if key not in self._watermarks:
            found = self._connection.execute(
                "SELECT watermark FROM etl.watermarks WHERE source = ? AND stream = ?", list(key)
            ).fetchone()
            self._watermarks[key] = found[0] if found else None
        current = self._watermarks[key]
        if current is not None and current >= entry.watermark:
            return
        self._advanced[key] = entry
        self._watermarks[key] = entry.watermark

    def _write_watermark(self, entry: LoadEntry) -> None:
        values = [entry.watermark, entry.loaded_at, entry.run_id, entry.source, entry.stream]
        moved = self._connection.execute(
            "UPDATE etl.watermarks SET watermark = ?, updated_at = ?, run_id = ? WHERE source = ? AND stream = ?",
            values,
        ).fetchone()
        if not moved or not moved[0]:
            self._connection.execute(
                "INSERT INTO etl.watermarks (watermark, updated_at, run_id, source, stream) VALUES (?, ?, ?, ?, ?)",
                values,
            )


def _values(entry: LoadEntry | PartitionEntry) -> tuple[Any, ...]:
    return tuple(getattr(entry, name) for name in entry.__dataclass_fields__)
