"""What became of a partition: verdict, counts, and the record that is reported and printed.

What belongs here: plain values that quality, warehouse, pipeline and the edges pass to each other. What does not:
deciding them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from etl_assets.failures import FailureClass


class Status(StrEnum):
    """How one partition ended."""

    PUBLISHED = "published"
    PUBLISHED_WITH_WARNINGS = "published_with_warnings"
    WITHHELD = "withheld"
    FAILED = "failed"
    DONE = "done"
    """Only landing or staging was asked for, and it is done."""

    @property
    def is_published(self) -> bool:
        """Whether the partition's rows are visible in the warehouse."""
        return self in (Status.PUBLISHED, Status.PUBLISHED_WITH_WARNINGS)


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of one partition. `extracted = loaded + unchanged + deduplicated + quarantined` once it is committed.

    Attributes:
        extracted: Records that the source sent.
        staged: Rows that kept the contract.
        quarantined: Rows that broke a quarantine rule.
        warned: Rows that broke a warning rule; that alone keeps no row from being loaded.
        loaded: Rows written to the table, new and updated.
        updated: Those of the loaded rows that replaced another version.
        unchanged: Rows that the table already had, in this or a newer version.
        deduplicated: Older versions of a key, or repeats of a row, within the partition itself.
        removed: Rows of the table that the load found to be gone: deleted in a change feed, or absent from a snapshot.
            They are none of the extracted rows, or counted among the loaded ones already.
        failed_items: Documents that could not be had or read. They are none of the extracted rows.
    """

    extracted: int = 0
    staged: int = 0
    quarantined: int = 0
    warned: int = 0
    loaded: int = 0
    updated: int = 0
    unchanged: int = 0
    deduplicated: int = 0
    removed: int = 0
    failed_items: int = 0

    @property
    def conserved(self) -> bool:
        """Whether every extracted row is accounted for."""
        return self.extracted == self.loaded + self.unchanged + self.deduplicated + self.quarantined


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """A failure, as it is collected and shown: stage, class, one line."""

    stage: str
    failure_class: FailureClass
    error_type: str
    message: str
    affects_all: bool = False


@dataclass(frozen=True, slots=True)
class FailedItem:
    """One document of a partition that could not be had or read, though others could.

    Attributes:
        identifier: What it is asked for by.
        stage: Where it failed: extract or stage.
        failure_class: What may be done about it.
        error_type: Name of the error.
        message: One line.
        attempted_at: When it was last tried, in UTC.
        position: Its place in the order of the identifiers, from 0.
        traceback: Where in the code it failed, without any data.
    """

    identifier: str
    stage: str
    failure_class: FailureClass
    error_type: str
    message: str
    attempted_at: datetime
    position: int
    traceback: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FailedItem:
        """Read what was written as JSON.

        Raises:
            KeyError, TypeError, ValueError: If it is damaged.
        """
        item = cls(**value)
        return replace(
            item,
            failure_class=FailureClass(item.failure_class),
            attempted_at=datetime.fromisoformat(value["attempted_at"]).astimezone(UTC),
        )


@dataclass(frozen=True, slots=True)
class Harvest:
    """What became of the documents of a partition.

    Attributes:
        succeeded: Came and can be read.
        unchanged: Were asked for and not transferred, as those that were landed before are still right.
        skipped: Were not asked for: taken from landing.
        failed: Could not be had or read.
    """

    succeeded: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def documents(self) -> int:
        """All of them."""
        return self.succeeded + self.unchanged + self.skipped + self.failed

    @property
    def success_rate(self) -> float:
        """Share of documents that did not fail; of none, all."""
        return 1 - self.failed / self.documents if self.documents else 1.0


@dataclass(frozen=True, slots=True)
class PartitionOutcome:
    """What became of one partition of one stream.

    Attributes:
        stream: Stream id, `<source>/<name>`.
        partition: The day.
        status: How it ended.
        counts: Its rows.
        warnings: Rows per warning rule.
        violations: Rows per quarantine rule.
        message: Why it was withheld or failed; empty when published.
        failure: The failure, when it failed or was withheld.
        seconds: Time per stage: extract, stage, commit.
        landing_version: The landed answers it was made from.
        bytes: Size of these answers, uncompressed.
        completed: Stages that ended well, of those that were asked for.
        preview: Masked first rows as a Markdown table, for the Dagster UI.
        harvest: What became of its documents; None where it has none.
    """

    stream: str
    partition: date
    status: Status
    counts: Counts = Counts()
    warnings: dict[str, int] = field(default_factory=dict)
    violations: dict[str, int] = field(default_factory=dict)
    message: str = ""
    failure: FailureRecord | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    landing_version: str | None = None
    bytes: int = 0
    completed: tuple[str, ...] = ()
    preview: str = ""
    harvest: Harvest | None = None
