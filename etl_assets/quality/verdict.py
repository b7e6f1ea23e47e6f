"""The verdict on a partition: publish, publish with warnings, or withhold."""

from __future__ import annotations

from collections.abc import Mapping

from etl_assets.outcomes import Counts, Status
from etl_assets.streams.base import ErrorBudget


def decide(counts: Counts, violations: Mapping[str, int], budget: ErrorBudget) -> tuple[Status, str]:
    """Judge a staged partition by the share of its rows that were quarantined.

    Args:
        counts: With extracted, quarantined and warned filled.
        violations: Quarantined rows per rule.
        budget: The shares that are tolerated.

    Returns:
        The verdict and, unless it is to publish plainly, why.
    """
    share = counts.quarantined / counts.extracted if counts.extracted else 0.0
    if share > budget.fail:
        return Status.WITHHELD, (
            f"{counts.quarantined} of {counts.extracted} rows ({share:.1%}) broke the contract, "
            f"more than the budget of {budget.fail:.0%}: {_top(violations)}"
        )
    if share > budget.warn:
        return Status.PUBLISHED_WITH_WARNINGS, (
            f"{counts.quarantined} of {counts.extracted} rows ({share:.1%}) broke the contract: {_top(violations)}"
        )
    return Status.PUBLISHED, ""


def _top(violations: Mapping[str, int], most: int = 3) -> str:
    ranked = sorted(violations.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{rule} {count}" for rule, count in ranked[:most])
    return f"{shown}, ..." if len(ranked) > most else shown
