"""The calendar of a stream: a column for each week, a row for each weekday, a cell for each day.

What belongs here: where a day stands, and what its cell says. What does not: what the cells look like (`templates`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from etl_assets.report.facts import Day, DayStatus

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LONGEST_BLOCK = 54
"""Weeks that stand side by side; a longer period begins a new block with each year."""
ROOMY = 14
"""Weeks up to which cells are large enough to show the day of the month."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One day: its status, what it says, and the id of what is known of it, if anything is."""

    day: date
    status: DayStatus
    text: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Weeks that stand side by side.

    Attributes:
        title: The year or years.
        months: Names of months, each over its number of weeks.
        weeks: The Monday of each week.
        rows: Weekdays with their cells; None where a day is outside the period.
    """

    title: str
    months: tuple[tuple[str, int], ...]
    weeks: tuple[date, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]

    @property
    def is_roomy(self) -> bool:
        """Whether there is room for the days of the month."""
        return len(self.weeks) <= ROOMY


def calendar(days: Sequence[Day], told: Mapping[date, str]) -> list[Block]:
    """Lay out the days of a stream.

    Args:
        days: The days, in order and without gaps.
        told: Ids of what the page tells of a day, by day.
    """
    cells = [Cell(day.day, day.status, _text(day), told.get(day.day, "")) for day in days]
    if not cells:
        return []
    if len(_weeks(cells[0].day, cells[-1].day)) <= LONGEST_BLOCK:
        return [_block(cells)]
    return [_block(list(year)) for _, year in groupby(cells, key=lambda cell: cell.day.year)]


def _block(cells: Sequence[Cell]) -> Block:
    first, last = cells[0].day, cells[-1].day
    weeks = _weeks(first, last)
    by_day = {cell.day: cell for cell in cells}
    months = tuple(
        (f"{name:%b}", len(list(group)))
        for name, group in groupby(max(week, first).replace(day=1) for week in weeks)
    )
    rows = tuple(
        (name, tuple(by_day.get(week + timedelta(days=number)) for week in weeks))
        for number, name in enumerate(WEEKDAYS)
    )
    title = f"{first.year}" if first.year == last.year else f"{first.year} to {last.year}"
    return Block(title, months, tuple(weeks), rows)


def _weeks(first: date, last: date) -> list[date]:
    """Give the Mondays of the weeks that days are in."""
    monday = first - timedelta(days=first.weekday())
    return [monday + timedelta(weeks=number) for number in range((last - monday).days // 7 + 1)]


def _text(day: Day) -> str:
    if not day.status.is_attempted:
        return day.status.words
    text = f"{day.status.words}, {day.extracted:,} rows"
    return f"{text}, {day.quarantined:,} quarantined" if day.quarantined else text
