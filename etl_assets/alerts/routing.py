"""Which channels hear of a problem, and when: routes, quiet hours, mutes.

What belongs here: the decision, from plain values. What does not: the file it is read from (`rules`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from etl_assets.alerts.conditions import Kind, Severity
from etl_assets.alerts.rules import Quiet, Route, Rules


class Decision(Enum):
    """What a channel does about a problem now."""

    TELL = "tell"
    WAIT = "wait"
    """Later: it is quiet hours."""
    LEAVE = "leave"
    """It is none of the channel's business, or muted."""


def route_of(
    rules: Rules, owner: str, severity: Severity, kind: Kind, subjects: Sequence[str]
) -> Route | None:
    """Give the first route that fits; all channels where there are no routes, None where none fits."""
    if not rules.routes:
        return Route(channels=tuple(rules.channels)) if rules.channels else None
    return next((route for route in rules.routes if _fits(route, owner, severity, kind, subjects)), None)


def decide(route: Route | None, channel: str, severity: Severity, now: datetime) -> Decision:
    """Decide what a channel does about a problem now."""
    if route is None or channel not in route.channels:
        return Decision.LEAVE
    if route.quiet is not None and severity.rank < route.quiet.unless.rank and is_quiet(route.quiet, now):
        return Decision.WAIT
    return Decision.TELL


def is_quiet(quiet: Quiet, now: datetime) -> bool:
    """Whether a time lies within quiet hours, which may go over midnight."""
    local = now.astimezone(ZoneInfo(quiet.zone)).time()
    if quiet.start <= quiet.end:
        return quiet.start <= local < quiet.end
    return local >= quiet.start or local < quiet.end


def is_selected(selection: str, problem: int, owner: str, kind: str, subject: str) -> bool:
    """Whether a selection, as people type it, means a problem: `#7`, an owner, a kind, a source, a stream, `shop/*`."""
    if selection.startswith("#"):
        return selection == f"#{problem}"
    if selection in (owner, kind, subject):
        return True
    return fnmatchcase(subject, selection) or fnmatchcase(subject, f"{selection}/*")


def is_muted(selections: Iterable[str], problem: int, owner: str, kind: str, subjects: Sequence[str]) -> bool:
    """Whether nobody wants to hear of anything in a problem now."""
    chosen = list(selections)
    return bool(chosen) and all(
        any(is_selected(selection, problem, owner, kind, subject) for selection in chosen)
        for subject in subjects or ("",)
    )


def _fits(route: Route, owner: str, severity: Severity, kind: Kind, subjects: Sequence[str]) -> bool:
    return (
        (not route.owner or owner in route.owner)
        and severity.rank >= route.severity.rank
        and (not route.kinds or kind in route.kinds)
        and (
            not route.subjects
            or any(fnmatchcase(each, wanted) for each in subjects for wanted in route.subjects)
        )
    )
