"""Audits of how many rows a day has.

What belongs here: bounds, and the comparison with the same weekday. What does not: what the rows hold.
"""

from __future__ import annotations

import math
from statistics import median

from etl_assets.quality.audits.history import History
from etl_assets.quality.audits.staged_day import Finding, StagedDay
from etl_assets.quality.audits.statistics import NORMAL
from etl_assets.streams.audits import RowCount, Volume

LEAST_SPREAD = 0.2
"""Of the logarithm: days that were nearly equal would otherwise make an alarm of any change."""


def row_count(audit: RowCount, staged: StagedDay) -> Finding:
    """Hold the number of rows against bounds."""
    rows = staged.counts.staged
    enough = rows >= audit.minimum or (rows == 0 and audit.allow_empty)
    if rows == 0 and not audit.allow_empty:
        enough = False
    passed = enough and (audit.maximum is None or rows <= audit.maximum)
    bound = audit.minimum if not enough else audit.maximum
    message = f"{rows:,} rows"
    if not passed:
        message += " but an empty day is not expected" if rows == 0 else ""
        if rows:
            message += f", {'fewer than the least' if not enough else 'more than the most'}, {bound:,}"
    return Finding(passed, message, {"rows": rows})


def volume(audit: Volume, staged: StagedDay, history: History) -> Finding:
    """Compare the number of rows with the same weekday's."""
    rows = staged.counts.staged
    earlier = [one.rows for one in history.same_weekday(staged.day, audit.weeks)]
    numbers: dict[str, float] = {"rows": rows, "earlier_days": len(earlier)}
    weekday = staged.day.strftime("%A")
    if not rows:
        return Finding(True, "no rows, which is not judged", numbers)
    if len(earlier) < audit.enough:
        return Finding(
            True, f"{rows:,} rows; {len(earlier)} earlier {weekday}s are too few to judge by", numbers
        )
    logarithms = [math.log(count) for count in earlier]
    center = median(logarithms)
    deviation = median(abs(one - center) for one in logarithms)
    distance = (math.log(rows) - center) / max(NORMAL * deviation, LEAST_SPREAD)
    usual = math.exp(center)
    numbers |= {"usual_rows": round(usual), "robust_z": round(distance, 3)}
    message = (
        f"{rows:,} rows, {rows / usual:.2f} times the {usual:,.0f} of the last {len(earlier)} {weekday}s "
        f"(robust z {distance:+.1f})"
    )
    return Finding(abs(distance) <= audit.threshold, message, numbers)
