"""Spans of time that are asked for.

What belongs here: plain values about time. What does not: reading anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span of time `[start, end)`, both in UTC."""

    start: datetime
    end: datetime

    @classmethod
    def of_day(cls, day: date) -> Window:
        """Give the window of one UTC day."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return cls(start, start + timedelta(days=1))

    def widened(self, before: timedelta) -> Window:
        """Give the window with an earlier start."""
        return Window(self.start - before, self.end)
