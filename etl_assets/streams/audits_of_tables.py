"""Declaring partition audits that look at tables: the stream's own, another stream's, or whether a day is there at all.

What belongs here: one declaration per kind. What does not: audits of what a day holds by itself (`audits`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from etl_assets.streams.audits import Audit


@dataclass(frozen=True)
class UniqueInTable(Audit):
    """Values occur once in the whole table, and not only within their day.

    Args:
        on: The column, or the columns that together occur once.
        maximum_share: Greatest share of rows whose values the table has from another day, or under another key.
    """

    on: str | tuple[str, ...]
    maximum_share: float = 0.0

    kind = "unique_in_table"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns."""
        return (self.on,) if isinstance(self.on, str) else tuple(self.on)

    @property
    def description(self) -> str:
        """What must hold."""
        return f"{', '.join(self.columns)} of a row occur nowhere else in the table."

    def problem(self) -> str | None:
        """Tell what is wrong."""
        if not self.columns or not 0 <= self.maximum_share <= 1:
            return "must have a column and maximum_share between 0 and 1"
        return None


@dataclass(frozen=True)
class ForeignKey(Audit):
    """Values of a column exist in a table: another stream's, or its own.

    A value that is not there yet is pending, and no fault, until the other stream has published every day up to
    `grace_days` after this one: a dimension may come later than the facts.

    Args:
        column: The column; a missing value refers to nothing.
        references: The other stream, `<source>/<name>`; the stream itself where its rows refer to one another. What was
            removed at the source is then not there any more.
        key: The other stream's column.
        grace_days: Days that the other stream may be late by.
        maximum_share: Greatest share of rows whose value does not exist.
        child: Child table that the column is of; the stream's own table where not given.
    """

    column: str
    references: str
    key: str
    grace_days: int = 0
    maximum_share: float = 0.0
    child: str | None = None

    kind = "foreign_key"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column, unless it is a child table's."""
        return () if self.child else (self.column,)

    @property
    def check_name(self) -> str:
        """Name of the Dagster check."""
        return self.name or "__".join(filter(None, (self.kind, self.child, self.column)))

    @property
    def description(self) -> str:
        """What must hold."""
        column = f"{self.column} of {self.child}" if self.child else self.column
        return f"{column} exists as {self.key} in {self.references}, {self.grace_days} days later at most."

    def problem(self) -> str | None:
        """Tell what is wrong."""
        if self.grace_days < 0 or not 0 <= self.maximum_share <= 1:
            return "must have grace_days >= 0 and maximum_share between 0 and 1"
        return None


@dataclass(frozen=True)
class Agreement(Audit):
    """Totals by key agree with those of another stream, by business date.

    A day is judged for the keys that it brings, and for the keys that the other stream has for the business date that
    the day completes. A key that one side lacks is pending until that side has published every day by which it may
    come. Rows that either stream has in quarantine for these days explain as many disagreements.

    Args:
        key: Column whose rows are added up; all rows of one key have one business date.
        total: Column that is added up.
        stream: The other stream, `<source>/<name>`.
        stream_key: Its key.
        stream_total: Its total.
        tolerance: Greatest difference.
        late_days: Days after its business date by which a row of this stream may come.
        stream_late_days: The same of the other stream.
    """

    key: str
    total: str
    stream: str
    stream_key: str
    stream_total: str
    tolerance: float = 0.0
    late_days: int = 0
    stream_late_days: int = 0

    kind = "agreement"

    @property
    def columns(self) -> tuple[str, ...]:
        """Key and total."""
        return (self.key, self.total)

    @property
    def check_name(self) -> str:
        """Name of the Dagster check."""
        return self.name or f"{self.kind}__{self.stream.rpartition('/')[2]}"

    @property
    def description(self) -> str:
        """What must hold."""
        return (
            f"{self.total} by {self.key} is {self.stream_total} by {self.stream_key} of {self.stream}, "
            f"to {self.tolerance:g}."
        )

    def problem(self) -> str | None:
        """Tell what is wrong."""
        if min(self.tolerance, self.late_days, self.stream_late_days) < 0:
            return "must have tolerance, late_days and stream_late_days of 0 or more"
        return None


@dataclass(frozen=True)
class Freshness(Audit):
    """The day that should be there by now is there, whatever was loaded last.

    It is evaluated by the clock and not by a load: see the job `data_quality`.

    Args:
        within: Time after the end of a day by which it must be published.
    """

    within: timedelta = timedelta(hours=4)

    kind = "freshness"

    @property
    def check_name(self) -> str:
        """Name of the Dagster check, the same for every stream."""
        return self.kind

    @property
    def description(self) -> str:
        """What must hold."""
        hours = self.within.total_seconds() / 3600
        return f"Each day is published {hours:g} hours after its end."

    def problem(self) -> str | None:
        """Tell what is wrong."""
        return None if self.within > timedelta(0) else "must have within > 0"


def audits_at_commit(audits: tuple[Audit, ...]) -> tuple[Audit, ...]:
    """Give the audits that judge a day when it is to be published; freshness judges its absence."""
    return tuple(audit for audit in audits if not isinstance(audit, Freshness))
