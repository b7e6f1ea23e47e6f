"""What a report tells, as plain values, and what follows from them by counting.

What belongs here: the values. What does not: reading them (`reading`), and how they look (`page`, `charts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import groupby

from etl_assets.marts.catalogue import Mart
from etl_assets.streams.base import Stream
from etl_assets.warehouse.schema_changes import Noticed
from etl_assets.warehouse.status import SequenceGap, StreamStatus

LONGEST_BY_DAY = 92
"""Days that charts show one by one; of longer periods they show weeks."""


class DayStatus(StrEnum):
    """How a day of a stream stands: its last attempt's status, or why there was none."""

    PUBLISHED = "published"
    PUBLISHED_WITH_WARNINGS = "published_with_warnings"
    WITHHELD = "withheld"
    FAILED = "failed"
    MISSING = "missing"
    """It was never attempted."""
    LOST = "lost"
    """It was never attempted, and its source, which shows only the present, cannot give it any more."""

    @property
    def words(self) -> str:
        """The status as people read it."""
        return {DayStatus.LOST: "cannot be had"}.get(self, self.value.replace("_", " "))

    @property
    def is_published(self) -> bool:
        """Whether the day's rows are visible."""
        return self in (DayStatus.PUBLISHED, DayStatus.PUBLISHED_WITH_WARNINGS)

    @property
    def is_attempted(self) -> bool:
        """Whether the day was ever loaded, well or not."""
        return self not in (DayStatus.MISSING, DayStatus.LOST)


@dataclass(frozen=True, slots=True)
class Day:
    """One day of one stream.

    Attributes:
        day: The day.
        status: How it stands.
        extracted: Rows that its last attempt got.
        loaded_rows: Rows that its last published load has in the table.
        quarantined: Rows that its last attempt quarantined.
        message: Why it was withheld or failed, or what it was published with.
        stage: The stage that failed.
        failure_class: The class of the failure.
        shows_earlier: Whether the table shows an earlier load of the day, though the last attempt was not published.
        updated_at: When it was last attempted; naive UTC.
    """

    day: date
    status: DayStatus
    extracted: int = 0
    loaded_rows: int = 0
    quarantined: int = 0
    message: str = ""
    stage: str = ""
    failure_class: str = ""
    shows_earlier: bool = False
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """A check's number over some days: its mean, and how many of its results were failures."""

    first: date
    value: float
    failed: int


