"""The result of a backfill: a table for people, JSON for machines.

What belongs here: adding up outcomes and showing them. What does not: producing them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from etl_assets.cli.embeddings import EmbeddingRow, embedding_lines
from etl_assets.cli.gaps import gap_as_json, gap_lines
from etl_assets.cli.harvests import DayHarvest, harvest_lines
from etl_assets.cli.schema_changes import ChangeRow, change_as_json, change_lines
from etl_assets.outcomes import PartitionOutcome, Status
from etl_assets.warehouse.status import SequenceGap

SHOWN_PROBLEMS = 10
ROW_COUNTS = (
    "extracted",
    "loaded",
    "updated",
    "unchanged",
    "deduplicated",
    "removed",
    "quarantined",
    "warned",
    "failed_items",
)
SHOWN_DAYS = ("published", "withheld", "failed")
SHOWN_ROWS = ("extracted", "loaded", "unchanged", "deduplicated", "quarantined")


@dataclass
class StreamResult:
    """Totals of one stream."""

    stream: str
    days: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    problems: list[PartitionOutcome] = field(default_factory=list)
    schema_changes: list[ChangeRow] = field(default_factory=list)

    def add(self, outcome: PartitionOutcome) -> None:
        """Add one partition."""
        self.days[outcome.status] += 1
        for name in ROW_COUNTS:
            self.rows[name] += getattr(outcome.counts, name)
        if not outcome.status.is_published:
            self.problems.append(outcome)
        self.schema_changes += [
            ChangeRow(self.stream, change.day or outcome.partition, change)
            for change in outcome.schema_changes
        ]

    @property
    def published(self) -> int:
        """Days whose rows are visible."""
        return self.days[Status.PUBLISHED] + self.days[Status.PUBLISHED_WITH_WARNINGS]


@dataclass(frozen=True)
class MartResultRow:
    """What became of one mart."""

    mart: str
    dates: int
    rows: int
    failure: str = ""


@dataclass(frozen=True)
class BackfillResult:
    """What a backfill did.

    Attributes:
        streams: Totals per stream.
        marts: What became of the marts.
        run_ids: Dagster runs that it took.
        seconds: Time from start to end.
        problem: What went wrong beyond single days, if anything did.
        notes: What was left out, and why; one line each.
        harvests: What became of the documents of each day, where streams have documents.
        embeddings: What became of the texts that rows are searched by.
        gaps: Changes that are missing from the change feeds among the streams; no error by themselves.
    """

    streams: list[StreamResult]
    marts: list[MartResultRow]
    run_ids: list[str]
    seconds: float
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    gaps: Sequence[SequenceGap] = ()
    harvests: Sequence[DayHarvest] = ()
    embeddings: Sequence[EmbeddingRow] = ()

    @property
    def exit_code(self) -> int:
        """0 when every day was published and every mart rebuilt, else 1."""
        failed = (
            self.problem
            or any(row.failure for row in self.marts)
            or any(row.failure for row in self.embeddings)
            or any(row.problems for row in self.streams)
        )
        return 1 if failed else 0

    @property
    def problem_lines(self) -> list[str]:
        """What went wrong, one line each."""
        days = [
            f"{outcome.stream} {outcome.partition} {outcome.status}: {outcome.message}"
            for row in self.streams
            for outcome in row.problems
        ]
        marts = [f"marts/{mart.mart}: {mart.failure}" for mart in self.marts if mart.failure]
        return [*days, *marts, *([self.problem] if self.problem else [])]

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "streams": [
                {
                    "stream": row.stream,
                    "days": {status.value: row.days[status] for status in Status if row.days[status]},
                    "rows": {name: row.rows[name] for name in ROW_COUNTS},
                    "problems": [_problem(outcome) for outcome in row.problems],
                    "schema_changes": [change_as_json(change) for change in row.schema_changes],
                }
                for row in self.streams
            ],
            "marts": [
                {
                    "mart": row.mart,
                    "dates_rebuilt": row.dates,
                    "rows": row.rows,
                    "failure": row.failure or None,
                }
                for row in self.marts
            ],
            "documents": [one.as_json() for one in self.harvests],
            "embeddings": [row.as_json() for row in self.embeddings],
            "gaps": [gap_as_json(gap) for gap in self.gaps],
            "run_ids": self.run_ids,
            "seconds": round(self.seconds, 2),
            "problem": self.problem or None,
            "notes": self.notes,
            "exit_code": self.exit_code,
        }


def total(outcomes: Sequence[PartitionOutcome], stream_ids: Sequence[str]) -> list[StreamResult]:
    """Add outcomes up, per stream."""
    results = {stream_id: StreamResult(stream_id) for stream_id in stream_ids}
    for outcome in sorted(outcomes, key=lambda one: one.partition):
        results[outcome.stream].add(outcome)
    return list(results.values())


def _problem(outcome: PartitionOutcome) -> dict[str, Any]:
    failure = outcome.failure
    return {
        "partition": outcome.partition.isoformat(),
        "status": outcome.status.value,
        "message": outcome.message,
        "stage": failure.stage if failure else None,
        "failure_class": failure.failure_class.value if failure else None,
        "error_type": failure.error_type if failure else None,
    }


def print_result(console: Console, result: BackfillResult) -> None:
    """Print the result table, the marts, days that were not published, changes of schemas, and missing changes."""
    # Few streams lose rows; where none did, the column would only say so.
    removing = ("removed",) if any(row.rows["removed"] for row in result.streams) else ()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stream", no_wrap=True)
    for name in (*SHOWN_DAYS, *SHOWN_ROWS, *removing):
        table.add_column(name, justify="right")
    for row in result.streams:
        days = (row.published, row.days[Status.WITHHELD], row.days[Status.FAILED])
        rows = (row.rows[name] for name in (*SHOWN_ROWS, *removing))
        table.add_row(row.stream, *(f"{number:,}" for number in (*days, *rows)))
    console.print(table)
    for line in harvest_lines(result.harvests):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for row in result.streams:
        if failed := row.rows["failed_items"]:
            console.print(
                f"{row.stream}: {failed:,} items failed; etl-assets retry-failed asks for them again"
            )
    for mart in result.marts:
        text = mart.failure or f"{mart.dates:,} dates rebuilt, {mart.rows:,} rows in the table"
        console.print(f"marts/{mart.mart}: {text}", markup=False, highlight=False)
    for line in embedding_lines(result.embeddings):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    _print_problems(console, result.streams)
    changes = [change for row in result.streams for change in row.schema_changes]
    for line in (*change_lines(changes), *gap_lines(result.gaps)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if result.problem:
        console.print(f"problem: {result.problem}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{result.seconds:.1f} s", highlight=False)


def _print_problems(console: Console, rows: Sequence[StreamResult]) -> None:
    """Print the days that were not published; days with one and the same cause share a line."""
    by_cause: dict[tuple[str, str], list[PartitionOutcome]] = {}
    for outcome in (outcome for row in rows for outcome in row.problems):
        by_cause.setdefault((outcome.status, outcome.message), []).append(outcome)
    for (status, message), outcomes in list(by_cause.items())[:SHOWN_PROBLEMS]:
        line = f"{_span(outcomes)} {status}: {message}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(by_cause) > SHOWN_PROBLEMS:
        console.print(f"{len(by_cause) - SHOWN_PROBLEMS} more causes, see --json or etl-assets status")


def _span(outcomes: Sequence[PartitionOutcome]) -> str:
    """Name the days that share a cause: `shop/orders 2025-01-01`, or how many of which streams."""
    streams = ", ".join(dict.fromkeys(outcome.stream for outcome in outcomes))
    days = sorted({outcome.partition for outcome in outcomes})
    if len(days) == 1:
        return f"{streams} {days[0]}"
    return f"{streams} {len(days)} days from {days[0]} to {days[-1]}"
