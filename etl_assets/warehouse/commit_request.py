"""What is asked of a commit, and what it did.

What belongs here: these values. What does not: the commit (`commit`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from etl_assets.outcomes import CheckResult, Counts, FailedItem, SchemaChange, Status
from etl_assets.streams.base import Stream
from etl_assets.streams.observed import ObservedFields


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """A partition as the audit left it.

    Attributes:
        stream: The stream.
        partition: The day.
        run_id: The run that asks.
        verdict: PUBLISHED, PUBLISHED_WITH_WARNINGS or WITHHELD.
        message: Why it is withheld; empty otherwise.
        rows: Staged Parquet with the contract's columns, and any others, which are not read; None for no
            rows.
        quarantine: Parquet with row_number BIGINT, rules VARCHAR[], reasons VARCHAR[], raw_payload VARCHAR
            (JSON); None for no rows.
        counts: extracted, staged, quarantined and warned, filled in.
        warnings: Rows per warning rule.
        violations: Rows per quarantine rule.
        content_hash: Identifies the staged rows: equal rows, equal hash. A change of the transform must
            change it.
        landing_version: The landed answers that the rows were made from.
        watermark: End of the window; aware.
        contract_version: Version of the contract.
        code_version: Version of the code.
        seconds: Time per stage so far.
        confirm_empty: Whether someone confirmed that the day may become empty, or a snapshot remove many rows.
        decided: Parquet of the rows that people decided on, as `etl_assets.pipeline.decided` writes it; None for none.
        decisions: Version of the decisions that the rows were staged with.
        failed_items: Documents that could not be had or read.
        asked: Identifiers of all documents that were asked for.
        fields: What the records have beside the contract, and lack of it; None where nobody looked.
        checks: What the checks say of it.
        statistics: Its numbers, for later days to be compared with.
        loaded_at: When; aware.
    """

    stream: Stream
    partition: date
    run_id: str
    verdict: Status
    counts: Counts
    content_hash: str
    watermark: datetime
    contract_version: str
    loaded_at: datetime
    message: str = ""
    rows: Path | None = None
    quarantine: Path | None = None
    warnings: dict[str, int] = field(default_factory=dict)
    violations: dict[str, int] = field(default_factory=dict)
    landing_version: str | None = None
    code_version: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    confirm_empty: bool = False
    decided: Path | None = None
    decisions: str = ""
    failed_items: tuple[FailedItem, ...] = ()
    asked: tuple[str, ...] = ()
    fields: ObservedFields | None = None
    checks: tuple[CheckResult, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.verdict.is_published or self.verdict is Status.WITHHELD):
            raise ValueError(f"{self.verdict.value} is not a verdict")

    @property
    def what(self) -> str:
        """The partition, as messages name it."""
        return f"{self.stream.id} {self.partition}"


Judge = Callable[[duckdb.DuckDBPyConnection, Sequence[CommitRequest]], list[CommitRequest]]
"""Looks at partitions of one stream within their transaction, before any is applied, and gives each its verdict."""


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did.

    Attributes:
        status: How the partition ended; WITHHELD also where the commit itself found a reason.
        counts: The request's, with loaded, updated, unchanged, deduplicated and removed.
        message: Why it was withheld.
        load_id: Its number in the load log; None when withheld.
        touched_dates: Business dates whose rows changed.
        unchanged_content: Whether the partition held exactly this content already, so that no row was looked
            at.
        warnings: Rows per warning rule.
        schema_changes: What was noticed of the stream's schema.
        checks: What the checks say of it.
    """

    status: Status
    counts: Counts
    message: str
    load_id: int | None
    touched_dates: tuple[date, ...]
    unchanged_content: bool
    warnings: dict[str, int] = field(default_factory=dict)
    schema_changes: tuple[SchemaChange, ...] = ()
    checks: tuple[CheckResult, ...] = ()
