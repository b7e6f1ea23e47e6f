"""The command `etl-assets reconcile`: asks the sources what they have, and loads the days that drifted.

What belongs here: its options, its table, and handing the days over. What does not: comparing
(`etl_assets.pipeline.reconcile`) and loading (`etl_assets.cli.backfill`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import date

    from rich.console import Console

    from etl_assets.cli.results import BackfillResult
    from etl_assets.pipeline.environment import Environment
    from etl_assets.pipeline.reconcile import ComparedDay, Reconciled
    from etl_assets.settings import Settings
    from etl_assets.streams.base import Stream
    from etl_assets.streams.discovery import StreamCatalogue

SHOWN_DAYS = 20
"""Days in the output for people; machines get all of them."""


@dataclass
class ReconcileResult:
    """What reconciling came to.

    Attributes:
        streams: What the sources told.
        loaded: What loading the drifted days did; None where none was loaded.
        still_different: Days that were loaded, and have another number of records than the source told all the same.
    """

    streams: Sequence[Reconciled]
    loaded: BackfillResult | None = None
    still_different: list[tuple[str, ComparedDay]] = field(default_factory=list)

    @property
    def drifted(self) -> int:
        """Days on which a source has something else."""
        return sum(len(each.drifted) for each in self.streams)

    @property
    def exit_code(self) -> int:
        """0 when all days are equal or mended, or cannot be told of."""
        if any(each.failed for each in self.streams) or self.still_different:
            return 1
        if self.loaded is not None:
            return self.loaded.exit_code
        return 1 if self.drifted else 0

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "streams": [{**asdict(each), "asked": each.asked} for each in self.streams],
            "loaded": None if self.loaded is None else self.loaded.as_json(),
            "still_different": [{"stream": name, **asdict(day)} for name, day in self.still_different],
            "exit_code": self.exit_code,
        }


def reconcile(
    selection: Annotated[
        list[str] | None, typer.Argument(help="Streams or sources; all when none is named.")
    ] = None,
    first: Annotated[
        str, typer.Option("--from", metavar="DAY", help="First day. \\[default: first partition]")
    ] = "",
    last: Annotated[
        str, typer.Option("--to", metavar="DAY", help="Last day, included. \\[default: yesterday]")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask the sources, and load nothing.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
) -> int:
    """Ask the sources whether they still have what was loaded, and load again only the days that drifted.

    A day costs one small request: a count of records, or what a folder shows of its files. Of streams whose source
    tells nothing, it says so. Exit code 0 when all days are equal or mended, 1 when some are not or could not be
    asked about, 2 for wrong usage.
    """
    from etl_assets.cli.days import day_range, default_range
    from etl_assets.cli.terminal import make_console
    from etl_assets.settings import load_settings
    from etl_assets.streams.discovery import discover_streams

    settings = load_settings()
    catalogue = discover_streams()
    days = day_range(*default_range(first, last, settings.start_date))
    streams = catalogue.select(selection or [])
    result = run_reconcile(settings, catalogue, streams, days, dry_run=dry_run, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2, default=str))
    else:
        print_result(make_console(), result)
    return result.exit_code


def run_reconcile(
    settings: Settings,
    catalogue: StreamCatalogue,
    streams: Sequence[Stream],
    days: Sequence[date],
    *,
    dry_run: bool = False,
    quiet: bool = False,
) -> ReconcileResult:
    """Ask the sources, and load the days that drifted.

    Args:
        settings: Where everything is.
        catalogue: All streams.
        streams: Those to ask about.
        days: Consecutive days.
        dry_run: Load nothing.
        quiet: Show no progress.

    Raises:
        EtlError: If nothing could be begun.
    """
    from etl_assets.cli.backfill import run_backfill
    from etl_assets.cli.progress import make_reporter
    from etl_assets.cli.terminal import make_console
    from etl_assets.pipeline.environment import Environment
    from etl_assets.pipeline.reconcile import reconcile as compare

    _quieten(settings)
    environment = Environment.of(settings, catalogue.code_versions)
    reporter = make_reporter(
        make_console(stderr=True), {stream.id: len(days) for stream in streams}, quiet=quiet
    )
    try:
        result = ReconcileResult(compare(environment, streams, days, reporter))
    finally:
        reporter.close()
    drifted = {each.stream: each.drifted for each in result.streams if each.drifted}
    if dry_run or not drifted:
        return result
    result.loaded = run_backfill(
        settings,
        catalogue,
        [stream for stream in streams if stream.id in drifted],
        days,
        only={name: {day.partition for day in found} for name, found in drifted.items()},
        quiet=quiet,
    )
    result.still_different = _still_different(environment, drifted, result.loaded, streams, days)
    return result


def _quieten(settings: Settings) -> None:
    """Keep log lines out of the bars; what goes wrong is told at the end."""
    from etl_assets.observability.logging import configure_logging

    plain = settings.log_format == "console" and not os.environ.get("ETL_LOG_LEVEL")
    configure_logging(settings.log_format, "CRITICAL" if plain else settings.log_level)


def _still_different(
    environment: Environment,
    drifted: Mapping[str, Sequence[ComparedDay]],
    done: BackfillResult,
    streams: Sequence[Stream],
    days: Sequence[date],
) -> list[tuple[str, ComparedDay]]:
    """Give the days that were loaded again, and still not from as many records as the source told."""
    from dataclasses import replace

    from etl_assets.pipeline.reconcile import loaded_records

    now = loaded_records(environment, [stream for stream in streams if stream.id in drifted], days)
    told_of = {(outcome.stream, outcome.partition) for row in done.streams for outcome in row.problems}
    return [
        (name, replace(day, here=now[name][day.partition]))
        for name, found in drifted.items()
        for day in found
        if day.there not in (None, now[name][day.partition]) and (name, day.partition) not in told_of
    ]


def print_result(console: Console, result: ReconcileResult) -> None:
    """Print what the sources told, the days that differ, and what loading them did."""
    from rich.table import Table

    from etl_assets.cli.results import print_result as print_loaded

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stream", no_wrap=True)
    for name in ("asked", "equal", "drifted", "failed", "cannot tell", "never loaded"):
        table.add_column(name, justify="right")
    for each in result.streams:
        numbers = (each.asked, each.equal, len(each.drifted), len(each.failed), each.unknown, each.missing)
        table.add_row(each.stream, *(f"{number:,}" for number in numbers))
    console.print(table)
    for line in _lines(result):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if result.loaded is not None:
        print_loaded(console, result.loaded)
    for name, day in result.still_different:
        line = (
            f"{name} {day.partition}: still {day.here:,} records here and {day.there:,} there; does the "
            "stream's count tell the records that the stream reads?"
        )
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lines(result: ReconcileResult) -> list[str]:
    drifted = [f"{each.stream} {_told(day)}" for each in result.streams for day in each.drifted]
    lines = drifted[:SHOWN_DAYS]
    if len(drifted) > SHOWN_DAYS:
        lines.append(f"and {len(drifted) - SHOWN_DAYS:,} more days; see --json")
    for each in result.streams:
        for message, days in _by_message(each.failed).items():
            lines.append(f"{each.stream}: {_span(days)} could not be asked about: {message}")
        lines += [f"{each.stream}: cannot tell: {reason}" for reason in each.unknown_because]
    if any(each.missing for each in result.streams):
        lines.append("days that were never loaded are loaded by etl-assets backfill --missing")
    return lines


def _told(day: ComparedDay) -> str:
    if day.there is None:
        return f"{day.partition} drifted: {day.reason}"
    return f"{day.partition} drifted: {day.here:,} records here, {day.there:,} there"


def _by_message(failed: Sequence[ComparedDay]) -> dict[str, list[ComparedDay]]:
    found: dict[str, list[ComparedDay]] = {}
    for day in failed:
        found.setdefault(day.reason, []).append(day)
    return found


def _span(days: Sequence[ComparedDay]) -> str:
    first, last = days[0].partition, days[-1].partition
    return str(first) if len(days) == 1 else f"{len(days):,} days from {first} to {last}"