@dataclass(frozen=True, slots=True)
class CheckHistory:
    """What one check of a stream said over the period; of a day that was judged again, the last time counts.

    Attributes:
        name: The check.
        kind: Kind of audit.
        withholds: Whether a failure withholds the day.
        days: Days that it judged.
        failed: Days of which it failed.
        last_failed: The latest of these.
        message: What it said then, or of the latest day if it never failed.
        measure: Name of the number that its trend shows; empty where it has none.
        trend: That number over time.
    """

    name: str
    kind: str
    withholds: bool
    days: int
    failed: int
    last_failed: date | None
    message: str
    measure: str = ""
    trend: tuple[TrendPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check that failed a day."""

    day: date
    name: str
    withholds: bool
    message: str


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Rows that broke one rule of a stream's contract.

    Attributes:
        stream: Stream id.
        rule: The rule.
        reason: The rule in words; never a value of a row.
        quarantines: Whether the rows were kept out of the table; else they were loaded and counted.
        rows: Rows, in whatever state they are now.
        pending: Those that wait for somebody.
        days: Days that had any.
        last: The latest of these.
    """

    stream: str
    rule: str
    reason: str
    quarantines: bool
    rows: int
    pending: int
    days: int
    last: date


@dataclass(frozen=True, slots=True)
class StageTime:
    """Seconds that the last loads of a stream's days took in one stage."""

    stream: str
    stage: str
    days: int
    total: float
    median: float
    longest: float
    longest_on: date


@dataclass(frozen=True, slots=True)
class MartFacts:
    """A mart: its declaration, its table's columns with their types, and its last build."""

    mart: Mart
    columns: tuple[tuple[str, str], ...] = ()
    rows: int | None = None
    built_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """One stream over the period.

    Attributes:
        stream: Its declaration.
        status: Where its table stands; days are counted by `counts` instead.
        days: Every day of the period, in order.
        checks: What its checks said, by name.
        failed_checks: The latest days that checks failed.
        pending: Rows that wait in quarantine, of whatever day.
        failed_items: Documents that could not be had.
        gaps: Changes that are missing from its feed.
    """

    stream: Stream
    status: StreamStatus
    days: tuple[Day, ...]
    checks: tuple[CheckHistory, ...] = ()
    failed_checks: tuple[FailedCheck, ...] = ()
    pending: int = 0
    failed_items: int = 0
    gaps: tuple[SequenceGap, ...] = ()

    @property
    def id(self) -> str:
        """Stream id."""
        return self.stream.id

    @property
    def counts(self) -> Counter[DayStatus]:
        """Days by status."""
        return Counter(day.status for day in self.days)

    @property
    def extracted(self) -> int:
        """Rows that came, of all days."""
        return sum(day.extracted for day in self.days)

    @property
    def loaded_rows(self) -> int:
        """Rows that the days' published loads have in the table."""
        return sum(day.loaded_rows for day in self.days)

    @property
    def quarantined(self) -> int:
        """Rows that were quarantined, of all days."""
        return sum(day.quarantined for day in self.days)

    @property
    def failed_results(self) -> int:
        """Days that checks failed, added up over the checks."""
        return sum(check.failed for check in self.checks)

    @property
    def newest(self) -> date | None:
        """The newest day that is published."""
        return max((day.day for day in self.days if day.status.is_published), default=None)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a report tells.

    Attributes:
        first: First day of the period.
        last: Last day of the period.
        made_at: When it was read, in UTC.
        streams: The streams, by id.
        marts: The marts that read any of them.
        reasons: Rows that broke rules, the most frequent first.
        stages: Seconds by stream and stage, the slowest first.
        changes: What loads noticed of schemas, the latest first.
        standing: What of it still keeps values from the tables.
        ui_url: Address of Dagster's UI.
        version: Of this package.
        left_out: How much more there is than is listed, by what it is.
    """

    first: date
    last: date
    made_at: datetime
    streams: tuple[StreamFacts, ...]
    marts: tuple[MartFacts, ...] = ()
    reasons: tuple[ReasonCount, ...] = ()
    stages: tuple[StageTime, ...] = ()
    changes: tuple[Noticed, ...] = ()
    standing: tuple[Noticed, ...] = ()
    ui_url: str = ""
    version: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[DayStatus]:
        """Days of all streams by status."""
        return sum((stream.counts for stream in self.streams), Counter())

    @property
    def newest(self) -> date | None:
        """The newest day that any stream has published."""
        return max((stream.newest for stream in self.streams if stream.newest), default=None)

    @property
    def width(self) -> int:
        """Days that charts put together."""
        return bucket_width(self.first, self.last)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Days that a chart puts together, with what they add up to.

    Attributes:
        first: The first of them.
        end: The day after the last of them.
        counts: Days by status.
        published: Rows of published days, without quarantined ones.
        withheld: Rows that came with days that are not published, without quarantined ones.
        quarantined: Rows that were quarantined.
    """

    first: date
    end: date
    counts: Counter[DayStatus]
    published: int
    withheld: int
    quarantined: int

    @property
    def share(self) -> float | None:
        """Share of quarantined rows; None where no row came."""
        came = self.published + self.withheld + self.quarantined
        return self.quarantined / came if came else None


@dataclass(frozen=True, slots=True)
class Span:
    """Days without an attempt that follow each other."""

    first: date
    last: date
    status: DayStatus

    @property
    def days(self) -> int:
        """How many they are."""
        return (self.last - self.first).days + 1


def bucket_width(first: date, last: date) -> int:
    """Tell how many days charts put together: one, or a week for long periods."""
    return 1 if (last - first).days < LONGEST_BY_DAY else 7


def buckets(days: Sequence[Day], first: date, last: date) -> list[Bucket]:
    """Add up days, of one stream or of several, by the periods that charts show.

    Args:
        days: The days.
        first: First day of the period.
        last: Last day of the period.
    """
    width = bucket_width(first, last)

    def number(day: Day) -> int:
        return (day.day - first).days // width

    found = []
    for index, grouped in groupby(sorted(days, key=number), key=number):
        together = list(grouped)
        good = [day for day in together if day.status.is_published]
        others = [day for day in together if not day.status.is_published]
        begin = first + timedelta(days=index * width)
        found.append(
            Bucket(
                first=begin,
                end=min(begin + timedelta(days=width), last + timedelta(days=1)),
                counts=Counter(day.status for day in together),
                published=sum(day.extracted - day.quarantined for day in good),
                withheld=sum(day.extracted - day.quarantined for day in others),
                quarantined=sum(day.quarantined for day in together),
            )
        )
    return found


def spans(days: Sequence[Day]) -> list[Span]:
    """Put days that were never attempted together, where they follow each other and stand alike."""
    found: list[Span] = []
    for day in days:
        if day.status.is_attempted:
            continue
        before = found[-1] if found else None
        if before and before.status is day.status and day.day - before.last == timedelta(days=1):
            found[-1] = Span(before.first, day.day, day.status)
        else:
            found.append(Span(day.day, day.day, day.status))
    return found
