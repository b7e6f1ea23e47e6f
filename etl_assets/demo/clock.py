"""The shop's adjustable clock.

What belongs here: what the shop believes the time to be, and how that is set. What does not: reading the time
for anything but the shop's state (HTTP dates, for one, use the machine's clock).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


class ControlError(ValueError):
    """A switch or a command that cannot be used; the message is one line for a person."""


def parse_time(text: str, *, name: str = "time") -> datetime:
    """Read an RFC 3339 time.

    Raises:
        ControlError: If the text is no time or has no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ControlError(f"{name} is not an RFC 3339 time such as 2025-01-31T08:00:00Z: {text!r}") from None
    if moment.tzinfo is None:
        raise ControlError(f"{name} has no zone, end it with Z for UTC: {text!r}")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ControlError(f"{name} is out of range: {text!r}") from None


def format_time(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with ``Z``."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class Clock:
    """Real time by default; a fixed time or an offset from real time when set.

    Attributes:
        fixed: The time at which the clock stands still, or None.
        offset: Added to real time while no fixed time is set.
    """

    fixed: datetime | None = None
    offset: timedelta = timedelta()

    def now(self) -> datetime:
        """The shop's present, in UTC."""
        return self.fixed if self.fixed is not None else datetime.now(UTC) + self.offset

    def set_fixed(self, moment: datetime) -> None:
        """Stand still at a time.

        Raises:
            ControlError: If the time has no zone.
        """
        if moment.tzinfo is None:
            raise ControlError("the clock needs a time with a zone, such as one in UTC")
        self.fixed, self.offset = moment.astimezone(UTC), timedelta()

    def set_offset(self, offset: timedelta) -> None:
        """Run with real time, moved by an offset."""
        self.fixed, self.offset = None, offset

    def set_real(self) -> None:
        """Follow real time again."""
        self.set_offset(timedelta())

    def advance(self, step: timedelta) -> None:
        """Move the clock on (or back), keeping its mode."""
        if self.fixed is not None:
            self.fixed += step
        else:
            self.offset += step

    def describe(self) -> dict[str, str | float]:
        """The clock's state as JSON values."""
        mode = "fixed" if self.fixed is not None else "offset" if self.offset else "real"
        return {"now": format_time(self.now()), "mode": mode, "offset_seconds": self.offset.total_seconds()}

    def apply(self, change: Mapping[str, Any]) -> None:
        """Set the clock from one JSON command.

        Args:
            change: Exactly one of ``{"fixed": time}``, ``{"offset_seconds": n}``, ``{"advance_seconds": n}``,
                ``{"real": true}``.

        Raises:
            ControlError: If the command is none of these.
        """
        if len(change) != 1:
            raise ControlError("give exactly one of fixed, offset_seconds, advance_seconds, real")
        [(name, value)] = change.items()
        if name == "fixed":
            self.set_fixed(parse_time(value, name="fixed"))
        elif name == "real" and value is True:
            self.set_real()
        elif name in ("offset_seconds", "advance_seconds"):
            step = _seconds(name, value)
            if name == "offset_seconds":
                self.set_offset(step)
            else:
                self.advance(step)
        else:
            raise ControlError(
                f"unknown clock command {name!r}; use fixed, offset_seconds, advance_seconds or real"
            )


def _seconds(name: str, value: Any) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ControlError(f"{name} must be a number of seconds, not {value!r}")
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise ControlError(f"{name} is out of range: {value!r}") from None
