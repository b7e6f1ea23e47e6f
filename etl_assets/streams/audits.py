"""Declaring partition audits: what must hold for a day as a whole before it is published.

What belongs here: one declaration per kind, with its thresholds, and what can be told wrong about one by itself. What
does not: audits that need more than the day itself and the days before (`audits_of_tables`), whether columns exist
(`audit_columns`), evaluating (`etl_assets.quality.audits`), and rules about single rows, which stand in the contract.
"""

from __future__ import annotations

from dataclasses import dataclass
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
