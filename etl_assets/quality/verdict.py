"""The verdict on a partition: publish, publish with warnings, or withhold.

What belongs here: putting together what is known of a partition. What does not: finding it out (`split`, `audits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from etl_assets.outcomes import CheckResult, Counts, Status
from etl_assets.streams.base import ErrorBudget

_FROM_MILD_TO_HARD = (Status.PUBLISHED, Status.PUBLISHED_WITH_WARNINGS, Status.WITHHELD)


def decide(counts: Counts, violations: Mapping[str, int], budget: ErrorBudget) -> tuple[Status, str]:
    """Judge a staged partition by the share of its rows that were quarantined, and of its items that failed.

    Args:
        counts: With extracted, quarantined, warned and failed items filled.
        violations: Quarantined rows per rule.
        budget: The shares that are tolerated.

    Returns:
        The verdict and, unless it is to publish plainly, why.
    """
    judged = (_judge_rows(counts, violations, budget), _judge_items(counts, budget))
    verdict = max((status for status, _ in judged), key=_FROM_MILD_TO_HARD.index)
    return verdict, "; ".join(message for _, message in judged if message)


def with_audits(
    verdict: Status, message: str, results: Sequence[CheckResult], *, confirmed: bool = False
) -> tuple[Status, str]:
    """Add to a verdict what the audits say.

    Args:
        verdict: What the rows' own quality allows.
        message: Why.
        results: What the audits say.
        confirmed: Whether someone looked at the day, and wants it published in spite of them.
    """
    failed = [result for result in results if not result.passed]
    if not failed:
        return verdict, message
    withheld = [result for result in failed if result.withholds]
    warned = [result for result in failed if not result.withholds]
    told = "; ".join(f"{result.check}: {result.message}" for result in (*withheld, *warned))
    hint = ""
    if withheld and not confirmed:
        hint = "; run again with --confirm-audits to publish it all the same"
        status = Status.WITHHELD
    else:
        status = Status.PUBLISHED_WITH_WARNINGS
    hardest = max(verdict, status, key=_FROM_MILD_TO_HARD.index)
    return hardest, "; ".join(part for part in (message, f"{told}{hint}") if part)


def contract_result(counts: Counts, violations: Mapping[str, int], budget: ErrorBudget) -> CheckResult:
    """Put the share of quarantined rows on record in the form of the other checks' results."""
    share = counts.quarantined / counts.extracted if counts.extracted else 0.0
    message = (
        f"{counts.quarantined} of {counts.extracted} rows quarantined ({share:.2%}), {counts.warned} warned"
    )
    if violations:
        message = f"{message}: {_top(violations)}"
    numbers = {
        "extracted": counts.extracted,
        "quarantined": counts.quarantined,
        "warned": counts.warned,
        "quarantined_share": round(share, 6),
    }
    return CheckResult("contract", "contract", share <= budget.warn, share > budget.fail, message, numbers)


def _judge_rows(counts: Counts, violations: Mapping[str, int], budget: ErrorBudget) -> tuple[Status, str]:
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


def _judge_items(counts: Counts, budget: ErrorBudget) -> tuple[Status, str]:
    if not counts.failed_items:
        return Status.PUBLISHED, ""
    items = counts.extracted + counts.failed_items
    share = counts.failed_items / items
    message = f"{counts.failed_items} of {items} items ({share:.1%}) failed"
    if share > budget.fail:
        return Status.WITHHELD, f"{message}, more than the budget of {budget.fail:.0%}; see etl.failed_items"
    return Status.PUBLISHED_WITH_WARNINGS, f"{message}; see etl.failed_items"


def _top(violations: Mapping[str, int], most: int = 3) -> str:
    ranked = sorted(violations.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{rule} {count}" for rule, count in ranked[:most])
    return f"{shown}, ..." if len(ranked) > most else shown
