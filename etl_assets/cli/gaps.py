"""Missing changes of change feeds, for people and for machines.

What belongs here: showing gaps. What does not: finding them (`etl_assets.warehouse.status`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etl_assets.warehouse.status import SequenceGap

SHOWN_GAPS = 10


def gap_lines(gaps: Sequence[SequenceGap]) -> list[str]:
    """Say, one line each, which changes are missing; many gaps are cut short."""
    lines = [
        f"warning: {gap.stream}: {gap.missing:,} changes are missing between numbers {gap.after_sequence} and "
        f"{gap.before_sequence}, noticed with {gap.partition}"
        for gap in gaps[:SHOWN_GAPS]
    ]
    if len(gaps) > SHOWN_GAPS:
        lines.append(f"warning: {len(gaps) - SHOWN_GAPS:,} more gaps, see --json")
    return lines


def gap_as_json(gap: SequenceGap) -> dict[str, Any]:
    """Give a gap as plain values."""
    return {
        "stream": gap.stream,
        "after_sequence": gap.after_sequence,
        "before_sequence": gap.before_sequence,
        "missing": gap.missing,
        "partition": gap.partition.isoformat(),
        "noticed_at": gap.noticed_at.isoformat(),
    }
