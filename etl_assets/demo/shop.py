"""What a shop is: the records and pages that the server asks for, whichever way they come about.

What belongs here: the `Shop` protocol, the line as both shops know it, the pages, whole-second time. What
does not: reading, generating or serving records.

Times are whole seconds since 1970 in UTC throughout the room. Both shops' records lie on whole seconds, so
any window bound may be rounded up to one without changing what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol

DAY = 86_400
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
FIRST_SECOND = (date.min.toordinal() - EPOCH_ORDINAL) * DAY
LAST_SECOND = (date.max.toordinal() - EPOCH_ORDINAL) * DAY + DAY - 1
Record = dict[str, Any]


class Line(NamedTuple):
    """One order line as the API gives it; None is JSON null, a str quantity is one that does not parse."""

    line_id: str
    invoice_no: str | None
    stock_code: str | None
    description: str | None
    quantity: int | str | None
    unit_price: str | None
    invoiced_at: str | None
    customer_id: str | None
    country: str | None


@dataclass(frozen=True, slots=True)
class LinePage:
    """Order lines as JSON objects separated by commas, how many they are, and the cursor of the next page."""

    body: bytes
    count: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Orders, whether the window holds more of them, and how many it holds in all."""

    orders: list[Record]
    has_more: bool
    total: int = 0


@dataclass(frozen=True, slots=True)
class CustomerPage:
    """Customers, and how many there are in all."""

    customers: list[Record]
    total: int


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Product changes, the last log sequence number in them, and whether the window holds more."""

    changes: list[Record]
    last_lsn: int
    has_more: bool


class CursorError(ValueError):
    """A cursor that this server did not give out."""


class Shop(Protocol):
    """The state of a shop as of `now`; windows are half-open ``[start, end)``, the future is empty."""

    @property
    def label(self) -> str:
        """What is served, in a few words for people."""
        ...

    def lines(self, start: int, end: int, cursor: str | None, limit: int, now: int) -> LinePage:
        """Order lines by (invoiced_at, line_id).

        Raises:
            CursorError: If the cursor is not one of ours.
        """
        ...

    def count_lines(self, start: int, end: int, now: int) -> int:
        """How many order lines a window has."""
        ...

    def lines_version(self, start: int, end: int, now: int) -> Hashable | None:
        """A value that stays equal for as long as the order lines of a window do; None if nothing tells."""
        ...

    def orders(self, start: int, end: int, offset: int, limit: int, now: int) -> OrderPage:
        """Orders whose latest update lies in the window, by (updated_at, order_id)."""
        ...

    def customers(self, offset: int, limit: int, now: int) -> CustomerPage:
        """All customers, by customer_id."""
        ...

    def product_changes(self, start: int, end: int, after_lsn: int, limit: int, now: int) -> ChangePage:
        """Product changes in the window and after a log sequence number, by lsn."""
        ...


def ceil_seconds(moment: datetime) -> int:
    """The first whole second at or after a time."""
    return math.ceil(moment.timestamp()) if moment.microsecond else int(moment.timestamp())


def iso(seconds: int) -> str:
    """A time as ``YYYY-MM-DDTHH:MM:SSZ``; 20 characters that sort like the times they stand for."""
    return iso_day(day_of(seconds)) + "T{:02d}:{:02d}:{:02d}Z".format(*_clock_face(seconds % DAY))


def seconds_of(text: str) -> int:
    """Read what `iso` wrote.

    Raises:
        ValueError: If the text is not of that form.
    """
    if len(text) != 20 or text[-1] != "Z":
        raise ValueError(f"not a time: {text!r}")
    return int(datetime.fromisoformat(text).timestamp())


def day_of(seconds: int) -> int:
    """The proleptic ordinal of the day that a time lies in, kept within the calendar."""
    return min(max(seconds // DAY + EPOCH_ORDINAL, date.min.toordinal()), date.max.toordinal())


def start_of(ordinal: int) -> int:
    """The first second of a day."""
    return (ordinal - EPOCH_ORDINAL) * DAY


def iso_day(ordinal: int) -> str:
    """A day as ``YYYY-MM-DD``."""
    return date.fromordinal(ordinal).isoformat()


def _clock_face(second: int) -> tuple[int, int, int]:
    return second // 3600, second // 60 % 60, second % 60
