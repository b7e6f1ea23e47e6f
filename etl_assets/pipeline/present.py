"""Whether a day can be had at all: a source that shows only the present cannot be asked for the days before.

What belongs here: that one question, of a stream or of what is remembered of one. What does not: what to do about it.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Protocol

from etl_assets.landing.store import Landing
from etl_assets.streams.windows import Window


class Askable(Protocol):
    """What knows when its days can be asked for."""

    @property
    def id(self) -> str:
        """`<source>/<name>`."""

    def askable(self, day: date) -> Window | None:
        """Give the span of time in which a day can be asked for; None where that is at any time."""


def can_be_had(stream: Askable, day: date, landing: Landing, now: datetime) -> bool:
    """Tell whether a day can be loaded at all: asked for, or, of a source that shows only the present, replayed.

    Args:
        stream: The stream.
        day: The day.
        landing: What was landed so far.
        now: The time, with a zone.
    """
    askable = stream.askable(day)
    return askable is None or now < askable.end or landing.latest_version(stream.id, day) is not None
