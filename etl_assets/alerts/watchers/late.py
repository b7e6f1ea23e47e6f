"""Days that should have been loaded by now: freshness by partition, not by the latest load of whichever day.

What belongs here: deadlines. What does not: days that were tried and not published (`partitions`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import duckdb

from etl_assets.alerts.conditions import Condition, Kind, Report
from etl_assets.alerts.engine import Scene


def late_partitions(
    connection: duckdb.DuckDBPyConnection | None, scene: Scene, memory: dict[str, Any]
) -> Report:
    """Report every day whose deadline has passed since its stream is known, and that nobody has tried to load."""
    known: dict[str, str] = memory.setdefault("known", {})
    for stream in scene.streams:
        # A stream that is new owes nothing of the past.
        known.setdefault(stream, scene.now.isoformat())
    expected = [(stream, day) for stream in scene.streams for day in _expected(scene, stream, known[stream])]
    tried = _tried(connection, min((day for _, day in expected), default=None))
    # A first attempt that is under way and has failed so far is none yet.
    tried -= {(stream, day) for stream, day in tried if f"{stream} {day}" in memory.get("under_way", ())}
    late = [_late(scene, stream, day) for stream, day in expected if (stream, day) not in tried]
    return Report(conditions=late, complete=frozenset({Kind.PARTITION_LATE}))


def deadline_of(scene: Scene, stream: str, day: date) -> datetime | None:
    """Give when a day of a stream must have been loaded, UTC; None where it may take any time."""
    at = scene.rules.of_stream(stream).deadline or scene.rules.deadline
    if not isinstance(at, time):
        return None
    return datetime.combine(day + timedelta(days=1), at, tzinfo=UTC)


def _expected(scene: Scene, stream: str, known_since: str) -> Iterator[date]:
    since = datetime.fromisoformat(known_since)
    day = max(since.date() - timedelta(days=2), scene.settings.start_date)
    while day < scene.now.date():
        deadline = deadline_of(scene, stream, day)
        if deadline is None:
            return
        if since <= deadline <= scene.now:
            yield day
        day += timedelta(days=1)


def _tried(connection: duckdb.DuckDBPyConnection | None, first: date | None) -> set[tuple[str, date]]:
    if connection is None or first is None:
        return set()
    sql = "SELECT source || '/' || stream, partition FROM etl.partitions WHERE partition >= ?"
    return {(row[0], row[1]) for row in connection.execute(sql, [first]).fetchall()}


def _late(scene: Scene, stream: str, day: date) -> Condition:
    deadline = deadline_of(scene, stream, day) or scene.now
    return Condition(
        kind=Kind.PARTITION_LATE,
        subject=stream,
        key=day.isoformat(),
        ref=deadline.isoformat(),
        at=deadline,
        owner=scene.owner_of(stream),
        error=f"the day was due by {deadline:%Y-%m-%d %H:%M} UTC, and nothing has tried to load it",
        cause="late",
        link=f"/assets/warehouse/{stream}?view=partitions&partition={day.isoformat()}",
    )
