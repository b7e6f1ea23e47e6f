"""Outcomes made by hand, for the tests of what is shown of them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from etl_assets.failures import FailureClass
from etl_assets.outcomes import Counts, FailureRecord, PartitionOutcome, Status

FIRST = date(2025, 3, 10)
LOADED = Counts(
    extracted=10, staged=9, quarantined=1, warned=2, loaded=7, updated=3, unchanged=1, deduplicated=1
)
MESSAGES = {Status.WITHHELD: "2 of 10 rows broke the contract", Status.FAILED: "shop answered 422"}


def outcome(
    number: int = 0, status: Status = Status.PUBLISHED, stream: str = "shop/orders", **changes: Any
) -> PartitionOutcome:
    """Make the outcome of a day, counted from the first."""
    parts: dict[str, Any] = {
        "stream": stream,
        "partition": FIRST + timedelta(days=number),
        "status": status,
        "counts": LOADED,
        "message": MESSAGES.get(status, ""),
    }
    if status is Status.FAILED:
        parts["failure"] = FailureRecord("extract", FailureClass.PERMANENT, "SourceError", MESSAGES[status])
    return PartitionOutcome(**(parts | changes))
