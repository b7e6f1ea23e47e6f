"""Audits of single columns: missing values, values of few kinds, numbers.

What belongs here: judging what was measured. What does not: measuring it (`statistics`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from statistics import median

from etl_assets.quality.audits.history import History
from etl_assets.quality.audits.staged_day import Finding, StagedDay, name_of
from etl_assets.quality.audits.statistics import Statistics
from etl_assets.quality.preview import markdown_table
from etl_assets.streams.audits import Categories, MeanDrift, NullShare, Outliers

LEAST_SHARE = 1e-4
SHOWN_VALUES = 3


def null_share(audit: NullShare, staged: StagedDay, history: History) -> Finding:
    """Judge the share of missing values."""
    column = audit.column
    if staged.statistics.rows < audit.least_rows:
        return _too_few(staged.statistics)
    share = staged.statistics.nulls[column] / staged.statistics.rows
    numbers = {"null_share": round(share, 6)}
    said = f"{share:.1%} of {column} missing"
    worst = f"{name_of(column)} IS NULL ORDER BY _row"
    if audit.maximum is not None and share > audit.maximum:
        return Finding(False, f"{said}, more than {audit.maximum:.0%}", numbers, worst)
    if audit.rise is None:
        return Finding(True, said, numbers)
    earlier = [
        one.nulls[column] / one.rows
        for one in history.recent(
            staged.day, lambda one: one.rows >= audit.least_rows and column in one.nulls
        )
    ]
    numbers["earlier_days"] = len(earlier)
    if len(earlier) < audit.enough:
        return Finding(True, f"{said}; {len(earlier)} earlier days are too few to compare with", numbers)
    usual = median(earlier)
    numbers["usual_null_share"] = round(usual, 6)
    message = f"{said}, {usual:.1%} on {len(earlier)} earlier days"
    return Finding(share - usual <= audit.rise, message, numbers, worst)


def categories(audit: Categories, staged: StagedDay, history: History) -> Finding:
    """Judge which values a column has, and how often."""
    statistics, column = staged.statistics, audit.column
    if statistics.rows < audit.least_rows:
        return _too_few(statistics)
    values = statistics.values[column]
    known = sum(values.values())
    numbers: dict[str, float] = {"values": len(values)}
    said = f"{len(values)} values of {column}"
    if audit.expected is not None and known:
        unexpected = {value: count for value, count in values.items() if value not in audit.expected}
        share = sum(unexpected.values()) / known
        numbers["unexpected_share"] = round(share, 6)
        said = f"{share:.1%} unexpected {column}"
        if share > audit.maximum_unexpected:
            listed = ", ".join(f"'{value.replace(chr(39), chr(39) * 2)}'" for value in audit.expected)
            return Finding(
                False, said, numbers, f"CAST({name_of(column)} AS VARCHAR) NOT IN ({listed}) ORDER BY _row"
            )
    if audit.drift is None or not known:
        return Finding(True, said, numbers)
    earlier = history.recent(
        staged.day, lambda one: one.rows >= audit.least_rows and bool(one.values.get(column))
    )
    numbers["earlier_days"] = len(earlier)
    if len(earlier) < audit.enough:
        return Finding(True, f"{said}; {len(earlier)} earlier days are too few to compare with", numbers)
    before: Counter[str] = Counter()
    for one in earlier:
        before.update(one.values[column])
    drift, moved = population_stability(values, before)
    numbers["population_stability_index"] = round(drift, 4)
    message = (
        f"{column} {'drifts' if drift > audit.drift else 'is stable'}: population stability index {drift:.2f}"
    )
    if drift <= audit.drift:
        return Finding(True, message, numbers)
    total = sum(before.values())
    shifts = "; ".join(
        f"{value[:30]} {before[value] / total:.0%} to {values.get(value, 0) / known:.0%}"
        for value in moved[:SHOWN_VALUES]
    )
    return Finding(
        False, f"{message} ({' '.join(shifts.split())})", numbers, sample=_shift_table(moved, before, values)
    )


def population_stability(now: Mapping[str, int], before: Mapping[str, int]) -> tuple[float, list[str]]:
    """Give the population stability index of two distributions, and the values that make most of it, most first."""
    now_total, before_total = sum(now.values()), sum(before.values())
    parts = {}
    for value in now.keys() | before.keys():
        p = max(now.get(value, 0) / now_total, LEAST_SHARE)
        q = max(before.get(value, 0) / before_total, LEAST_SHARE)
        parts[value] = (p - q) * math.log(p / q)
    return sum(parts.values()), sorted(parts, key=lambda value: (-parts[value], value))


def outliers(audit: Outliers, staged: StagedDay) -> Finding:
    """Judge the share of values far from the others."""
    statistics = staged.statistics
    if statistics.rows < audit.least_rows:
        return _too_few(statistics)
    found = statistics.outliers[audit.check_name]
    share = found["rows"] / statistics.rows
    numbers = {"outliers": found["rows"], "outlier_share": round(share, 6)}
    message = f"{found['rows']:.0f} of {statistics.rows:,} {audit.column} ({share:.1%}) far from the others"
    if "low" not in found:
        return Finding(True, message, numbers)
    numbers |= {"low": found["low"], "high": found["high"]}
    column = f"CAST({name_of(audit.column)} AS DOUBLE)"
    worst = f"{column} NOT BETWEEN {found['low']!r} AND {found['high']!r} ORDER BY abs({column}) DESC, _row"
    return Finding(share <= audit.maximum_share, message, numbers, worst)


def mean_drift(audit: MeanDrift, staged: StagedDay, history: History) -> Finding:
    """Compare the mean of the middle half with that of earlier days."""
    statistics, column = staged.statistics, audit.column
    if statistics.rows < audit.least_rows:
        return _too_few(statistics)
    mean = statistics.means[column]
    if mean is None:
        return Finding(True, f"no {column} to judge", {"rows": statistics.rows})
    numbers: dict[str, float] = {"mean": mean}
    earlier = [
        one.means[column] or 0.0
        for one in history.recent(
            staged.day, lambda one: one.rows >= audit.least_rows and one.means.get(column) is not None
        )
    ]
    numbers["earlier_days"] = len(earlier)
    if len(earlier) < audit.enough:
        return Finding(
            True,
            f"mean {column} {mean:.4g}; {len(earlier)} earlier days are too few to compare with",
            numbers,
        )
    usual = median(earlier)
    numbers["usual_mean"] = round(usual, 6)
    if usual == 0:
        return Finding(True, f"mean {column} {mean:.4g}, usually 0, which has no factor", numbers)
    ratio = mean / usual
    numbers["ratio"] = round(ratio, 6)
    message = f"mean {column} {mean:.4g}, {ratio:.3g} times the {usual:.4g} of {len(earlier)} earlier days"
    order = "DESC" if abs(ratio) > 1 else "ASC"
    worst = f"true ORDER BY {name_of(column)} {order} NULLS LAST, _row"
    return Finding(1 / audit.factor <= ratio <= audit.factor, message, numbers, worst)


def _too_few(statistics: Statistics) -> Finding:
    return Finding(True, f"{statistics.rows} rows are too few to judge", {"rows": statistics.rows})


def _shift_table(moved: list[str], before: Mapping[str, int], now: Mapping[str, int]) -> str:
    before_total, now_total = sum(before.values()), sum(now.values())
    rows = [
        (value, f"{before.get(value, 0) / before_total:.2%}", f"{now.get(value, 0) / now_total:.2%}")
        for value in moved[:5]
    ]
    return markdown_table(("value", "earlier days", "this day"), rows)
