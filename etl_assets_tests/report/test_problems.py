"""What to look at: every trouble is told or counted, and what is told is on the page."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tries
from hypothesis import strategies as st

from etl_assets.marts.catalogue import Mart
from etl_assets.report.facts import Day, DayStatus, Facts, MartFacts
from etl_assets.report.lineage import BOX_HEIGHT, lineage
from etl_assets.report.problems import LISTED_DAYS, LISTED_SPANS, attention, problems_of, targets_of
from etl_assets_tests.report.years import many_streams
from etl_assets_tests.warehouse.samples import day

RUNS = st.lists(st.tuples(st.sampled_from(list(DayStatus)), st.integers(1, 120)), min_size=1, max_size=12)
ALTERNATING = [(status, 1) for _ in range(80) for status in (DayStatus.MISSING, DayStatus.LOST)]
BURIED = [(DayStatus.FAILED, 1), (DayStatus.WITHHELD, 150), (DayStatus.PUBLISHED_WITH_WARNINGS, 5)]


def with_days(facts: Facts, runs: list[tuple[DayStatus, int]]) -> Facts:
    """Give facts of one stream with days of these statuses."""
    statuses = [status for status, length in runs for _ in range(length)]
    days = tuple(Day(day(number), status, message="why") for number, status in enumerate(statuses))
    return replace(facts, streams=(replace(facts.streams[0], days=days),))


@tries(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=RUNS)
def test_each_day_with_trouble_is_told_or_counted(facts: Facts, runs: list[tuple[DayStatus, int]]) -> None:
    check_told(with_days(facts, runs))


@pytest.mark.parametrize("runs", [BURIED, ALTERNATING], ids=["buried", "alternating"])
def test_more_than_is_listed_is_counted(facts: Facts, runs: list[tuple[DayStatus, int]]) -> None:
    check_told(with_days(facts, runs))


def check_told(facts: Facts) -> None:
    """Hold that no day with trouble is lost, and that links lead to what is listed."""
    [stream] = facts.streams
    problems, left_out = problems_of(stream)
    listed = targets_of(problems)
    trouble = [one for one in stream.days if one.status is not DayStatus.PUBLISHED]
    assert len(listed) + left_out == len(trouble)
    assert sum(problem.day is not None for problem in problems) <= LISTED_DAYS
    assert sum(problem.day is None for problem in problems) <= LISTED_SPANS
    by_day = {one.day: one.status for one in stream.days}
    assert all(problem.status is by_day[problem.first] is by_day[problem.last] for problem in problems)
    ids = Counter(problem.id for problem in problems)
    assert set(ids.values()) <= {1}
    on_page = {*ids, "reasons", "schema", "s-shop-order_lines", "c-shop-order_lines"}
    found = attention(facts)
    assert {one.target for one in found} <= on_page
    for status in (DayStatus.FAILED, DayStatus.WITHHELD, DayStatus.MISSING):
        told = [one for one in found if one.status is status]
        assert len(told) == (1 if stream.counts[status] else 0)


def test_boxes_of_the_lineage_stand_clear_of_each_other(facts: Facts) -> None:
    streams = tuple(replace(facts.streams[0], stream=stream) for stream in many_streams(7))
    streams = tuple(sorted(streams, key=lambda one: one.id))
    marts = tuple(
        MartFacts(Mart(f"mart_{number}", "team:sales", "day", (streams[number % 2].id,), "", "SELECT 1"))
        for number in range(9)
    )
    picture = lineage(replace(facts, streams=streams, marts=marts))
    assert Counter(box.kind for box in picture.boxes) == {"source": 3, "stream": 7, "table": 7, "mart": 9}
    for x in {box.x for box in picture.boxes}:
        tops = sorted(box.y for box in picture.boxes if box.x == x)
        assert all(after - before >= BOX_HEIGHT for before, after in pairwise(tops))
        assert tops[-1] + BOX_HEIGHT <= picture.height
    assert len(picture.lines) == 7 + 7 + 9
