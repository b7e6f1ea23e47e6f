"""Days on the command line."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from etl_assets.cli.days import consecutive, day_range, days_between, last_full_day, parse_day
from etl_assets.failures import ConfigurationError


def test_both_ends_are_included() -> None:
    assert day_range("2024-02-28", "2024-03-01") == [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
    assert day_range("2024-02-29", "2024-02-29") == [date(2024, 2, 29)]
    assert len(days_between(date(2010, 12, 1), date(2011, 12, 13))) == 378


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2025-02-30",
        "2025-13-01",
        "20250101",
        "2025-1-1",
        "2025-01-01T00",
        "01.01.2025",
    ],
)
def test_what_is_no_day(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_day(text, "--from")
    assert str(caught.value) == f"--from {text!r} is not a day (write it as YYYY-MM-DD)"


def test_range_must_go_forward() -> None:
    with pytest.raises(ConfigurationError) as caught:
        day_range("2025-02-01", "2025-01-01")
    assert str(caught.value) == "--from 2025-02-01 is after --to 2025-01-01 (swap them)"


def test_range_must_be_over() -> None:
    today = datetime.now(UTC).date()
    assert last_full_day() == today - timedelta(days=1)
    assert day_range(str(last_full_day()), str(last_full_day())) == [last_full_day()]
    with pytest.raises(ConfigurationError, match=r"is not over yet \(the last full UTC day is "):
        day_range("2025-01-01", str(today + timedelta(days=1)))


@pytest.mark.parametrize(
    ("days", "runs"),
    [([], []), ([1], [[1]]), ([1, 2, 3], [[1, 2, 3]]), ([1, 3, 4, 9], [[1], [3, 4], [9]])],
)
def test_days_that_follow_one_another_are_one_run(days: list[int], runs: list[list[int]]) -> None:
    found = consecutive([date(2025, 1, day) for day in days])
    assert [[day.day for day in run] for run in found] == runs
