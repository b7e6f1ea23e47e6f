"""Declaring partition audits: what must hold for a day as a whole before it is published.

What belongs here: one declaration per kind, with its thresholds, and what can be told wrong about one by itself. What
does not: whether its columns exist (`audit_columns`), evaluating it (`etl_assets.quality.audits`), and rules about
single rows, which stand in the contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class AuditSeverity(StrEnum):
    """What a failed audit does to its day."""

    WARN = "warn"
    """The day is published with warnings."""
    WITHHOLD = "withhold"
    """Nothing of the day becomes visible until it is mended or confirmed."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What all audits have.

    Args:
        severity: `warn` or `withhold`.
        name: Name of the Dagster check, where a stream has two audits of the same kind on the same column.
    """

    severity: AuditSeverity | str = AuditSeverity.WARN
    name: str = ""

    kind = "audit"
    """The kind, as checks and messages spell it."""

    @property
    def withholds(self) -> bool:
        """Whether a day that fails is kept out of the warehouse."""
        return AuditSeverity(self.severity) is AuditSeverity.WITHHOLD

    @property
    def check_name(self) -> str:
        """Name of the Dagster check."""
        return self.name or "__".join([self.kind, *self.columns])

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the stream's contract that it looks at."""
        return ()

    @property
    def compares_with_earlier_days(self) -> bool:
        """Whether the verdict depends on what was loaded of the days before."""
        return False

    @property
    def description(self) -> str:
        """What must hold, in one sentence with the thresholds."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """Tell what is wrong with the thresholds; None if they can be used."""
        return None


@dataclass(frozen=True)
class RowCount(Audit):
    """A day has a number of rows within bounds.

    Args:
        minimum: Fewest good rows.
        maximum: Most good rows; None for any number.
        allow_empty: Whether a day may have none at all, as on a public holiday.
    """

    minimum: int = 0
    maximum: int | None = None
    allow_empty: bool = True

    kind = "row_count"

    @property
    def description(self) -> str:
        """What must hold."""
        most = "any number of" if self.maximum is None else f"at most {self.maximum:,}"
        empty = ", or none" if self.allow_empty and self.minimum else ""
        return f"At least {self.minimum:,} and {most} rows{empty}."

    def problem(self) -> str | None:
        """Tell what is wrong with the bounds."""
        if self.minimum < 0 or (self.maximum is not None and self.maximum < self.minimum):
            return "must have 0 <= minimum <= maximum"
        return None


@dataclass(frozen=True)
class Volume(Audit):
    """A day has about as many rows as the same weekday had before.

    The distance is a robust z-score of the logarithm of the number of rows: from the median of the earlier days, in
    units of 1.4826 times their median absolute deviation (Iglewicz and Hoaglin, 1993), which is taken to be 0.2 at
    least. Empty days are neither judged nor compared with: a public holiday is not a fault.

    Args:
        threshold: Most units.
        weeks: Weeks that are looked back on.
        enough: Earlier days with rows below which nothing is said.
    """

    threshold: float = 5.0
    weeks: int = 12
    enough: int = 6

    kind = "volume"

    @property
    def compares_with_earlier_days(self) -> bool:
        """It does."""
        return True

    @property
    def description(self) -> str:
        """What must hold."""
        return (
            f"Number of rows within {self.threshold:g} robust standard deviations of the same weekday's "
            f"in the last {self.weeks} weeks."
        )

    def problem(self) -> str | None:
        """Tell what is wrong with the thresholds."""
        if self.threshold <= 0 or not 2 <= self.enough <= self.weeks:
            return "must have threshold > 0 and 2 <= enough <= weeks"
        return None


@dataclass(frozen=True)
class _OfColumn(Audit):
    """An audit of one column; days with fewer rows than `least_rows` are neither judged nor compared with."""

    column: str
    least_rows: int = 30

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)


@dataclass(frozen=True)
class NullShare(_OfColumn):
    """Not too many values of a column are missing.

    Args:
        column: The column.
        least_rows: Fewest rows of a day that is judged.
        maximum: Greatest share of missing values; None for no fixed bound.
        rise: Points by which the share may be above the median of the earlier days; None for no comparison.
        enough: Earlier days below which nothing is compared.
    """

    maximum: float | None = None
    rise: float | None = None
    enough: int = 10

    kind = "null_share"

    @property
    def compares_with_earlier_days(self) -> bool:
        """Whether a rise is looked for."""
        return self.rise is not None

    @property
    def description(self) -> str:
        """What must hold."""
        bounds = []
        if self.maximum is not None:
            bounds.append(f"at most {self.maximum:.0%}")
        if self.rise is not None:
            bounds.append(f"at most {self.rise * 100:g} points above the median of earlier days")
        return f"Share of missing {self.column}: {', '.join(bounds)}."

    def problem(self) -> str | None:
        """Tell what is wrong with the thresholds."""
        given = [bound for bound in (self.maximum, self.rise) if bound is not None]
        if not given or not all(0 <= bound <= 1 for bound in given):
            return "must have maximum or rise, as shares between 0 and 1"
        return None


@dataclass(frozen=True)
class Categories(_OfColumn):
    """The values of a column of few values are the expected ones, in about the usual shares.

    Drift is the population stability index (Siddiqi, 2006): the sum over all values of (p - q) ln(p / q), with p the
    share on the day and q that of the earlier days together; a share below 0.0001 counts as that.

    Args:
        column: The column.
        least_rows: Fewest rows of a day that is judged.
        expected: Values that are expected; None for any.
        maximum_unexpected: Greatest share of other values.
        drift: Greatest population stability index; None for no comparison.
        enough: Earlier days below which nothing is compared.
    """

    expected: tuple[str, ...] | None = None
    maximum_unexpected: float = 0.0
    drift: float | None = None
    enough: int = 10

    kind = "categories"

    @property
    def compares_with_earlier_days(self) -> bool:
        """Whether drift is looked for."""
        return self.drift is not None

    @property
    def description(self) -> str:
        """What must hold."""
        bounds = []
        if self.expected is not None:
            bounds.append(f"at most {self.maximum_unexpected:.1%} other than {', '.join(self.expected)}")
        if self.drift is not None:
            bounds.append(f"population stability index against earlier days at most {self.drift:g}")
        return f"Values of {self.column}: {'; '.join(bounds)}."

    def problem(self) -> str | None:
        """Tell what is wrong with the thresholds."""
        if self.expected is None and self.drift is None:
            return "must have expected values or drift"
        if not 0 <= self.maximum_unexpected <= 1 or (self.drift is not None and self.drift <= 0):
            return "must have maximum_unexpected between 0 and 1 and drift > 0"
        return None


@dataclass(frozen=True)
class Outliers(_OfColumn):
    """Few values of a number lie far from the others of their day.

    Far is a robust z-score above the threshold: distance from the day's median in units of 1.4826 times its median
    absolute deviation, or of the median itself where that is more.

    Args:
        column: The column.
        least_rows: Fewest rows of a day that is judged.
        threshold: Units beyond which a value is an outlier.
        maximum_share: Greatest share of outliers.
    """

    threshold: float = 30.0
    maximum_share: float = 0.02

    kind = "outliers"

    @property
    def description(self) -> str:
        """What must hold."""
        return (
            f"At most {self.maximum_share:.1%} of {self.column} beyond {self.threshold:g} robust standard deviations "
            "of the day's median."
        )

    def problem(self) -> str | None:
        """Tell what is wrong with the thresholds."""
        if self.threshold <= 0 or not 0 <= self.maximum_share <= 1:
            return "must have threshold > 0 and maximum_share between 0 and 1"
        return None


@dataclass(frozen=True)
class MeanDrift(_OfColumn):
    """The mean of a number is about what it was on the days before.

    It is the mean of the middle half of the values, so that a few wild ones do not move it, against the median of
    those of the earlier days.

    Args:
        column: The column.
        least_rows: Fewest rows of a day that is judged.
        factor: By how many times it may be greater or smaller.
        enough: Earlier days below which nothing is compared.
    """

    factor: float = 3.0
    enough: int = 10

    kind = "mean_drift"

    @property
    def compares_with_earlier_days(self) -> bool:
        """It does."""
        return True

    @property
    def description(self) -> str:
        """What must hold."""
        return f"Interquartile mean of {self.column} within a factor of {self.factor:g} of earlier days'."

    def problem(self) -> str | None:
        """Tell what is wrong with the factor."""
        return None if self.factor > 1 else "must have factor > 1"


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
    """Values of a column exist in another stream's table.

    A value that is not there yet is pending, and no fault, until the other stream has published every day up to
    `grace_days` after this one: a dimension may come later than the facts.

    Args:
        column: The column; a missing value refers to nothing.
        references: The other stream, `<source>/<name>`.
        key: The other stream's column.
        grace_days: Days that the other stream may be late by.
        maximum_share: Greatest share of rows whose value does not exist.
    """

    column: str
    references: str
    key: str
    grace_days: int = 0
    maximum_share: float = 0.0

    kind = "foreign_key"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def description(self) -> str:
        """What must hold."""
        return (
            f"{self.column} exists as {self.key} in {self.references}, {self.grace_days} days later at most."
        )

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

    It is evaluated by the clock and not by a load: see the job `freshness`.

    Args:
        within: Time after the end of a day by which it must be published.
    """

    within: timedelta = timedelta(hours=12)

    kind = "freshness"

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
