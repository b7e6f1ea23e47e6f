"""The command `etl-assets plan`: what a backfill would load, and why.

What belongs here: its options and its table. What does not: finding out (`etl_assets.pipeline.plan`).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from etl_assets.pipeline.plan import PlannedDay, StreamPlan

SHOWN_RANGES = 20


def plan(
    selection: Annotated[
        list[str] | None, typer.Argument(help="Streams or sources; all when none is named.")
    ] = None,
    first: Annotated[
        str, typer.Option("--from", metavar="DAY", help="First day. [default: first partition]")
    ] = "",
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day. [default: yesterday]")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> int:
    """Show which days a backfill would have to load, why, and what that will take; nothing is run."""
    from etl_assets.cli.days import day_range, default_range
    from etl_assets.cli.terminal import make_console
    from etl_assets.pipeline.environment import Environment
    from etl_assets.pipeline.plan import plan as make_plan
    from etl_assets.settings import load_settings
    from etl_assets.streams.discovery import discover_streams

    settings = load_settings()
    catalogue = discover_streams()
    days = day_range(*default_range(first, last, settings.start_date))
    environment = Environment.of(settings, catalogue.code_versions)
    plans = make_plan(environment, catalogue.select(selection or []), days)
    if as_json:
        found = {"from": days[0], "to": days[-1], "streams": [asdict(each) for each in plans]}
        typer.echo(json.dumps(found, indent=2, default=str))
    else:
        console = make_console()
        console.print(f"{days[0]} to {days[-1]}, {len(days):,} days", highlight=False)
        _print(console, plans)
    return 0


def _print(console: Console, plans: Sequence[StreamPlan]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stream", no_wrap=True)
    for name in ("up to date", "to load", "rows", "requests", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("why")
    for each in plans:
        estimates = (each.rows, each.requests, None if each.seconds is None else round(each.seconds))
        reasons = Counter(day.reason.value for day in each.days)
        table.add_row(
            each.stream,
            f"{each.up_to_date:,}",
            f"{len(each.days):,}",
            *("-" if number is None else f"~{number:,}" for number in estimates),
            ", ".join(f"{number:,} {reason}" for reason, number in reasons.items()),
        )
    console.print(table)
    lines = [line for each in plans for line in _lines(each)]
    for line in lines[:SHOWN_RANGES]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(lines) > SHOWN_RANGES:
        console.print(f"and {len(lines) - SHOWN_RANGES} more; see --json", highlight=False)


def _lines(found: StreamPlan) -> list[str]:
    """Tell the days, one line for each range of them that has one reason and one message."""
    lines: list[str] = []
    group: list[PlannedDay] = []
    for day in (*found.days, None):
        if group and (day is None or not _follows(group[-1], day)):
            start, end = group[0].partition, group[-1].partition
            days = str(start) if start == end else f"{start} to {end}"
            message = f": {group[0].message}" if group[0].message else ""
            lines.append(f"{found.stream} {days} {group[0].reason}{message}")
            group = []
        if day is not None:
            group.append(day)
    return lines


def _follows(before: PlannedDay, day: PlannedDay) -> bool:
    together = (before.reason, before.message) == (day.reason, day.message)
    return together and (day.partition - before.partition).days == 1
