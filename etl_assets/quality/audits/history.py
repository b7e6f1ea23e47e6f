"""The earlier days of a stream, as far as they are published: what a day is compared with.

Only days before the judged one count, by their date and not by when they were loaded, so that a backfill in the order
of the days says the same as loading each day when it was over. What belongs here: reading and choosing them. What does
not: comparing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

import duckdb

from etl_assets.quality.audits.statistics import Statistics

LOOK_BACK_DAYS = 92
RECENT_DAYS = 28
"""Earlier days with rows that shares and means are compared with."""


@dataclass(slots=True)
class History:
    """Statistics of published days."""

    days: dict[date, Statistics] = field(default_factory=dict)

    def add(self, day: date, statistics: Statistics) -> None:
        """Take in a day that is published now; days without rows are nothing to compare with."""
        if statistics.rows:
            self.days[day] = statistics

    def same_weekday(self, day: date, weeks: int) -> list[Statistics]:
        """Give the same weekdays of the last weeks, as far as they had rows."""
        before = (day - timedelta(weeks=week) for week in range(1, weeks + 1))
        return [self.days[one] for one in before if one in self.days]

    def recent(self, day: date, fits: Callable[[Statistics], bool]) -> list[Statistics]:
        """Give the last days before one, as far as they fit."""
        first = day - timedelta(days=LOOK_BACK_DAYS)
        earlier = sorted((one for one in self.days if first <= one < day), reverse=True)
        return [self.days[one] for one in earlier if fits(self.days[one])][:RECENT_DAYS]


def read_history(
    connection: duckdb.DuckDBPyConnection, stream_id: str, first: date, last: date, weeks: int
) -> History:
    """Read what is needed to judge some days.

    Args:
        connection: The warehouse.
        stream_id: The stream.
        first: First day that is judged.
        last: Last day that is judged.
        weeks: Weeks that are looked back on at least.
    """
    source, _, stream = stream_id.partition("/")
    since = first - timedelta(days=max(LOOK_BACK_DAYS, 7 * weeks))
    found = connection.execute(
        "SELECT partition, statistics FROM etl.partition_statistics "
        "WHERE source = ? AND stream = ? AND partition >= ? AND partition < ?",
        [source, stream, since, last],
    ).fetchall()
    history = History()
    for day, text in found:
        history.add(day, Statistics.from_text(text))
    return history
