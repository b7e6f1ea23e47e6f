"""Which days a backfill takes up, where a source shows only the present."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from etl_assets.cli.backfill_days import plan_days
from etl_assets.cli.days import days_between
from etl_assets.failures import ConfigurationError
from etl_assets.landing.store import Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets_tests.pipeline.till import EVENTS, PRESENT

FIRST = date(2025, 3, 1)
DAYS = days_between(FIRST, date(2025, 3, 30))
NOW = datetime(2025, 3, 31, 2, tzinfo=UTC)
"""In the night after the last day."""


def day(number: int) -> date:
    """Give a day of the month."""
    return date(2025, 3, number)


def land(landing: Landing, *numbers: int) -> None:
    """Land days of the stream that shows the present."""
    for number in numbers:
        window = PRESENT.extract.window_of(day(number))
        with LandingWriter(landing, PRESENT.id, day(number), run_id="r", window=window) as writer:
            writer.finish()


def test_streams_that_can_be_asked_for_at_any_time_stay_together(tmp_path: Path) -> None:
    other = replace(EVENTS, name="others")
    plan = plan_days([EVENTS, other], DAYS, Landing(tmp_path), NOW)
    assert [(part.streams, part.days) for part in plan.parts] == [((EVENTS, other), DAYS)]
    assert (plan.days, plan.notes) == ({"till/events": 30, "till/others": 30}, [])


def test_days_that_have_gone_are_left_out_with_a_note(tmp_path: Path) -> None:
    plan = plan_days([PRESENT, EVENTS], DAYS, Landing(tmp_path), NOW)
    assert [(part.streams, part.days) for part in plan.parts] == [
        ((PRESENT,), [day(30)]),
        ((EVENTS,), DAYS),
    ]
    assert plan.days == {"till/people": 1, "till/events": 30}
    assert plan.notes == ["till/people: 29 of 30 days left out: the source shows only the present"]


def test_landed_days_are_replayed_in_spans_without_gaps(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    land(landing, 2, 3, 7, 29)
    plan = plan_days([PRESENT], DAYS, landing, NOW)
    assert [part.days for part in plan.parts] == [[day(2), day(3)], [day(7)], [day(29), day(30)]]
    assert plan.notes == ["till/people: 25 of 30 days left out: the source shows only the present"]


def test_a_stream_without_any_day_costs_the_others_nothing(tmp_path: Path) -> None:
    plan = plan_days([PRESENT, EVENTS], DAYS[:3], Landing(tmp_path), NOW)
    assert [part.streams for part in plan.parts] == [(EVENTS,)]
    assert plan.days == {"till/events": 3}
    assert plan.notes == ["till/people: 3 of 3 days left out: the source shows only the present"]


@pytest.mark.parametrize(
    ("now", "possible"),
    [(NOW, 1), (NOW + timedelta(hours=21), 1), (NOW + timedelta(hours=22), 0)],
    ids=["in the night", "to the end of the next day", "not later"],
)
def test_a_day_lasts_to_the_end_of_the_next(tmp_path: Path, now: datetime, possible: int) -> None:
    assert plan_days([PRESENT, EVENTS], DAYS, Landing(tmp_path), now).days.get("till/people", 0) == possible


def test_nothing_at_all_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan_days([PRESENT, replace(PRESENT, name="shops")], DAYS[:3], Landing(tmp_path), NOW)
    assert str(caught.value) == (
        "till/people: 3 of 3 days left out: the source shows only the present; "
        "till/shops: 3 of 3 days left out: the source shows only the present "
        "(nothing of it was landed while it lasted)"
    )
