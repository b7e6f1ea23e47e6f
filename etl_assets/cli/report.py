"""The command `etl-assets report`: how good every table is, per day, in one HTML page.

What belongs here: its options. What does not: the page (`etl_assets.report`).
"""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etl_assets.report.reading import Period

DEFAULT_OUTPUT = Path("report.html")


def report(
    selection: Annotated[
        list[str] | None, typer.Argument(help="Streams or sources; all when none is named.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the page is written.")
    ] = DEFAULT_OUTPUT,
    first: Annotated[
        str,
        typer.Option(
            "--from", metavar="DAY", help="First day. [default: first partition, two years back at most]"
        ),
    ] = "",
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day. [default: yesterday]")] = "",
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> int:
    """Write how good every table is, per day, into one HTML page that opens offline."""
    from etl_assets.marts.catalogue import discover_marts
    from etl_assets.report.making import make_report
    from etl_assets.settings import load_settings
    from etl_assets.streams.discovery import discover_streams

    settings = load_settings()
    streams = discover_streams().select(selection or [])
    size = make_report(settings, streams, discover_marts(), output, _period(first, last))
    typer.echo(f"written: {output} ({size / 1e6:,.2f} MB)")
    if show:
        webbrowser.open(output.absolute().as_uri())
    return 0


def _period(first: str, last: str) -> Period:
    """Check the ends that were named; one that was not follows from what is in the warehouse."""
    from etl_assets.cli.days import day_range, last_full_day, parse_day
    from etl_assets.report.reading import Period

    ends = parse_day(first, "--from") if first else None, parse_day(last, "--to") if last else None
    if first or last:
        day_range(first or last, last or last_full_day().isoformat())
    return Period(*ends)
