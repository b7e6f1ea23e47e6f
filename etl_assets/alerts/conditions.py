"""What can be wrong, as plain values: conditions with a fingerprint of what, where and which day.

What belongs here: the kinds, their usual severity, and what makes two conditions the same or of one cause. What does
not: noticing them (`watchers`, `etl_assets.orchestration`), keeping them (`outbox`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """How much a condition matters, from mild to hard."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Greater is harder."""
        return list(Severity).index(self)


def hardest(severities: Sequence[Severity]) -> Severity:
    """Give the hardest of some severities."""
    return max(severities, key=lambda severity: severity.rank)


class Kind(StrEnum):
    """What is wrong, or worth telling."""

    RUN_FAILED = "run_failed"
    PARTITION_FAILED = "partition_failed"
    PARTITION_WITHHELD = "partition_withheld"
    SNAPSHOT_GUARD = "snapshot_guard"
    CHECK_FAILED = "check_failed"
    THRESHOLD = "threshold"
    PARTITION_LATE = "partition_late"
    SCHEMA_CHANGED = "schema_changed"
    SOURCE_BROKEN = "source_broken"
    SCHEDULE_FAILING = "schedule_failing"
    SENSOR_FAILING = "sensor_failing"
    BACKFILL_FINISHED = "backfill_finished"
    DAILY_SUMMARY = "daily_summary"
    DAEMON_STOPPED = "daemon_stopped"
    ALERTS_STOPPED = "alerts_stopped"

    @property
    def is_news(self) -> bool:
        """Whether it is told once and then over, instead of lasting until somebody mends it."""
        return self in _NEWS


_NEWS = frozenset({Kind.SCHEMA_CHANGED, Kind.BACKFILL_FINISHED, Kind.DAILY_SUMMARY})

FAILED_AUDITS, QUARANTINED = "Failed audits", "Quarantined"
"""Details of a withheld day, by which the way on is chosen."""

OFF = "off"
"""Key of a schedule or sensor that was switched off."""

ASSETS = "assets"
"""What assets of a run that has no name of its own are told with."""

BAD_DAYS = frozenset({Kind.PARTITION_FAILED, Kind.PARTITION_WITHHELD, Kind.SNAPSHOT_GUARD})
"""A day of a stream that was not published. A failed run of such days is told by them, not by itself."""

USUAL_SEVERITY: Mapping[Kind, Severity] = {
    Kind.RUN_FAILED: Severity.ERROR,
    Kind.PARTITION_FAILED: Severity.ERROR,
    Kind.PARTITION_WITHHELD: Severity.ERROR,
    Kind.SNAPSHOT_GUARD: Severity.ERROR,
    Kind.CHECK_FAILED: Severity.ERROR,
    Kind.THRESHOLD: Severity.WARNING,
    Kind.PARTITION_LATE: Severity.ERROR,
    Kind.SCHEMA_CHANGED: Severity.INFO,
    Kind.SOURCE_BROKEN: Severity.ERROR,
    Kind.SCHEDULE_FAILING: Severity.ERROR,
    Kind.SENSOR_FAILING: Severity.ERROR,
    Kind.BACKFILL_FINISHED: Severity.INFO,
    Kind.DAILY_SUMMARY: Severity.INFO,
    Kind.DAEMON_STOPPED: Severity.CRITICAL,
    Kind.ALERTS_STOPPED: Severity.CRITICAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is wrong, or worth telling, at one place.

    Attributes:
        kind: What.
        subject: Where: a stream, a mart, a job, a schedule, a source.
        key: Which of them: a day, a run, a backfill. Of one kind and subject, equal keys are the same thing.
        ref: Tells one happening from the next of the same thing: an event's number, the time of an attempt.
        at: When it happened, UTC.
        owner: Who answers for the subject; empty where nobody is declared.
        scope: What it is told with; the source of a stream, or the subject itself, unless given.
        severity: How much it matters.
        error: First line of the error, without secrets or personal data.
        failure_class: What may be done about it, as `etl_assets.failures` has it.
        cause: What conditions of one cause share; made from the error unless given.
        run_id: The run that it happened in.
        rows: Rows that it is about, where that is known.
        details: Further labelled facts, shown as they are.
        link: Path in Dagster's UI where it is best looked at.
    """

    kind: Kind
    subject: str
    key: str
    ref: str
    at: datetime
    owner: str = ""
    scope: str = ""
    severity: Severity | None = None
    error: str = ""
    failure_class: str = ""
    cause: str | None = None
    run_id: str = ""
    rows: int | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    link: str = ""

    @property
    def how_severe(self) -> Severity:
        """Its severity, the usual one of its kind unless another is given."""
        return self.severity or USUAL_SEVERITY[self.kind]

    @property
    def fingerprint(self) -> str:
        """What, where and which day: the same thing has the same one."""
        return fingerprint(self.kind, self.subject, self.key)

    @property
    def group(self) -> str:
        """What is told together: the same kind and cause, in one source, for one owner."""
        cause = self.cause if self.cause is not None else cause_of(self.error, self.subject)
        return fingerprint(self.kind, self.told_as, self.owner, self.failure_class, cause)

    @property
    def told_as(self) -> str:
        """What it is told with."""
        return self.scope or scope_of(self.subject)


def fingerprint(*parts: str) -> str:
    """Hash names into one short one."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:20]


def scope_of(subject: str) -> str:
    """Give the source of a stream, or the subject itself: what breaks together is told together."""
    source, slash, stream = subject.partition("/")
    return source if slash and "/" not in stream and " " not in source else subject


_VARYING = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\d[\d.,:%TZ-]*", re.IGNORECASE)


def cause_of(error: str, subject: str) -> str:
    """Give what an error's text has in common with the same error on other days and streams."""
    text = error.replace(subject, "~").replace(subject.rpartition("/")[2], "~") if subject else error
    return " ".join(_VARYING.sub("#", text).split())[:160].casefold()


@dataclass(frozen=True, slots=True)
class Resolution:
    """Says that open conditions are over.

    Attributes:
        kind: Of this kind.
        subject: At this place.
        before: Those that happened before this time.
        keys: Only these; all when None.
    """

    kind: Kind
    subject: str
    before: datetime
    keys: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a watcher saw.

    Attributes:
        conditions: What is wrong now, or has happened.
        complete: Kinds of which `conditions` tells all there is: whatever else of them was open is over.
        resolved: What else is over.
        cursor: Where to go on next time; kept in the same transaction as the conditions. None leaves it as it is.
    """

    conditions: Sequence[Condition] = ()
    complete: frozenset[Kind] = frozenset()
    resolved: Sequence[Resolution] = ()
    cursor: str | None = None
