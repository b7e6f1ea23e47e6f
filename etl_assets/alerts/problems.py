"""Problems: open conditions of one kind and cause, kept in the outbox until the last of them is over.

What belongs here: writing conditions down, closing them, and reading problems back. What does not: telling anybody
(`compose`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from etl_assets.alerts.conditions import (
    BAD_DAYS,
    Condition,
    Kind,
    Report,
    Resolution,
    Severity,
    fingerprint,
    hardest,
)
from etl_assets.alerts.outbox import Outbox, moment, stamp

SHOWN_OCCURRENCES = 2_000
"""Occurrences of a problem that are read to tell of it; all are counted."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One open or past condition of a problem."""

    subject: str
    key: str
    severity: Severity
    at: datetime
    times: int
    error: str
    failure_class: str
    run_id: str
    rows: int | None
    details: Mapping[str, str]
    link: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Conditions that are told together.

    Attributes:
        id: Its number, as people type it.
        kind: What is wrong.
        scope: Where: a source, or one thing.
        severity: The hardest that it had.
        owner: Whose it is; empty where nobody is declared.
        state: `open`, `closed` (over, and not told yet), or `settled`.
        opened_at: When the first condition happened.
        written_at: When it was written down.
        last_at: When the last condition happened.
        closed_at: When it was over.
        times: How often a condition happened in it, repeats of the same one included.
        acked_by: Who takes care of it; empty if nobody said so.
        occurrences: Its conditions, open ones first; at most `SHOWN_OCCURRENCES`.
        open: How many of them are open.
        total: How many there are.
        runs: Runs in which they happened last.
        rows: Rows that they are about, where that is known.
    """

    id: int
    kind: Kind
    scope: str
    severity: Severity
    owner: str
    state: str
    opened_at: datetime
    written_at: datetime
    last_at: datetime
    closed_at: datetime | None
    times: int
    acked_by: str
    occurrences: Sequence[Occurrence] = field(default=())
    open: int = 0
    total: int = 0
    runs: int = 0
    rows: int | None = None

    @property
    def subjects(self) -> tuple[str, ...]:
        """All places, in order."""
        return tuple(sorted({occurrence.subject for occurrence in self.occurrences}))


def write_down(outbox: Outbox, watcher: str, report: Report, now: datetime) -> int:
    """Write down what a watcher saw, what is over by that, and where the watcher goes on: all of it or nothing.

    Args:
        outbox: Where.
        watcher: Its name.
        report: What it saw.
        now: The time.

    Returns:
        How many conditions were new, or had happened again.
    """
    if not (report.conditions or report.complete or report.resolved or report.cursor is not None):
        return 0
    with outbox.transaction():
        open_refs = _open_refs(outbox)
        new = [
            condition
            for condition in report.conditions
            # Most of what lasts is known already.
            if open_refs.get(condition.fingerprint) != condition.ref and _note(outbox, condition, now)
        ]
        _absorb(outbox, new, now)
        for kind in report.complete:
            _end_all_but(
                outbox, kind, {each.fingerprint for each in report.conditions if each.kind is kind}, now
            )
        for resolution in report.resolved:
            _resolve(outbox, resolution, now)
        if report.cursor is not None:
            outbox.set_cursor(watcher, report.cursor, now)
        _close_finished(outbox, now)
    return len(new)


def _open_refs(outbox: Outbox) -> dict[str, str]:
    return {
        row["fingerprint"]: row["ref"]
        for row in outbox.rows("SELECT fingerprint, ref FROM occurrences WHERE state = 'open'")
    }


def _note(outbox: Outbox, condition: Condition, now: datetime) -> bool:
    """Write a condition down; false if it was counted before."""
    known = outbox.row(
        "SELECT id, problem_id FROM occurrences WHERE fingerprint = ? AND state = 'open'",
        condition.fingerprint,
    )
    # A happening is counted once, however often it is read; also after it was over.
    if not outbox.run(
        "INSERT OR IGNORE INTO seen (ref, at) VALUES (?, ?)",
        fingerprint(condition.fingerprint, condition.ref),
        stamp(now),
    ):
        return False
    if _is_absorbed(outbox, condition):
        return False
    if known is not None:
        _again(outbox, known, condition)
        return True
    problem_id = _problem_of(outbox, condition, now)
    outbox.run(
        "INSERT INTO occurrences (fingerprint, problem_id, kind, subject, key, ref, severity, at, written_at, times, "
        "state, error, failure_class, run_id, rows, details, link) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 'open', ?, ?, ?, ?, ?, ?)",
        *(
            condition.fingerprint,
            problem_id,
            condition.kind.value,
            condition.subject,
            condition.key,
            condition.ref,
        ),
        *(condition.how_severe.value, stamp(condition.at), stamp(now), *_told(condition)),
    )
    return True


def _told(condition: Condition) -> tuple[str, str, str, int | None, str, str]:
    return (
        condition.error,
        condition.failure_class,
        condition.run_id,
        condition.rows,
        json.dumps(dict(condition.details)),
        condition.link,
    )


def _again(outbox: Outbox, known: sqlite3.Row, condition: Condition) -> None:
    outbox.run(
        "UPDATE occurrences SET ref = ?, at = max(at, ?), times = times + 1, error = ?, failure_class = ?, run_id = ?, "
        "rows = ?, details = ?, link = ? WHERE id = ?",
        *(condition.ref, stamp(condition.at), *_told(condition), known["id"]),
    )
    _touch(outbox, known["problem_id"], condition)


def _touch(outbox: Outbox, problem_id: int, condition: Condition) -> None:
    found = outbox.row("SELECT severity FROM problems WHERE id = ?", problem_id)
    severity = hardest([Severity(found["severity"]) if found else Severity.INFO, condition.how_severe])
    outbox.run(
        "UPDATE problems SET times = times + 1, last_at = max(last_at, ?), opened_at = min(opened_at, ?), severity = ? "
        "WHERE id = ?",
        *(stamp(condition.at), stamp(condition.at), severity.value, problem_id),
    )


def _problem_of(outbox: Outbox, condition: Condition, now: datetime) -> int:
    known = outbox.row("SELECT id FROM problems WHERE grouping = ? AND state = 'open'", condition.group)
    if known is not None:
        _touch(outbox, known["id"], condition)
        return int(known["id"])
    at = stamp(condition.at)
    return outbox.add(
        "INSERT INTO problems (grouping, kind, scope, severity, owner, state, opened_at, written_at, last_at, times) "
        "VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?, 1)",
        *(condition.group, condition.kind.value, condition.told_as, condition.how_severe.value),
        *(condition.owner, at, stamp(now), at),
    )


_SAME_FAILURE_SECONDS = 3_600.0
"""A run ends some time after the days that failed in it; a later failure is another one."""

_TOLD_BY_BAD_DAYS = frozenset({*BAD_DAYS, Kind.PARTITION_LATE, Kind.RUN_FAILED})


def _absorb(outbox: Outbox, conditions: Iterable[Condition], now: datetime) -> None:
    """End what a day's outcome tells better: its former outcome, a missed deadline, its failed run or audit."""
    for condition in conditions:
        if condition.kind not in BAD_DAYS:
            continue
        others = sorted(_TOLD_BY_BAD_DAYS - {condition.kind})
        outbox.run(
            "UPDATE occurrences SET state = 'absorbed', over_at = ? WHERE state = 'open' AND subject = ? AND key = ? "
            f"AND kind IN ({', '.join('?' * len(others))}) AND at <= ?",
            *(stamp(now), condition.subject, condition.key, *(kind.value for kind in others)),
            stamp(condition.at) + _SAME_FAILURE_SECONDS,
        )
        outbox.run(
            "UPDATE occurrences SET state = 'absorbed', over_at = ? WHERE state = 'open' AND subject = ? "
            "AND kind = ? AND severity = ? AND key LIKE ? AND at BETWEEN ? AND ?",
            *(stamp(now), condition.subject, Kind.CHECK_FAILED.value, Severity.ERROR.value),
            *(f"% {condition.key}", stamp(condition.at) - _SAME_FAILURE_SECONDS),
            stamp(condition.at) + _SAME_FAILURE_SECONDS,
        )


