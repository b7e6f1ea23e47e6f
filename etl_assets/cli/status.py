"""The command `etl-assets status`: how far each stream is, day by day.

What belongs here: its options and its table. What does not: reading the bookkeeping (`etl_assets.warehouse.status`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from rich.console import Console

    from etl_assets.pipeline.declared import DeclaredStream
    from etl_assets.settings import Settings
    from etl_assets.sources.circuit_state import CircuitState
    from etl_assets.sources.statistics import RequestCounts
    from etl_assets.warehouse.schema_changes import Noticed
    from etl_assets.warehouse.status import PartitionStatus, SequenceGap, StreamStatus

SHOWN_PROBLEMS = 20


def status(
    selection: Annotated[
        list[str] | None, typer.Argument(help="Streams or sources; all when none is named.")
    ] = None,
    first: Annotated[
        str, typer.Option("--from", metavar="DAY", help="First day. [default: first partition]")
    ] = "",
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day. [default: yesterday]")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> int:
    """Show days published, withheld, failed and missing per stream, and how far each was read."""
    from etl_assets.cli.gaps import gap_lines
    from etl_assets.cli.schema_changes import change_lines, rows_of
    from etl_assets.cli.terminal import make_console
    from etl_assets.pipeline.declared import declared_streams
    from etl_assets.settings import load_settings
    from etl_assets.sources.circuit_file import read_circuits
    from etl_assets.sources.statistics_file import read_counts
    from etl_assets.streams.selection import selected_ids

    settings = load_settings()
    declared = declared_streams(settings)
    streams = [declared[stream_id] for stream_id in selected_ids(declared, selection or [])]
    circuits, requests = read_circuits(settings.state_dir), read_counts(settings.state_dir)
    found = _read(settings, streams, first, last)
    if as_json:
        typer.echo(json.dumps(_as_json(found, circuits, requests), indent=2, default=str))
    else:
        console = make_console()
        _print(console, found)
        lines = (
            *lost_lines(found.streams),
            *gap_lines(found.gaps),
            *change_lines(rows_of(found.standing_changes)),
            *item_lines(found.failed_items),
            *quarantine_lines(found.quarantined),
            *circuit_lines(circuits),
            *request_lines(requests),
        )
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


@dataclass(frozen=True, slots=True)
class _Found:
    """What the bookkeeping says about some streams and days."""

    days: list[date]
    streams: list[StreamStatus]
    problems: list[PartitionStatus]
    gaps: list[SequenceGap]
    failed_items: dict[str, int]
    quarantined: dict[str, int]
    schema_changes: list[Noticed]
    standing_changes: list[Noticed]


def _as_json(
    found: _Found, circuits: dict[str, CircuitState], requests: dict[str, RequestCounts]
) -> dict[str, Any]:
    from etl_assets.cli.gaps import gap_as_json
    from etl_assets.cli.schema_changes import change_as_json, rows_of

    return {
        "from": found.days[0],
        "to": found.days[-1],
        "streams": [asdict(row) for row in found.streams],
        "problems": [asdict(row) for row in found.problems],
        "gaps": [gap_as_json(gap) for gap in found.gaps],
        "failed_items": found.failed_items,
        "quarantined": found.quarantined,
        "schema_changes": [change_as_json(row) for row in rows_of(found.schema_changes)],
        "standing_changes": [change_as_json(row) for row in rows_of(found.standing_changes)],
        "circuits": {source: asdict(state) for source, state in circuits.items()},
        "requests": {source: asdict(counts) for source, counts in requests.items()},
    }


def lost_lines(streams: Sequence[StreamStatus]) -> list[str]:
    """Say, one line each, which streams have days that no load can bring back."""
    return [
        f"{row.stream}: {row.lost:,} days cannot be had: the source shows only the present"
        for row in streams
        if row.lost
    ]


def item_lines(failed_items: dict[str, int]) -> list[str]:
    """Say, one line each, which streams lack documents that could not be had.

    Args:
        failed_items: Number of documents by stream.
    """
    return [
        f"warning: {stream}: {number:,} documents could not be had; see etl.failed_items and etl-assets retry-failed"
        for stream, number in failed_items.items()
    ]


def quarantine_lines(quarantined: dict[str, int]) -> list[str]:
    """Say, one line each, which streams have rows in quarantine that wait for somebody.

    Args:
        quarantined: Number of rows by stream.
    """
    return [
        f"{stream}: {number:,} rows pending in quarantine; see etl-assets quarantine list"
        for stream, number in quarantined.items()
    ]


def circuit_lines(circuits: dict[str, CircuitState]) -> list[str]:
    """Say, one line each, which sources are not asked as usual.

    Args:
        circuits: States by name of the source.
    """
    return [
        f"source {source}: circuit {state.state.replace('_', ' ')} since {state.since:%Y-%m-%d %H:%M:%S} UTC "
        f"(failures in a row: {state.failures:,}), last error: {state.last_error}"
        for source, state in circuits.items()
        if state.state != "closed"
    ]


def request_lines(requests: dict[str, RequestCounts]) -> list[str]:
    """Say, one line each, which sources had to be asked again in their last run.

    Args:
        requests: Counters by name of the source.
    """
    return [
        f"source {source}: {counts.requests:,} requests in the last run, {counts.retries:,} of them repeats, "
        f"{counts.seconds_waited:,.1f} s waited; failed attempts: "
        + ", ".join(
            f"{number:,} {name.replace('_', ' ')}"
            for name, number in sorted(counts.failures_by_class.items())
        )
        for source, counts in requests.items()
        if counts.failures
    ]


def _read(settings: Settings, streams: Sequence[DeclaredStream], first: str, last: str) -> _Found:
    from etl_assets.cli.days import day_range, default_range
    from etl_assets.warehouse.failed_items import pending_items
    from etl_assets.warehouse.opening import open_warehouse
    from etl_assets.warehouse.quarantined import pending_rows
    from etl_assets.warehouse.schema_changes import changes_of, standing_changes
    from etl_assets.warehouse.status import (
        first_partition,
        open_gaps,
        partition_status,
        stream_status,
    )
    from etl_assets.warehouse.without_pandas import without_pandas

    warehouse = open_warehouse(settings)
    stream_ids = [stream.id for stream in streams]
    if not warehouse.exists():
        days = day_range(*default_range(first, last, settings.start_date))
        rows = _with_lost_days(settings, streams, stream_status(None, stream_ids, days), days, [])
        return _Found(days, rows, [], [], {}, {}, [], [])
    with without_pandas(), warehouse.read("etl-assets status") as connection:
        start = min(first_partition(connection) or settings.start_date, settings.start_date)
        days = day_range(*default_range(first, last, start))
        known = [entry for stream_id in stream_ids for entry in partition_status(connection, stream_id, days)]
        problems = [entry for entry in known if not entry.status.is_published]
        rows = _with_lost_days(settings, streams, stream_status(connection, stream_ids, days), days, known)
        gaps, failed_items = open_gaps(connection, stream_ids), pending_items(connection, stream_ids)
        pending = pending_rows(connection, stream_ids)
        changes = changes_of(connection, stream_ids, days), standing_changes(connection, stream_ids)
        return _Found(days, rows, problems, gaps, failed_items, pending, *changes)


def _with_lost_days(
    settings: Settings,
    streams: Sequence[DeclaredStream],
    rows: Sequence[StreamStatus],
    days: Sequence[date],
    known: Sequence[PartitionStatus],
) -> list[StreamStatus]:
    """Count the days that no load can bring back, so that nobody waits for them."""
    from datetime import UTC, datetime

    from etl_assets.landing.store import Landing
    from etl_assets.pipeline.present import can_be_had

    landing, now = Landing(settings.landing_dir), datetime.now(UTC)
    attempted = {(entry.stream, entry.partition) for entry in known}
    counted = []
    for stream, row in zip(streams, rows, strict=True):
        lost = sum(
            (stream.id, day) not in attempted and not can_be_had(stream, day, landing, now) for day in days
        )
        counted.append(replace(row, missing=row.missing - lost, lost=lost))
    return counted


def _print(console: Console, found: _Found) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stream", no_wrap=True)
    removing = ("removed",) if any(row.removed for row in found.streams) else ()
    for name in ("published", "warnings", "withheld", "failed", "missing", "rows", *removing):
        table.add_column(name, justify="right")
    for name in ("watermark (UTC)", "last load (UTC)"):
        table.add_column(name, no_wrap=True)
    for row in found.streams:
        counts = [row.published, row.published_with_warnings, row.withheld, row.failed, row.missing, row.rows]
        counts += [row.removed] if removing else []
        times = (
            f"{moment:%Y-%m-%d %H:%M}" if moment else "-" for moment in (row.watermark, row.last_loaded_at)
        )
        table.add_row(row.stream, *(f"{number:,}" for number in counts), *times)
    days, problems = found.days, found.problems
    console.print(f"{days[0]} to {days[-1]}, {len(days):,} days", highlight=False)
    console.print(table)
    for entry in problems[:SHOWN_PROBLEMS]:
        text = f"{entry.stream} {entry.partition} {entry.status}: {entry.message}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if len(problems) > SHOWN_PROBLEMS:
        console.print(f"and {len(problems) - SHOWN_PROBLEMS} more; see --json", highlight=False)
