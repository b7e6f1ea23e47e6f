"""Days on the command line: reading them and checking that they make a range that can be loaded."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from etl_assets.failures import ConfigurationError
from etl_assets.settings import parse_iso_day


def parse_day(text: str, option: str) -> date:
    """Read a day.

    Raises:
        ConfigurationError: If it is not a day of the calendar, written YYYY-MM-DD.
    """
    try:
        return parse_iso_day(text)
    except ValueError:
        raise ConfigurationError(f"{option} {text!r} is not a day", hint="write it as YYYY-MM-DD") from None


def last_full_day() -> date:
    """Give the newest UTC day that is over."""
    return datetime.now(UTC).date() - timedelta(days=1)


def day_range(first: str, last: str) -> list[date]:
    """Give all days of a range, both ends included.

    Raises:
        ConfigurationError: If an end is no day, the range is backward, or it reaches beyond the last full day.
    """
    start, end = parse_day(first, "--from"), parse_day(last, "--to")
    if start > end:
        raise ConfigurationError(f"--from {start} is after --to {end}", hint="swap them")
    if end > last_full_day():
        raise ConfigurationError(
            f"--to {end} is not over yet", hint=f"the last full UTC day is {last_full_day()}"
        )
    return days_between(start, end)


def default_range(first: str, last: str, start_date: date) -> tuple[str, str]:
    """Fill in ends that were not named: the first partition, and the newest day that is over."""
    return first or start_date.isoformat(), last or max(start_date, last_full_day()).isoformat()


def days_between(start: date, end: date) -> list[date]:
    """Give all days from one to the other, both included."""
    return [start + timedelta(days=offset) for offset in range((end - start).days + 1)]


def consecutive(days: Iterable[date]) -> list[list[date]]:
    """Cut days, which are in order, into spans without a gap, as a range run needs them."""
    spans: list[list[date]] = []
    for day in days:
        if spans and day - spans[-1][-1] == timedelta(days=1):
            spans[-1].append(day)
        else:
            spans.append([day])
    return spans
