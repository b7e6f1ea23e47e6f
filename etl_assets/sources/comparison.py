"""Whether a source still has what was loaded of a day, told without reading the day.

What belongs here: what is compared with what, and what came of it. What does not: asking one kind of source (its
reader), and what follows from a difference (`etl_assets.pipeline.reconcile`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Match(StrEnum):
    """What a comparison came to."""

    EQUAL = "equal"
    DRIFTED = "drifted"
    """The source has something else by now."""
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Held:
    """What is here of a day.

    Attributes:
        records: Records that its last published load was made from.
        read_at: The source was read then or later, in UTC.
        page_bytes: Bytes of each landed page, in order; None where the load's landed answers are there no more.
        last_page: Reads the last of them; None where that cannot be.
    """

    records: int
    read_at: datetime
    page_bytes: Sequence[int] | None = None
    last_page: Callable[[], bytes | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a source tells of a day, against what is held of it.

    Attributes:
        match: Whether they agree.
        there: Records at the source, where it tells a number.
        reason: What differs, or why nothing can be told.
        whole_stream: Whether it will be no different for the stream's other days.
    """

    match: Match
    there: int | None = None
    reason: str = ""
    whole_stream: bool = False

    @classmethod
    def of_counts(cls, held: Held, there: int) -> Comparison:
        """Compare numbers of records."""
        return cls(Match.EQUAL if there == held.records else Match.DRIFTED, there)

    @classmethod
    def unknown(cls, reason: str, *, whole_stream: bool = False) -> Comparison:
        """Say that nothing can be told, and why."""
        return cls(Match.UNKNOWN, reason=reason, whole_stream=whole_stream)
