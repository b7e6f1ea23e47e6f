"""Spans of time and times of day, as people write them: `30s`, `15m`, `2h`, `1d`, `07:00`."""

from __future__ import annotations

import re
from datetime import time, timedelta

_SPAN = re.compile(r"^(\d{1,6})\s*(s|m|h|d)$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_TIME = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)$")


def parse_span(text: str) -> timedelta:
    """Read a span of time.

    Raises:
        ValueError: If it is none.
    """
    found = _SPAN.match(text.strip())
    if not found:
        raise ValueError("must be a number and a unit, such as 30s, 15m, 2h or 1d")
    span = timedelta(**{_UNITS[found[2]]: int(found[1])})
    if not timedelta(0) < span <= timedelta(days=366):
        raise ValueError("must be longer than nothing and no longer than a year")
    return span


def parse_time(text: str) -> time:
    """Read a time of day.

    Raises:
        ValueError: If it is none.
    """
    found = _TIME.match(text.strip())
    if not found:
        raise ValueError("must be a time of day, HH:MM")
    return time(int(found[1]), int(found[2]))


def spell_span(span: timedelta) -> str:
    """Write a span of time in its two greatest units: `2 h 5 min`."""
    seconds = max(int(span.total_seconds()), 0)
    parts = [
        (seconds // 86_400, "d"),
        (seconds // 3_600 % 24, "h"),
        (seconds // 60 % 60, "min"),
        (seconds % 60, "s"),
    ]
    first = next((number for number, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount) or "0 s"
