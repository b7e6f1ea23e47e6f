"""The command `etl-assets retry-failed`: asks again for failed documents, and for nothing else.

What belongs here: its options, choosing the items, and its table. What does not: loading (`etl_assets.cli.backfill`)
and the account of failed items (`etl_assets.warehouse.failed_items`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import date

    from rich.console import Console

    from etl_assets.settings import Settings
    from etl_assets.streams.base import Stream
    from etl_assets.streams.discovery import StreamCatalogue
    from etl_assets.warehouse.failed_items import KnownItem, Retry

SHOWN_ITEMS = 20
"""Items in the table for people; machines get all of them."""


@dataclass
class RetryResult:
    """What asking again came to.

    Attributes:
        items: The items that were asked for again, as they are now.
        notes: What was left out, and why.
        problems: What went wrong beyond single items.
        run_ids: Dagster runs that it took.
    """

    items: list[KnownItem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)

    @property
    def still_failed(self) -> list[KnownItem]:
        """Items that are still not there."""
        return [item for item in self.items if item.is_pending]

    @property
    def exit_code(self) -> int:
        """0 when nothing that was asked for again is missing, else 1."""
        return 1 if self.still_failed or self.problems else 0

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "retried": len(self.items),
            "resolved": len(self.items) - len(self.still_failed),
            "still_failed": len(self.still_failed),
            "items": [asdict(item) for item in self.items],
            "notes": self.notes,
            "problems": self.problems,
            "run_ids": self.run_ids,
            "exit_code": self.exit_code,
        }


def retry_failed(
    selection: Annotated[
        list[str] | None, typer.Argument(help="Streams or sources; all when none is named.")
    ] = None,
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="First day. \\[default: any]")] = "",
    last: Annotated[
        str, typer.Option("--to", metavar="DAY", help="Last day, included. \\[default: any]")
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Also items whose failure does not pass by itself, such as 404.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
) -> int:
    """Ask again for documents that failed, and for nothing else.

    Everything else of their days comes from landing.
    Exit code 0 when none of these documents is missing any more, 1 when some are, 2 for wrong usage.
    """
    from etl_assets.cli.terminal import make_console
    from etl_assets.settings import load_settings
    from etl_assets.streams.discovery import discover_streams

    settings = load_settings()
    catalogue = discover_streams()
    streams = catalogue.select(selection or [])
    span = _span(first, last)
    result = run_retry(settings, catalogue, streams, span, everything=everything, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2, default=str))
    else:
        print_result(make_console(), result)
    return result.exit_code


def run_retry(
    settings: Settings,
    catalogue: StreamCatalogue,
    streams: Iterable[Stream],
    span: tuple[date, date],
    *,
    everything: bool = False,
    quiet: bool = False,
) -> RetryResult:
    """Ask again for the failed documents of some streams.

    Args:
        settings: Where everything is.
        catalogue: All streams.
        streams: Those to look at.
        span: First and last partition to look at.
        everything: Also take up items whose failure does not pass by itself.
        quiet: Show no progress.

    Raises:
        EtlError: If nothing could be begun.
    """
    from etl_assets.cli.backfill import run_backfill
    from etl_assets.cli.days import consecutive
    from etl_assets.warehouse.failed_items import Retry

    result = RetryResult()
    choice = Retry.ALL if everything else Retry.TRANSIENT
    chosen = _chosen(settings, streams, span, choice, result)
    for stream, items in chosen:
        for days in consecutive(sorted({item.partition for item in items})):
            done = run_backfill(settings, catalogue, [stream], days, quiet=quiet, retry=choice)
            result.run_ids += done.run_ids
            result.problems += done.problem_lines
    now = _known(settings, [stream for stream, _ in chosen], state=None)
    for stream, items in chosen:
        wanted = {(item.partition, item.identifier) for item in items}
        result.items += [item for item in now[stream.id] if (item.partition, item.identifier) in wanted]
    return result


def _span(first: str, last: str) -> tuple[date, date]:
    from datetime import date

    from etl_assets.cli.days import parse_day
    from etl_assets.failures import ConfigurationError

    start = parse_day(first, "--from") if first else date.min
    end = parse_day(last, "--to") if last else date.max
    if start > end:
        raise ConfigurationError(f"--from {start} is after --to {end}", hint="swap them")
    return start, end


def _chosen(
    settings: Settings,
    streams: Iterable[Stream],
    span: tuple[date, date],
    choice: Retry,
    result: RetryResult,
) -> list[tuple[Stream, list[KnownItem]]]:
    """Give the items to ask for again, by stream; notes what is left out."""
    from etl_assets.streams.base import Documents

    documents = [stream for stream in streams if isinstance(stream.extract, Documents)]
    known = _known(settings, documents)
    chosen = []
    for stream in documents:
        pending = [item for item in known[stream.id] if span[0] <= item.partition <= span[1]]
        possible = [item for item in pending if choice.takes(item)]
        wanted = [item for item in possible if _can_be_had(stream, item.partition)]
        if left_out := len(pending) - len(possible):
            result.notes.append(
                f"{stream.id}: {left_out:,} failed for good, left out; --all asks for them as well"
            )
        if too_late := len(possible) - len(wanted):
            result.notes.append(
                f"{stream.id}: {too_late:,} left out: the source shows only the present, and their days are over"
            )
        if wanted:
            chosen.append((stream, wanted))
    return chosen


def _can_be_had(stream: Stream, day: date) -> bool:
    """Whether what a document is now may be taken for what it was on a day.

    A merge keeps the newest version, so that it does no harm there; a snapshot would be told that a past day looked
    like the present.
    """
    from etl_assets.streams.base import Documents, Snapshot

    if not (isinstance(stream.extract, Documents) and isinstance(stream.write, Snapshot)):
        return True
    span = stream.extract.askable(day)
    return span is None or datetime.now(UTC) < span.end


def _known(
    settings: Settings, streams: Sequence[Stream], state: str | None = "pending"
) -> dict[str, list[KnownItem]]:
    """Give the failed items by stream."""
    from etl_assets.warehouse.failed_items import known_items
    from etl_assets.warehouse.opening import open_warehouse

    warehouse = open_warehouse(settings)
    if not streams or not warehouse.exists():
        return {stream.id: [] for stream in streams}
    with warehouse.read("etl-assets retry-failed") as connection:
        return {stream.id: known_items(connection, stream.id, state=state) for stream in streams}


def print_result(console: Console, result: RetryResult) -> None:
    """Print what became of the items, those still missing first."""
    from rich.table import Table

    if result.items:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("stream", "partition", "identifier", "attempts", "result"):
            table.add_column(name, justify="right" if name == "attempts" else "left")
        # What is still missing is what people have to look at.
        shown = [*result.still_failed, *(item for item in result.items if not item.is_pending)]
        for item in shown[:SHOWN_ITEMS]:
            outcome = f"failed: {item.message}" if item.is_pending else "resolved"
            row = (item.stream, str(item.partition), item.identifier, f"{item.attempts:,}", outcome)
            table.add_row(*(_plain(text) for text in row))
        console.print(table, highlight=False)
        if len(shown) > SHOWN_ITEMS:
            console.print(f"and {len(shown) - SHOWN_ITEMS:,} more; see --json", highlight=False)
    for line in (*result.notes, *result.problems, _summary(result)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def _summary(result: RetryResult) -> str:
    if not result.items:
        return "nothing to retry"
    failed = len(result.still_failed)
    return f"{len(result.items):,} retried, {len(result.items) - failed:,} resolved, {failed:,} still failed"
