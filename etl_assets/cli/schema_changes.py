"""Changes of schemas, for people and for machines.

What belongs here: showing them. What does not: noticing them (`etl_assets.warehouse.evolution`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import date

    from etl_assets.outcomes import SchemaChange
    from etl_assets.warehouse.schema_changes import Noticed

SHOWN_CHANGES = 10


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change, and the stream and day that it was noticed with."""

    stream: str
    partition: date
    change: SchemaChange


def rows_of(noticed: Sequence[Noticed]) -> list[ChangeRow]:
    """Give what the warehouse has on record in the form that is shown."""
    return [ChangeRow(one.stream, one.partition, one.change) for one in noticed]


def change_lines(changes: Sequence[ChangeRow]) -> list[str]:
    """Say, one line each, what changed; warnings come first, and many changes are cut short."""
    ordered = sorted(changes, key=lambda row: not row.change.is_warning)
    lines = [
        f"{'warning' if row.change.is_warning else 'note'}: {row.stream} {row.partition}: {row.change.sentence}"
        + (f": {row.change.reason}" if row.change.reason else "")
        for row in ordered[:SHOWN_CHANGES]
    ]
    if len(ordered) > SHOWN_CHANGES:
        lines.append(
            f"note: {len(ordered) - SHOWN_CHANGES:,} more changes of schemas, see etl.schema_changes"
        )
    return lines


def change_as_json(row: ChangeRow) -> dict[str, Any]:
    """Give a change as plain values."""
    change = row.change
    return {
        "stream": row.stream,
        "partition": row.partition.isoformat(),
        "change": change.kind.value,
        "field": change.field,
        "column": change.column,
        "before": change.before,
        "after": change.after,
        "rows": change.rows,
        "reason": change.reason or None,
    }
