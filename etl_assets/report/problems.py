"""What is not as it should be: the days of a stream to look at, and the list that the page begins with.

What belongs here: choosing, bounding and wording. What does not: reading (`reading`), and how it looks (`templates`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from etl_assets.report.facts import Day, DayStatus, Facts, Span, StreamFacts, spans

LISTED_DAYS = 100
"""Days of a stream that are told one by one; days withheld or failed come before days with warnings."""
LISTED_SPANS = 50
"""Spans of missing days that are told of a stream."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A day that was not published as it should be, or days that were never attempted.

    Attributes:
        id: What links point to.
        first: The day.
        last: The last day; the same for one day.
        status: How it stands.
        message: Why, and what to do.
        day: What is known of it; None where nothing was attempted.
    """

    id: str
    first: date
    last: date
    status: DayStatus
    message: str
    day: Day | None = None

    @property
    def days(self) -> int:
        """How many days it stands for."""
        return (self.last - self.first).days + 1


@dataclass(frozen=True, slots=True)
class Attention:
    """Something to look at: how bad it is, as a status of days; where; what; and where the page tells more."""

    status: DayStatus
    stream: str
    text: str
    target: str


def stream_slug(stream_id: str) -> str:
    """Give the part of an id that stands for a stream."""
    return stream_id.replace("/", "-")


def problems_of(stream: StreamFacts) -> tuple[list[Problem], int]:
    """Give what to look at of a stream, the newest first, and how many more days with problems there are."""
    bad = [day for day in stream.days if day.status in (DayStatus.WITHHELD, DayStatus.FAILED)]
    warned = [day for day in stream.days if day.status is DayStatus.PUBLISHED_WITH_WARNINGS]
    listed = bad[-LISTED_DAYS:]
    listed += warned[-(LISTED_DAYS - len(listed)) :] if len(listed) < LISTED_DAYS else []
    unattempted = spans(stream.days)
    told = [_of_day(stream, day) for day in listed]
    told += [_of_span(stream, span) for span in unattempted[-LISTED_SPANS:]]
    left_out = len(bad) + len(warned) - len(listed)
    left_out += sum(span.days for span in unattempted[:-LISTED_SPANS])
    return sorted(told, key=lambda problem: problem.first, reverse=True), left_out


def targets_of(problems: Sequence[Problem]) -> dict[date, str]:
    """Give the id under which each day is told, by day."""
    return {
        problem.first + timedelta(days=number): problem.id
        for problem in problems
        for number in range(problem.days)
    }


def attention(facts: Facts) -> list[Attention]:
    """Give what somebody should look at, the worst first."""
    found = [one for stream in facts.streams for one in _of_stream(stream)]
    found += [
        Attention(
            DayStatus.PUBLISHED_WITH_WARNINGS,
            noticed.stream,
            f"{noticed.change.sentence}, since {noticed.partition}",
            "schema",
        )
        for noticed in facts.standing
    ]
    order = list(DayStatus)
    worst = {DayStatus.FAILED: 0, DayStatus.WITHHELD: 1, DayStatus.MISSING: 2}
    return sorted(found, key=lambda one: worst.get(one.status, 3 + order.index(one.status)))


def _of_stream(stream: StreamFacts) -> Iterator[Attention]:
    slug, counts = stream_slug(stream.id), stream.counts
    told = targets_of(problems_of(stream)[0])
    for status in (DayStatus.FAILED, DayStatus.WITHHELD):
        days = [day for day in stream.days if day.status is status]
        if days:
            newest = days[-1]
            text = f"{_number(len(days), 'day')} {status.words}, the newest {newest.day}: {newest.message}"
            yield Attention(status, stream.id, text, told.get(newest.day, f"s-{slug}"))
    if missing := counts[DayStatus.MISSING]:
        newest_span = [span for span in spans(stream.days) if span.status is DayStatus.MISSING][-1]
        what_to_do = f"etl-assets backfill {stream.id} --missing"
        text = f"{_number(missing, 'day')} missing, the last {newest_span.last}; {what_to_do}"
        yield Attention(DayStatus.MISSING, stream.id, text, told.get(newest_span.last, f"s-{slug}"))
    newest_failures = [check for check in stream.failed_checks if check.day == stream.newest]
    for check in newest_failures:
        text = f"check {check.name} failed on the newest day, {check.day}: {check.message}"
        yield Attention(DayStatus.PUBLISHED_WITH_WARNINGS, stream.id, text, f"c-{slug}")
    if stream.pending:
        text = (
            f"{_number(stream.pending, 'row')} pending in quarantine; etl-assets quarantine list {stream.id}"
        )
        yield Attention(DayStatus.PUBLISHED_WITH_WARNINGS, stream.id, text, "reasons")
    if stream.failed_items:
        text = f"{_number(stream.failed_items, 'document')} could not be had; etl-assets retry-failed {stream.id}"
        yield Attention(DayStatus.PUBLISHED_WITH_WARNINGS, stream.id, text, f"s-{slug}")
    if stream.gaps:
        lacking = sum(gap.missing for gap in stream.gaps)
        text = f"{_number(lacking, 'change')} missing from the feed, the first after {stream.gaps[0].after_sequence}"
        yield Attention(DayStatus.PUBLISHED_WITH_WARNINGS, stream.id, text, f"s-{slug}")


def _of_day(stream: StreamFacts, day: Day) -> Problem:
    parts = [day.message]
    if day.stage and day.status is DayStatus.FAILED:
        parts.append(f"stage {day.stage}, {day.failure_class.replace('_', ' ')}")
    if day.shows_earlier:
        parts.append("the table shows an earlier load of this day")
    message = "; ".join(part for part in parts if part)
    return Problem(f"d-{stream_slug(stream.id)}-{day.day}", day.day, day.day, day.status, message, day)


def _of_span(stream: StreamFacts, span: Span) -> Problem:
    if span.status is DayStatus.LOST:
        message = "never loaded, and the source shows only the present"
    else:
        message = f"never loaded; etl-assets backfill {stream.id} --from {span.first} --to {span.last}"
    return Problem(f"d-{stream_slug(stream.id)}-{span.first}", span.first, span.last, span.status, message)


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
