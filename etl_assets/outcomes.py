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


class SchemaChangeKind(StrEnum):
    """What happened to a field or a column."""

    ADDED = "added"
    """The table has a new column."""
    WIDENED = "widened"
    """The column's type holds more than before."""
    NARROWED = "narrowed"
    """The contract's type holds less than the column's, which stays."""
    CONVERTED = "converted"
    """The contract took over a column that was beside it, and with it the contract's type."""
    REMOVED = "removed"
    """The source stopped sending the field; its column is empty."""
    RESTORED = "restored"
    """The source sends the field again."""
    SET_ASIDE = "set_aside"
    """The contract does not know the field; its values are in the quarantine."""
    WITHHELD = "withheld"
    """The contract does not know the field, and the day is withheld for it."""


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """What a load noticed of its stream's schema.

    Attributes:
        kind: What happened.
        column: The column; None where there is none.
        field: The raw field; None where the contract was changed, and not the source.
        before: Its type before; None if there was none.
        after: Its type now; None if there is none.
        rows: Rows of the day that have the field.
        reason: Why a field makes no column.
        day: The day that it happened with, where that is a later one than the load's.
    """

    kind: SchemaChangeKind
    column: str | None = None
    field: str | None = None
    before: str | None = None
    after: str | None = None
    rows: int = 0
    reason: str = ""
    day: date | None = None

    @property
    def is_warning(self) -> bool:
        """Whether rows lack something for it."""
        if self.kind is SchemaChangeKind.REMOVED:
            return self.column is not None
        return self.kind in (SchemaChangeKind.SET_ASIDE, SchemaChangeKind.WITHHELD)

    @property
    def sentence(self) -> str:
        """The change in a few words."""
        return _SENTENCES[self.kind].format(
            field=self.field, column=self.column or self.field, before=self.before, after=self.after
        ) + (f" ({self.rows:,} row{'s' if self.rows > 1 else ''})" if self.rows else "")


_SENTENCES = {
    SchemaChangeKind.ADDED: "column {column} was added as {after}",
    SchemaChangeKind.WIDENED: "column {column} was widened from {before} to {after}",
    SchemaChangeKind.NARROWED: "column {column} stays {before}, of which the contract takes {after} only",
    SchemaChangeKind.CONVERTED: "column {column} was converted from {before} to {after}",
    SchemaChangeKind.REMOVED: "field {field} is not sent any more",
    SchemaChangeKind.RESTORED: "field {field} is sent again",
    SchemaChangeKind.SET_ASIDE: "unknown field {field} was set aside, it looks like {after}",
    SchemaChangeKind.WITHHELD: "unknown field {field}, it looks like {after}",
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one audit says of a partition.

    Attributes:
        check: Name of the check, unique within the stream.
        kind: Kind of audit.
        passed: Whether what it asks for holds; also true where there was nothing to judge by yet.
        withholds: Whether a failure keeps the partition from being published.
        message: One line with the numbers.
        numbers: What was measured, by name.
        sample: The worst rows as a Markdown table, personal data masked; empty when it passed.
    """

    check: str
    kind: str
    passed: bool
    withholds: bool
    message: str
    numbers: dict[str, float] = field(default_factory=dict)
    sample: str = ""


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
        schema_changes: What it noticed of the stream's schema.
        checks: What the stream's audits say; empty before they were evaluated.
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
    schema_changes: tuple[SchemaChange, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    harvest: Harvest | None = None
