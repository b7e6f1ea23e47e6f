"""What became of the documents of a load: a summary for people, JSON for machines.

What belongs here: putting outcomes and the account of failed items together, and showing them. What does not: the
account itself (`etl_assets.warehouse.failed_items`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etl_assets.outcomes import Harvest, PartitionOutcome
    from etl_assets.settings import Settings
    from etl_assets.warehouse.failed_items import KnownItem

SHOWN_FAILURES = 5
"""Failures of a day that are shown to people; machines get all of them."""


@dataclass(frozen=True, slots=True)
class DayHarvest:
    """What became of the documents of one day.

    Attributes:
        outcome: The day's outcome.
        harvest: Its documents in numbers.
        failures: Those that are missing, with their attempts so far.
    """

    outcome: PartitionOutcome
    harvest: Harvest
    failures: tuple[KnownItem, ...] = ()

    @property
    def seconds(self) -> float:
        """Time that the day took."""
        return sum(self.outcome.seconds.values())

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "stream": self.outcome.stream,
            "partition": self.outcome.partition.isoformat(),
            **asdict(self.harvest),
            "documents": self.harvest.documents,
            "success_rate": round(self.harvest.success_rate, 4),
            "seconds": round(self.seconds, 2),
            "failures": [_failure(item) for item in self.failures],
        }


def harvests_of(settings: Settings, outcomes: Iterable[PartitionOutcome]) -> list[DayHarvest]:
    """Give what became of the documents of some days; days without documents are left out.

    Args:
        settings: Where the warehouse is.
        outcomes: Of days.

    Raises:
        WarehouseError: If the account of failed items cannot be read.
    """
    found = [
        DayHarvest(outcome, outcome.harvest)
        for outcome in sorted(outcomes, key=lambda one: (one.stream, one.partition))
        if outcome.harvest is not None
    ]
    if not any(one.harvest.failed for one in found):
        return found
    return list(_with_failures(settings, found))


def _with_failures(settings: Settings, found: Sequence[DayHarvest]) -> Iterator[DayHarvest]:
    from etl_assets.warehouse.failed_items import known_items
    from etl_assets.warehouse.opening import open_warehouse

    with open_warehouse(settings).read("look for failed documents") as connection:
        for one in found:
            day = [one.outcome.partition]
            items = known_items(connection, one.outcome.stream, day) if one.harvest.failed else []
            yield DayHarvest(one.outcome, one.harvest, tuple(items))


def harvest_lines(found: Sequence[DayHarvest]) -> Iterator[str]:
    """Tell people what became of documents, with the first failures of each day."""
    for one in found:
        harvest = one.harvest
        yield (
            f"{one.outcome.stream} {one.outcome.partition}: {harvest.documents:,} documents, "
            f"{harvest.succeeded:,} succeeded, {harvest.unchanged:,} unchanged, {harvest.skipped:,} skipped, "
            f"{harvest.failed:,} failed; success rate {harvest.success_rate:.1%}; {one.seconds:.1f} s"
        )
        for item in one.failures[:SHOWN_FAILURES]:
            attempts = "1 attempt" if item.attempts == 1 else f"{item.attempts:,} attempts"
            yield f"  {item.identifier} {item.stage} {item.failure_class}, {attempts}: {item.message}"
        if len(one.failures) > SHOWN_FAILURES:
            yield f"  and {len(one.failures) - SHOWN_FAILURES:,} more; see --json or etl.failed_items"


def _failure(item: KnownItem) -> dict[str, Any]:
    values = asdict(item)
    return {name: values[name] for name in values if name not in ("stream", "partition", "state")} | {
        "first_attempt_at": f"{item.first_attempt_at.isoformat()}Z",
        "last_attempt_at": f"{item.last_attempt_at.isoformat()}Z",
    }
