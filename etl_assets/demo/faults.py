"""Faults that can be switched on: what goes wrong, how often, and with which request.

What belongs here: the switches, their validation, and the decision about one request. What does not: carrying
the decision out on a connection (see `middleware`).

A decision depends on the seed, the request's path and query, and how often that very request came before;
never on the order in which different requests arrive. So a run is repeatable even when its requests run at
once.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from typing import Any

from etl_assets.demo.clock import ControlError, parse_time

SHARES = ("errors", "rate_limited", "cut_off", "html")
ERROR_STATUSES = (500, 502, 503, 504)
WINDOW_PARAMETERS = (("from", "to"), ("updated_from", "updated_to"))
LONGEST_LATENCY = 3_600.0
HALF_DAY = timedelta(hours=12)


class Fate(StrEnum):
    """What happens to a request."""

    ANSWERED = "answered"
    ERROR = "error"
    RATE_LIMITED = "rate_limited"
    CUT_OFF = "cut_off"
    HTML = "html"
    DOWN = "down"
    DAY_FAILS = "day_fails"


@dataclass(slots=True)
class Faults:
    """The switches; may be changed at any time.

    Attributes:
        errors: Share of requests, 0 to 1, answered 500, 502, 503 or 504.
        rate_limited: Share answered 429 with ``Retry-After``, as seconds or as an HTTP date in turn.
        cut_off: Share whose connection closes in the middle of the body.
        html: Share answered by a proxy's HTML page with status 200.
        latency: Seconds to wait before every answer.
        down: Close every connection without an answer.
        schema_drift: Add a field that no contract lists to every record.
        renamed_fields: Fields of records to give out under another name.
        retry_after: Whole seconds that 429 asks to wait.
        fail_days: Days ``YYYY-MM-DD`` whose windows are always answered `fail_status`.
        fail_status: That status.
        fail_path: Only paths that start with this fail by `fail_days`.
        empty_days: Days whose windows are answered with no rows.
        seed: Another seed strikes other requests.
    """

    errors: float = 0.0
    rate_limited: float = 0.0
    cut_off: float = 0.0
    html: float = 0.0
    latency: float = 0.0
    down: bool = False
    schema_drift: bool = False
    renamed_fields: dict[str, str] = field(default_factory=dict)
    retry_after: int = 1
    fail_days: list[str] = field(default_factory=list)
    fail_status: int = 422
    fail_path: str = "/v1/"
    empty_days: list[str] = field(default_factory=list)
    seed: int = 0

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Look every switch over.

        Raises:
            ControlError: If one is of the wrong kind or out of range; one line that names it.
        """
        for name in SHARES:
            _number(name, getattr(self, name), 0, 1)
        if sum(getattr(self, name) for name in SHARES) > 1 + 1e-9:
            raise ControlError(f"the shares {', '.join(SHARES)} must not add up to more than 1")
        _number("latency", self.latency, 0, LONGEST_LATENCY)
        for name, low, high in (
            ("retry_after", 0, 3_600),
            ("fail_status", 400, 599),
            ("seed", -(2**63), 2**63),
        ):
            _number(name, getattr(self, name), low, high, whole=True)
        for name in ("down", "schema_drift"):
            if not isinstance(getattr(self, name), bool):
                raise ControlError(f"{name} must be true or false, not {getattr(self, name)!r}")
        _text("fail_path", self.fail_path)
        if not isinstance(self.renamed_fields, dict):
            raise ControlError("renamed_fields must be an object of old and new names")
        for old, new in self.renamed_fields.items():
            _text("a name in renamed_fields", old)
            _text("a name in renamed_fields", new)
        for name in ("fail_days", "empty_days"):
            _days(name, getattr(self, name))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Faults:
        """Make faults from a JSON object; what it leaves out is off.

        Raises:
            ControlError: If a key is unknown or a value does not fit; one line.
        """
        known = [each.name for each in fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ControlError(f"unknown fault {unknown[0]!r}; known are {', '.join(known)}")
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The switches as JSON values."""
        return asdict(self)

    def set_to(self, other: Faults) -> None:
        """Take over every switch of another set, so that whoever holds this object sees them."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))

    def empties(self, query: Mapping[str, str]) -> bool:
        """Whether a request's window is to hold no rows."""
        return bool(self.empty_days) and _touches(query, self.empty_days)

    def fails(self, path: str, query: Mapping[str, str]) -> bool:
        """Whether a request's window fails for good."""
        return bool(self.fail_days) and path.startswith(self.fail_path) and _touches(query, self.fail_days)


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one request, and a number that settles the details."""

    fate: Fate
    roll: int


class Decider:
    """Decides about requests, one after another."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._asked: Counter[str] = Counter()

    def decide(self, path: str, query_string: str, query: Mapping[str, str]) -> Decision:
        """Decide about a request.

        Args:
            path: Its path.
            query_string: Its query as it came.
            query: Its query, parsed.
        """
        faults = self._faults
        if faults.down:
            return Decision(Fate.DOWN, 0)
        if faults.fails(path, query):
            return Decision(Fate.DAY_FAILS, 0)
        shares = [(Fate(fate), share) for fate, share in _shares(faults) if share > 0]
        if not shares or path == "/v1/health":
            return Decision(Fate.ANSWERED, 0)
        request = f"{path}?{query_string}"
        self._asked[request] += 1
        roll = zlib.crc32(f"{faults.seed} {self._asked[request]} {request}".encode())
        # A checksum of like texts is not spread evenly; multiplying by a large odd number evens it out.
        place = (roll * 0x9E3779B97F4A7C15 % 2**64) / 2**64
        for fate, share in shares:
            if place < share:
                return Decision(fate, roll)
            place -= share
        return Decision(Fate.ANSWERED, roll)

    def forget(self) -> None:
        """Begin again, as if no request had come before."""
        self._asked.clear()


def _shares(faults: Faults) -> list[tuple[str, float]]:
    return [
        (Fate.ERROR, faults.errors),
        (Fate.RATE_LIMITED, faults.rate_limited),
        (Fate.CUT_OFF, faults.cut_off),
        (Fate.HTML, faults.html),
    ]


def days_of_window(query: Mapping[str, str]) -> tuple[date, date] | None:
    """The days that a request is about, both included: whose noon its window holds, else that of its middle.

    A window that reaches a few minutes into the day before, to make up for clock skew, is still about its own
    day.
    """
    for name_from, name_to in WINDOW_PARAMETERS:
        if name_from in query:
            try:
                start = parse_time(query[name_from])
                end = parse_time(query[name_to]) if name_to in query else start
            except ValueError:
                return None
            try:
                first = (start + HALF_DAY - timedelta.resolution).date()
                last = (end - HALF_DAY - timedelta.resolution).date()
            except OverflowError:
                return None
            if last < first:
                first = last = (start + max(end - start, timedelta()) / 2).date()
            return first, last
    return None


def _touches(query: Mapping[str, str], days: list[str]) -> bool:
    window = days_of_window(query)
    return window is not None and any(window[0].isoformat() <= day <= window[1].isoformat() for day in days)


def _number(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        raise ControlError(f"{name} must be {what} from {low} to {high}, not {value!r}")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ControlError(f"{name} must be text, not {value!r}")


def _days(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise ControlError(f"{name} must be a list of days YYYY-MM-DD, not {value!r}")
    for day in value:
        try:
            good = isinstance(day, str) and date.fromisoformat(day).isoformat() == day
        except ValueError:
            good = False
        if not good:
            raise ControlError(f"{name} must be a list of days YYYY-MM-DD, not of {day!r}")


def retry_after_header(faults: Faults, roll: int) -> str:
    """The value of ``Retry-After``: seconds, or an HTTP date for every other roll."""
    if roll % 2:
        return str(faults.retry_after)
    moment = datetime.now(UTC) + timedelta(seconds=faults.retry_after)
    return format_datetime(moment, usegmt=True)
