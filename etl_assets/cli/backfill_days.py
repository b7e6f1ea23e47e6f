"""Which days of which streams a backfill takes up.

What belongs here: leaving out what cannot be had any more, and saying so. What does not: loading.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from etl_assets.cli.days import consecutive
from etl_assets.failures import ConfigurationError
from etl_assets.landing.store import Landing
from etl_assets.pipeline.present import can_be_had
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


def plan_days(
    streams: Sequence[Stream],
    days: Sequence[date],
    landing: Landing,
    now: datetime,
    *,
    only: Mapping[str, Collection[date]] | None = None,
) -> Plan:
    """Find the days that can be loaded: asked for, or replayed from landing.

    Args:
        streams: The streams that were asked for.
        days: Consecutive days.
        landing: What was landed so far.
        now: The time, with a zone.
        only: Days to load of each stream, by its id; all of them where not given.

    Raises:
        ConfigurationError: If nothing at all of what is wanted can be loaded.
    """
    by_days: dict[tuple[date, ...], list[Stream]] = {}
    counts: dict[str, int] = {}
    notes = []
    for stream in streams:
        wanted = [day for day in days if only is None or day in only[stream.id]]
        possible = tuple(day for day in wanted if can_be_had(stream, day, landing, now))
        if possible:
            by_days.setdefault(possible, []).append(stream)
            counts[stream.id] = len(possible)
        if len(possible) < len(wanted):
            notes.append(
                f"{stream.id}: {len(wanted) - len(possible)} of {len(wanted)} days left out: "
                "the source shows only the present"
            )
    if notes and not by_days:
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
