"""Which days of which streams a backfill takes up.

What belongs here: leaving out what cannot be had any more, and saying so. What does not: loading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from etl_assets.cli.days import consecutive
from etl_assets.failures import ConfigurationError
from etl_assets.landing.store import Landing
from etl_assets.streams.base import Stream


@dataclass(frozen=True, slots=True)
class Part:
    """Streams that are loaded together, and the days of all of them, one after the other without a gap."""

    streams: tuple[Stream, ...]
    days: list[date]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backfill does.

    Attributes:
        parts: What is loaded together.
        days: Number of days of each stream that has any, by its id.
        notes: One line for each stream of which days are left out.
    """

    parts: list[Part]
    days: dict[str, int]
    notes: list[str] = field(default_factory=list)


def plan_days(streams: Sequence[Stream], days: Sequence[date], landing: Landing, now: datetime) -> Plan:
    """Find the days that can be loaded: asked for, or replayed from landing.

    Args:
        streams: The streams that were asked for.
        days: Consecutive days.
        landing: What was landed so far.
        now: The time, with a zone.

    Raises:
        ConfigurationError: If nothing at all can be loaded.
    """
    by_days: dict[tuple[date, ...], list[Stream]] = {}
    counts: dict[str, int] = {}
    notes = []
    for stream in streams:
        possible = tuple(day for day in days if _can_be_had(stream, day, landing, now))
        if possible:
            by_days.setdefault(possible, []).append(stream)
            counts[stream.id] = len(possible)
        if len(possible) < len(days):
            notes.append(
                f"{stream.id}: {len(days) - len(possible)} of {len(days)} days left out: "
                "the source shows only the present"
            )
    if streams and not by_days:
        raise ConfigurationError("; ".join(notes), hint="nothing of it was landed while it lasted")
    return Plan(
        parts=[
            Part(tuple(sharing), span)
            for possible, sharing in by_days.items()
            for span in consecutive(possible)
        ],
        days=counts,
        notes=notes,
    )


def _can_be_had(stream: Stream, day: date, landing: Landing, now: datetime) -> bool:
    askable = stream.extract.askable(day)
    return askable is None or now < askable.end or landing.latest_version(stream.id, day) is not None
