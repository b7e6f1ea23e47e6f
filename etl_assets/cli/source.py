"""The command ``etl-assets source``: the demo source alone.

What belongs here: its options, and turning bad ones into one-line errors. What does not: what the source
does.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl_assets.failures import ConfigurationError

if TYPE_CHECKING:
    from etl_assets.demo.clock import Clock
    from etl_assets.demo.shop import Shop


def source(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")
    ] = 8765,
    host: Annotated[str, typer.Option(help="Name or address to listen on.")] = "127.0.0.1",
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Serve the retail day files YYYY-MM-DD.csv of this folder."),
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Serve this folder's documents as the catalogue of datasets, <identifier>.json say.",
        ),
    ] = None,
    token: Annotated[
        str, typer.Option(envvar="ETL_SHOP_TOKEN", show_default=False, help="Bearer token to ask for.")
    ] = "demo-token",
    now: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop the shop's clock at this time, 2025-01-31T08:00:00Z say."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Makes other generated days and other faults.")] = 0,
    lines_per_day: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Exact size of generated days. [default: 300 to 600]"),
    ] = None,
    errors: Annotated[float, typer.Option(metavar="SHARE", help="Share of requests answered 5xx.")] = 0.0,
    rate_limited: Annotated[float, typer.Option(metavar="SHARE", help="Share answered 429.")] = 0.0,
    cut_off: Annotated[float, typer.Option(metavar="SHARE", help="Share cut off in mid-body.")] = 0.0,
    html: Annotated[float, typer.Option(metavar="SHARE", help="Share answered by an HTML page.")] = 0.0,
    latency: Annotated[float, typer.Option(metavar="SECONDS", help="Wait before every answer.")] = 0.0,
    down: Annotated[bool, typer.Option("--down", help="Close every connection without an answer.")] = False,
    schema_drift: Annotated[
        bool, typer.Option("--schema-drift", help="Add an unknown field to every record.")
    ] = False,
    rename_field: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="Give a field another name; may be repeated.")
    ] = None,
    fail_day: Annotated[
        list[str] | None, typer.Option(metavar="YYYY-MM-DD", help="Answer 422 for this day; may be repeated.")
    ] = None,
    empty_day: Annotated[
        list[str] | None, typer.Option(metavar="YYYY-MM-DD", help="No rows for this day; may be repeated.")
    ] = None,
    deliver: Annotated[
        bool,
        typer.Option(
            "--deliver/--no-deliver",
            help="Deliver finance files and ERP postings as well, from the first partition up to the last full day "
            "and then day by day, to the demo's folder; not where ETL_FINANCE_URL or ETL_ERP_URL is set.",
        ),
    ] = True,
    stop_with_input: Annotated[bool, typer.Option("--stop-with-input", hidden=True)] = False,
) -> None:
    """Serve the demo shop's API until interrupted: retail day files with --data, else generated days.

    Beside it, a catalogue of datasets: a folder's documents with --documents, else made-up ones.

    Meanwhile the demo's other systems deliver their days, too.
    """
    # Imported here so that the help of the other commands does not wait for a web server.
    from etl_assets.demo.app import create_app
    from etl_assets.demo.clock import Clock, parse_time
    from etl_assets.demo.datasets import make_datasets
    from etl_assets.demo.faults import Faults
    from etl_assets.demo.server import address_of, listen, make_shop, serve

    try:
        faults = Faults(
            errors=errors,
            rate_limited=rate_limited,
            cut_off=cut_off,
            html=html,
            latency=latency,
            down=down,
            schema_drift=schema_drift,
            renamed_fields=_renamed(rename_field or []),
            fail_days=fail_day or [],
            empty_days=empty_day or [],
            seed=seed,
        )
        clock = Clock(fixed=parse_time(now, name="--now") if now else None)
        shop = make_shop(data, seed=seed, lines_per_day=lines_per_day)
        datasets = make_datasets(documents, seed=seed)
        listener = listen(host, port)
    except (ConfigurationError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    with ExitStack() as stack:
        if deliver:
            stack.enter_context(_delivering(shop, clock, seed))
        typer.echo(
            f"The shop listens on {address_of(listener)} and serves {shop.label}, and {datasets.label} below /id/; "
            "stop it with Ctrl-C."
        )
        sys.stdout.flush()
        stop_with = sys.stdin.buffer if stop_with_input else None
        app = create_app(shop, token=token, clock=clock, faults=faults, datasets=datasets)
        serve(app, listener, stop_with=stop_with)


def _delivering(shop: Shop, clock: Clock, seed: int) -> AbstractContextManager[None]:
    """Deliver from the first day that anybody could load."""
    from etl_assets.cli.deliveries import demo_deliveries
    from etl_assets.demo.deliveries import delivering
    from etl_assets.demo.retail import RetailShop
    from etl_assets.settings import load_settings

    settings = load_settings()
    first = settings.start_date
    if isinstance(shop, RetailShop):
        first = min(first, shop.first_day)
    return delivering(demo_deliveries(settings, seed=seed), clock, first)


def _renamed(pairs: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for pair in pairs:
        old, _, new = pair.partition("=")
        names[old] = new
    if not all(old and new for old, new in names.items()):
        raise ValueError("--rename-field needs an old and a new name, such as country=land")
    return names