def _is_absorbed(outbox: Outbox, condition: Condition) -> bool:
    """Whether a day's outcome, which was written down before, tells a condition already."""
    day = condition.key
    if condition.kind is Kind.CHECK_FAILED and condition.how_severe is Severity.ERROR:
        # An audit that withholds its day; its key ends with it.
        day = condition.key.rpartition(" ")[2]
    elif condition.kind in BAD_DAYS or condition.kind not in _TOLD_BY_BAD_DAYS:
        return False
    return (
        outbox.row(
            "SELECT 1 FROM occurrences WHERE state = 'open' AND subject = ? AND key = ? AND at >= ? "
            f"AND kind IN ({', '.join('?' * len(BAD_DAYS))})",
            *(condition.subject, day, stamp(condition.at) - _SAME_FAILURE_SECONDS),
            *(kind.value for kind in BAD_DAYS),
        )
        is not None
    )


def _end_all_but(outbox: Outbox, kind: Kind, kept: set[str], now: datetime) -> None:
    for row in outbox.rows(
        "SELECT id, fingerprint FROM occurrences WHERE state = 'open' AND kind = ?", kind.value
    ):
        if row["fingerprint"] not in kept:
            outbox.run(
                "UPDATE occurrences SET state = 'over', over_at = ? WHERE id = ?", stamp(now), row["id"]
            )


