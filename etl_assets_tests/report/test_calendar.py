"""Days of a calendar stand in the row of their weekday and the column of their week, each once."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from etl_assets.report.calendar import LONGEST_BLOCK, WEEKDAYS, calendar
from etl_assets.report.facts import Day, DayStatus, spans


@given(first=st.dates(date(2000, 1, 1), date(2100, 1, 1)), length=st.integers(1, 1200))
def test_each_day_stands_in_its_place(first: date, length: int) -> None:
    days = [Day(first + timedelta(days=number), DayStatus.PUBLISHED, number) for number in range(length)]
    blocks = calendar(days, {first: "here"})
    found = []
    for block in blocks:
        assert len(block.weeks) <= LONGEST_BLOCK
        assert sum(weeks for _, weeks in block.months) == len(block.weeks)
        assert [name for name, _ in block.rows] == list(WEEKDAYS)
        for number, (_, cells) in enumerate(block.rows):
            assert len(cells) == len(block.weeks)
            for week, cell in zip(block.weeks, cells, strict=True):
                if cell is not None:
                    assert cell.day == week + timedelta(days=number)
                    found.append(cell)
    assert sorted(cell.day for cell in found) == [day.day for day in days]
    assert {cell.day for cell in found if cell.target} == {first}


@given(st.lists(st.sampled_from(list(DayStatus)), max_size=60))
def test_spans_are_the_days_without_an_attempt(statuses: list[DayStatus]) -> None:
    first = date(2025, 1, 1)
    days = [Day(first + timedelta(days=number), status) for number, status in enumerate(statuses)]
    found = spans(days)
    told = {span.first + timedelta(days=number): span.status for span in found for number in range(span.days)}
    assert told == {day.day: day.status for day in days if not day.status.is_attempted}
    for one, after in pairwise(found):
        assert one.status is not after.status or after.first - one.last > timedelta(days=1)
