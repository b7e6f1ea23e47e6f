"""The command `etl-assets demo`: the whole way once, with nothing to set up.

What belongs here: the demo's sources behind a backfill of the last 30 days, and telling where things are. What does
not: anything that a real user's load would not do as well.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from rich.console import Console

    from etl_assets.settings import Settings
    from etl_assets.streams.base import Stream

DEMO_DAYS = 30


def demo(
    days: Annotated[
        int, typer.Option(min=1, max=365, help="Full days to load, up to yesterday.")
    ] = DEMO_DAYS,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
) -> int:
    """Start the demo shop, deliver files and postings, load the last 30 full days and show the result."""
    from etl_assets.cli.backfill import run_backfill
    from etl_assets.cli.days import days_between, last_full_day
    from etl_assets.cli.deliveries import demo_deliveries
    from etl_assets.cli.demo_source import point_at_datasets, point_at_shop
    from etl_assets.cli.results import print_result
    from etl_assets.cli.terminal import make_console
    from etl_assets.demo.server import spawn_source
    from etl_assets.settings import DEMO_TOKEN, load_settings
    from etl_assets.streams.discovery import discover_streams

    console = make_console()
    last = last_full_day()
    span = days_between(last - timedelta(days=days - 1), last)
    catalogue = discover_streams()
    # The shop as of the end of the last day: loading again finds the same, at whatever hour.
    midnight = f"{last + timedelta(days=1)}T00:00:00Z"
    with spawn_source(token=DEMO_TOKEN, now=midnight) as source:
        point_at_shop(source)
        point_at_datasets(source)
        settings = load_settings()
        demo_deliveries(settings).deliver(span)
        if not as_json:
            console.print(
                f"demo shop on {source.url}; loading {len(span)} days, {span[0]} to {span[-1]}",
                highlight=False,
            )
        result = run_backfill(settings, catalogue, list(catalogue.values()), span, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2))
    else:
        print_result(console, result)
    report = _write_report(settings, list(catalogue.values()), span)
    if not as_json:
        _print_places(console, settings, report)
    return result.exit_code


def _write_report(settings: Settings, streams: Sequence[Stream], span: Sequence[date]) -> Path:
    """Write the report of the days that were loaded, and give its place."""
    from etl_assets.marts.catalogue import discover_marts
    from etl_assets.report.making import FILE_NAME, make_report
    from etl_assets.report.reading import Period

    path = settings.data_dir / FILE_NAME
    make_report(settings, streams, discover_marts(), path, Period(span[0], span[-1]))
    return path


def _print_places(console: Console, settings: Settings, report: Path) -> None:
    places = (
        ("warehouse", str(settings.warehouse_path)),
        ("landing", str(settings.landing_dir)),
        ("report", f"{report} (open it in a browser; etl-assets report makes it anew)"),
        ("Dagster UI", "make ui, then http://127.0.0.1:3000"),
    )
    for name, place in places:
        console.print(f"{name + ':':<12}{place}", highlight=False, soft_wrap=True)