def _resolve(outbox: Outbox, resolution: Resolution, now: datetime) -> None:
    found = outbox.rows(
        "SELECT id, key FROM occurrences WHERE state = 'open' AND kind = ? AND subject = ? AND at < ?",
        *(resolution.kind.value, resolution.subject, stamp(resolution.before)),
    )
    for row in found:
        if resolution.keys is None or row["key"] in resolution.keys:
            outbox.run(
                "UPDATE occurrences SET state = 'over', over_at = ? WHERE id = ?", stamp(now), row["id"]
            )


def _close_finished(outbox: Outbox, now: datetime) -> None:
    outbox.run(
        "UPDATE problems SET state = 'closed', closed_at = ? WHERE state = 'open' AND NOT EXISTS "
        "(SELECT 1 FROM occurrences AS o WHERE o.problem_id = problems.id AND o.state = 'open')",
        stamp(now),
    )


def acknowledge(outbox: Outbox, problem_id: int, by: str, now: datetime) -> bool:
    """Note that somebody takes care of a problem; false if no such problem is open."""
    sql = "UPDATE problems SET acked_at = ?, acked_by = ? WHERE id = ? AND state = 'open'"
    return bool(outbox.run(sql, stamp(now), by, problem_id))


def problems_in(outbox: Outbox, *states: str, limit: int = 1_000_000) -> list[Problem]:
    """Give the problems in some states, the oldest first, without their conditions."""
    marks = ", ".join("?" * len(states))
    found = outbox.rows(
        f"SELECT * FROM problems WHERE state IN ({marks}) ORDER BY id LIMIT ?", *states, limit
    )
    return [_problem(row) for row in found]


def with_conditions(outbox: Outbox, problem: Problem, most: int = SHOWN_OCCURRENCES) -> Problem:
    """Give a problem with its conditions: the open ones, or all of them once it is over."""
    chosen = "state = 'open'" if problem.state == "open" else "state <> 'absorbed'"
    found = outbox.rows(
        f"SELECT * FROM occurrences WHERE problem_id = ? AND {chosen} ORDER BY subject, key LIMIT ?",
        problem.id,
        most,
    )
    counted = outbox.row(
        f"SELECT count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE {chosen}) AS total, "
        f"count(DISTINCT nullif(run_id, '')) FILTER (WHERE {chosen}) AS runs, "
        f"sum(rows) FILTER (WHERE {chosen}) AS rows FROM occurrences WHERE problem_id = ?",
        problem.id,
    )
    values = {name: getattr(problem, name) for name in Problem.__dataclass_fields__}
    values["occurrences"] = tuple(_occurrence(row) for row in found)
    if counted is not None:
        values |= {name: counted[name] for name in ("open", "total", "runs", "rows")}
    return Problem(**values)


def _problem(row: sqlite3.Row) -> Problem:
    return Problem(
        id=row["id"],
        kind=Kind(row["kind"]),
        scope=row["scope"],
        severity=Severity(row["severity"]),
        owner=row["owner"],
        state=row["state"],
        opened_at=moment(row["opened_at"]),
        written_at=moment(row["written_at"]),
        last_at=moment(row["last_at"]),
        closed_at=moment(row["closed_at"]) if row["closed_at"] is not None else None,
        times=row["times"],
        acked_by=row["acked_by"],
    )


def _occurrence(row: sqlite3.Row) -> Occurrence:
    return Occurrence(
        subject=row["subject"],
        key=row["key"],
        severity=Severity(row["severity"]),
        at=moment(row["at"]),
        times=row["times"],
        error=row["error"],
        failure_class=row["failure_class"],
        run_id=row["run_id"],
        rows=row["rows"],
        details=json.loads(row["details"]),
        link=row["link"],
    )
