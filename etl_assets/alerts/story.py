"""One problem, told: what happened, where, since when, how much, whose it is, why, what was done and what to do.

What belongs here: putting facts and sentences (`wording`) together. What does not: when and to whom (`compose`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from etl_assets.alerts.conditions import ASSETS, Kind, Severity
from etl_assets.alerts.durations import spell_span
from etl_assets.alerts.notice import Fact, Notice
from etl_assets.alerts.problems import Occurrence, Problem
from etl_assets.alerts.wording import CLASSES, did, happened, is_of_days, number_of, place_of, plural, steps

SHOWN_SUBJECTS = 6
SHOWN_DAYS = 4
NAMED_ASSETS = 3


def notice_of(problem: Problem, status: str, ui: str, now: datetime, told_times: int = 0) -> Notice:
    """Tell of one problem.

    Args:
        problem: The problem, with its conditions.
        status: `new`, `again`, `recovered` or `news`.
        ui: Address of Dagster's UI.
        now: The time.
        told_times: How often it had happened when it was told last.
    """
    over = status == "recovered"
    last = max(problem.occurrences, key=lambda occurrence: occurrence.at, default=None)
    return Notice(
        status=status,
        severity=Severity.INFO if over else problem.severity,
        title=title_of(problem),
        facts=tuple(_facts(problem, status, last, ui, now, told_times)),
        error="" if over or last is None else last.error,
        did="" if over else did(problem),
        steps=() if over else tuple(steps(problem, ui)),
        owners=(problem.owner,) if problem.owner else (),
        problems=(problem.id,),
    )


def title_of(problem: Problem) -> str:
    """Say what happened, and where, in one line."""
    where, what, number = _place(problem), happened(problem), number_of(problem)
    if not number:
        return f"{where} {what}".strip()
    if problem.total == 1 and is_of_days(problem):
        return f"{where} {problem.occurrences[0].key[:10]} {what}"
    return f"{where}: {number} {what}"


def _place(problem: Problem) -> str:
    subjects = problem.subjects
    if len(subjects) == 1:
        return subjects[0]
    if problem.scope != ASSETS:
        return f"{problem.scope} ({len(subjects)} streams)"
    shown = subjects if len(subjects) <= NAMED_ASSETS else subjects[: NAMED_ASSETS - 1]
    return ", ".join(shown) + (" and more" if len(subjects) > len(shown) else "")


def summary_line(problem: Problem, status: str, ui: str) -> Fact:
    """Tell of one problem in a line."""
    label = "over" if status == "recovered" else problem.severity.value
    last = max(problem.occurrences, key=lambda occurrence: occurrence.at, default=None)
    error = f": {last.error}" if last is not None and last.error and status != "recovered" else ""
    again = f" ({problem.times:,} times)" if problem.times > max(problem.total, 1) else ""
    return Fact(f"#{problem.id} {label}", f"{title_of(problem)}{again}{error}", place_of(problem, ui))


def _facts(
    problem: Problem, status: str, last: Occurrence | None, ui: str, now: datetime, told_times: int
) -> Iterator[Fact]:
    if problem.kind is not Kind.DAILY_SUMMARY:
        yield Fact("Where", "\n".join(_where(problem)), place_of(problem, ui))
    yield Fact("When" if status == "news" else "Since", _since(problem, status, now))
    if amount := _amount(problem, status, told_times):
        yield Fact("How much", amount)
    yield Fact("Owner", problem.owner or "nobody is declared")
    if status == "recovered":
        return
    if last is not None and last.failure_class:
        yield Fact("Failure class", CLASSES.get(last.failure_class, last.failure_class))
    if last is not None and last.run_id:
        yield Fact("Run", last.run_id[:8], f"{ui}/runs/{last.run_id}")
    for label, text in (last.details if last is not None else {}).items():
        yield Fact(label, text)
    if problem.acked_by:
        yield Fact("Taken care of by", problem.acked_by)


def _where(problem: Problem) -> Iterator[str]:
    by_subject = [
        (subject, [occurrence.key for occurrence in found])
        for subject, found in groupby(problem.occurrences, key=lambda occurrence: occurrence.subject)
    ]
    for subject, keys in by_subject[:SHOWN_SUBJECTS]:
        yield (
            f"{subject}: {_days(keys)}"
            if is_of_days(problem)
            else f"{subject}: {_results(keys)}"
            if problem.kind is Kind.CHECK_FAILED
            else subject
        )
    if len(by_subject) > SHOWN_SUBJECTS:
        yield f"and {len(by_subject) - SHOWN_SUBJECTS} more"


def _days(keys: list[str]) -> str:
    keys = [key[:10] for key in keys]
    if len(keys) <= SHOWN_DAYS:
        return ", ".join(keys)
    return f"{plural(len(keys), 'day')}, {min(keys)} to {max(keys)}"


def _results(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN_DAYS:,} more" if len(keys) > SHOWN_DAYS else ""
    return ", ".join(keys[:SHOWN_DAYS]) + more


def _since(problem: Problem, status: str, now: datetime) -> str:
    begun = f"{problem.opened_at:%Y-%m-%d %H:%M:%S} UTC"
    if status == "news":
        return begun
    if status == "recovered" and problem.closed_at is not None:
        lasted = spell_span(problem.closed_at - problem.opened_at)
        return f"{begun}, until {problem.closed_at:%Y-%m-%d %H:%M:%S} UTC ({lasted})"
    return f"{begun} ({spell_span(now - problem.opened_at)})"


def _amount(problem: Problem, status: str, told_times: int) -> str:
    number = number_of(problem)
    parts = [number] if number else []
    if problem.kind is Kind.RUN_FAILED and is_of_days(problem):
        parts.append(plural(problem.total, "day"))
    if problem.rows:
        parts.append(plural(problem.rows, "row"))
    if problem.times > max(problem.total, 1):
        parts.append(f"happened {problem.times:,} times")
    if status == "again":
        parts.append(f"{problem.times - told_times:,} more than when it was told last")
    return ", ".join(parts)
