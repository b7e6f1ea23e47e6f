"""What there is to know of a circuit breaker: whether its source is asked, since when, and why not.

What belongs here: those plain values. What does not: the breaker (`circuit`), and keeping its state (`circuit_file`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CircuitStatus(StrEnum):
    """Whether a source is asked."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """It is not, for now."""
    HALF_OPEN = "half_open"
    """One request is on its way to find out whether it answers again."""


@dataclass(frozen=True, slots=True)
class CircuitState:
    """A reading of a circuit breaker.

    Attributes:
        state: Whether the source is asked.
        since: Since when that is so, in UTC.
        failures: Attempts that failed in a row, up to now.
        last_error: The last of these failures, in one line.
    """

    state: CircuitStatus
    since: datetime
    failures: int = 0
    last_error: str = ""
