"""Reading Dagster's event log without missing anything, on SQLite and on PostgreSQL.

Events get their numbers when they are inserted, and become visible when they are committed: on PostgreSQL one with a
greater number may be seen first. So a number is left behind only a minute after it was seen; until then everything
after it is looked for again, and what was read already is left out. Where Dagster keeps the events of runs apart
(SQLite), the index has the kinds that are read here. What belongs here: the cursor and the query. What does not: what
an event means (`run_failures`, `check_results`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import dagster as dg
import sqlalchemy as sa
import structlog
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._serdes import deserialize_value

from etl_assets.failures import EtlError

log = structlog.get_logger(__name__)

READ_TYPES = (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
SETTLING_SECONDS = 60.0
EVENTS_AT_ONCE = 250


@dataclass(slots=True)
class EventCursor:
    """How far the log has been read.

    Attributes:
        settled: Everything up to this number has been read for good.
        seen: Numbers after it that have been read, by the time at which they were, in seconds since 1970.
        awaited: Failed runs whose repeat has not been launched yet: number and time of their failure.
    """

    settled: int = 0
    seen: dict[float, list[int]] = field(default_factory=dict)
    awaited: dict[str, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what was kept."""
        value: dict[str, Any] = json.loads(text)
        seen = {float(at): list(numbers) for at, numbers in value["seen"]}
        awaited = {run_id: (int(number), float(at)) for run_id, (number, at) in value["awaited"].items()}
        return cls(int(value["settled"]), seen, awaited)

    def to_text(self) -> str:
        """Write it down."""
        return json.dumps(
            {"settled": self.settled, "seen": list(self.seen.items()), "awaited": self.awaited},
            separators=(",", ":"),
        )

    def read(self, numbers: Iterable[int], left: Iterable[int], now: datetime) -> None:
        """Note what has been read.

        Args:
            numbers: Numbers that have been read now.
            left: Numbers that are there, and were left for later.
            now: The time.
        """
        if numbers := sorted(numbers):
            self.seen.setdefault(now.timestamp(), []).extend(numbers)
        most = min(left, default=None)
        for at, found in sorted(self.seen.items()):
            if at > now.timestamp() - SETTLING_SECONDS:
                continue
            passed = [number for number in found if most is None or number < most]
            self.settled = max([self.settled, *passed])
        self.seen = {
            at: rest
            for at, found in self.seen.items()
            if (rest := [number for number in found if number > self.settled])
        }

    def known(self) -> set[int]:
        """Give the numbers after the settled one that have been read."""
        return {number for numbers in self.seen.values() for number in numbers}


def storage_of(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    """Give the instance's event log.

    Raises:
        EtlError: If it is of a kind that cannot be read by number.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise EtlError(
            f"alerts cannot read Dagster's event log of kind {type(storage).__name__}",
            hint="use Dagster's storage on SQLite or PostgreSQL",
        )
    return storage


def first_number_since(instance: dg.DagsterInstance, since: datetime) -> int:
    """Give the number before the first event that happened after a time: where a new cursor begins."""
    before = since.replace(tzinfo=None)
    query = sa.select(sa.func.max(Events.c.id)).where(Events.c.timestamp < before)
    with storage_of(instance).index_connection() as connection:
        return int(connection.execute(query).scalar() or 0)


def numbers_after(instance: dg.DagsterInstance, settled: int) -> list[int]:
    """Give the numbers of all events that are read here, after one of them, in order."""
    query = (
        sa.select(Events.c.id)
        .where(Events.c.id > settled)
        .where(Events.c.dagster_event_type.in_([kind.value for kind in READ_TYPES]))
        .order_by(Events.c.id)
    )
    with storage_of(instance).index_connection() as connection:
        return [int(row[0]) for row in connection.execute(query)]


def entries_of(instance: dg.DagsterInstance, numbers: Sequence[int]) -> Iterator[tuple[int, EventLogEntry]]:
    """Read events; one that cannot be read is left out, with a line in the log."""
    query = sa.select(Events.c.id, Events.c.event).where(Events.c.id.in_(numbers)).order_by(Events.c.id)
    with storage_of(instance).index_connection() as connection:
        rows = connection.execute(query).fetchall()
    for number, text in rows:
        try:
            yield int(number), deserialize_value(text, EventLogEntry)
        except Exception as error:
            # Written by another version of Dagster, perhaps; it must not keep all others from being read.
            log.warning("event_unreadable", number=number, reason=type(error).__name__)
