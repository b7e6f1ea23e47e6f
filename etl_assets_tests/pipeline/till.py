"""A till with events on pages behind a cursor, and people whom it shows as they are now.

What belongs here: what it serves, and the streams that read it. What does not: loading them.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from datetime import date

import pandas as pd

from etl_assets.streams import parse
from etl_assets.streams.base import (
    Contract,
    Cursor,
    Field,
    OffsetLimit,
    ReplacePartition,
    Rest,
    RestSource,
    RetryBudget,
    Snapshot,
    Stream,
    Timestamp,
    WindowParameters,
)
from etl_assets_tests.sources.scripted import Asked, Reply, Script

DAY = date(2025, 3, 10)
PAGES, SIZE = 6, 4


class Events(Contract):
    """Something that happened."""

    event_id: str = Field(unique=True)
    happened_at: Timestamp = Field()


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {"event_id": parse.text(raw["event_id"]), "happened_at": parse.timestamps(raw["happened_at"])}
    )


SOURCE = RestSource(name="till", retry=RetryBudget(attempts=2, first_delay=0.001))
BY_WINDOW = Rest(
    path="/v1/events",
    window=WindowParameters("from", "to"),
    paginator=Cursor(page_size=SIZE),
    records="data",
)
PEOPLE = Rest(path="/v1/people", paginator=OffsetLimit(page_size=SIZE, total="total"), records="data")
EVENTS = Stream(
    source=SOURCE,
    name="events",
    owner="team:till",
    extract=BY_WINDOW,
    contract=Events,
    transform=clean,
    write=ReplacePartition(),
    window_column="happened_at",
    business_date="happened_at",
)
PRESENT = replace(
    EVENTS,
    name="people",
    extract=PEOPLE,
    write=Snapshot(key="event_id"),
    window_column=None,
)


def event(number: int) -> dict[str, str]:
    """Give a record."""
    return {"event_id": str(number), "happened_at": f"{DAY}T10:00:{number:02}Z"}


@dataclass
class Till:
    """Pages behind a cursor; one of them can be made to fail, or to stall.

    Attributes:
        failing: Replies to cursors, instead of their pages.
        stalled: Set when a page is asked for that never comes.
    """

    failing: dict[str, Reply] = field(default_factory=dict)
    stalled: threading.Event = field(default_factory=threading.Event)

    def __call__(self, asked: Asked, number: int) -> Reply:
        """Answer."""
        cursor = asked.parameters.get("cursor", "0")
        if cursor in self.failing:
            if self.failing[cursor].stall_after is not None:
                self.stalled.set()
            return self.failing[cursor]
        page = int(cursor)
        body = {
            "data": [event(page * SIZE + row) for row in range(SIZE)],
            "next_cursor": str(page + 1) if page + 1 < PAGES else None,
        }
        return Reply(json.dumps(body).encode())


def people(count: int) -> Script:
    """Serve people by offset, all of them."""

    def script(asked: Asked, number: int) -> Reply:
        offset = int(asked.parameters["offset"])
        rows = [event(row) for row in range(count)][offset : offset + SIZE]
        return Reply(
            json.dumps({"data": rows, "total": count}).encode(), headers={"ETag": f'"{count} {offset}"'}
        )

    return script
