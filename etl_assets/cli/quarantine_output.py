"""What `etl-assets quarantine` prints: counts with examples, rows with their moves, results, and the export.

What belongs here: showing, with no personal field in clear. What does not: the work (`etl_assets.cli.quarantine_work`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etl_assets.cli.quarantine_work import Work, WorkResult
from etl_assets.cli.terminal import make_console
from etl_assets.failures import ConfigurationError
from etl_assets.pipeline.mending import shown_fields, write_rows
from etl_assets.warehouse.quarantine_moves import chosen_rows
from etl_assets.warehouse.quarantined import (
    Choice,
    Move,
    QuarantinedRow,
    RuleCount,
    count_by_rule,
    moves_of,
    rows_of,
)

SHOWN_COUNTS = 50
"""Lines of the table for people; machines get all of them."""

LONGEST_EXAMPLE = 60


def print_counts(work: Work, choice: Choice, *, by_day: bool, as_json: bool) -> int:
    """Print how many rows break which rule, each with an example."""
    with work.reading() as connection:
        counts = [] if connection is None else count_by_rule(connection, choice, by_day=by_day)
        examples: list[QuarantinedRow] = []
        if connection is not None and counts:
            ids = tuple({count.example for count in counts})
            examples = rows_of(connection, Choice(streams=choice.streams, rows=ids, states=()))
    fields = {row.id: shown_fields(work.catalogue[row.stream], row) for row in examples}
    if as_json:
        told = [asdict(count) | {"example_fields": fields.get(count.example)} for count in counts]
        typer.echo(json.dumps(told, indent=2, default=str))
        return 0
    console = make_console()
    if not counts:
        console.print("no rows", highlight=False)
        return 0
    console.print(_table_of(counts, by_day=by_day), highlight=False)
    for count in counts[:SHOWN_COUNTS]:
        example = json.dumps(fields.get(count.example), ensure_ascii=False, default=str)
        cut = example if len(example) <= LONGEST_EXAMPLE else f"{example[: LONGEST_EXAMPLE - 1]}…"
        _say(console, f"{count.example}: {count.reason}: {cut}")
    if len(counts) > SHOWN_COUNTS:
        _say(console, f"and {len(counts) - SHOWN_COUNTS:,} more; see --json")
    return 0


def print_rows(work: Work, choice: Choice, *, as_json: bool) -> int:
    """Print rows with all that is known of them.

    Raises:
        ConfigurationError: If one of them is not in the quarantine.
    """
    with work.reading() as connection:
        if connection is None:
            raise ConfigurationError("there is no quarantine yet", hint="run `etl-assets backfill` first")
        found = [(row, moves_of(connection, row)) for row in chosen_rows(connection, choice)]
    if as_json:
        typer.echo(json.dumps([_row_as_json(work, *each) for each in found], indent=2, default=str))
        return 0
    console = make_console()
    for row, moves in found:
        _print_row(console, work, row, moves)
    return 0


def print_result(result: WorkResult, *, as_json: bool) -> int:
    """Print what working on rows came to; gives the exit code."""
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2))
        return result.exit_code
    console = make_console()
    for line in (*result.notes, *result.problems, _summary(result)):
        _say(console, line)
    return result.exit_code


def write_export(work: Work, choice: Choice, output: Path | None) -> int:
    """Write rows of a stream as CSV.

    Raises:
        ConfigurationError: If more than one stream is chosen, or the file cannot be written.
    """
    if len(choice.streams) != 1:
        raise ConfigurationError("rows of one stream at a time are exported", hint="name one stream")
    stream = work.catalogue[choice.streams[0]]
    with work.reading() as connection:
        rows = [] if connection is None else chosen_rows(connection, choice)
    text = write_rows(stream, rows)
    if output is None:
        typer.echo(text, nl=False)
        return 0
    draft = output.with_name(f".{output.name}.part")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(output)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    _say(make_console(), f"{len(rows):,} rows of {stream.id} in {output}")
    return 0


def _table_of(counts: Sequence[RuleCount], *, by_day: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    numbers = ("rows", "attempts") if by_day else ("days", "rows", "attempts")
    for name in ("stream", "rule", "state", "day" if by_day else "from", *(() if by_day else ("to",))):
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    table.add_column("example", no_wrap=True)
    for count in counts[:SHOWN_COUNTS]:
        days = (str(count.first),) if by_day else (str(count.first), str(count.last))
        shown = [f"{getattr(count, name):,}" for name in numbers]
        cells = (count.stream, count.rule, count.state, *days, *shown, count.example)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _row_as_json(work: Work, row: QuarantinedRow, moves: Sequence[Move]) -> dict[str, Any]:
    told = asdict(row)
    told.pop("payload")
    fields = shown_fields(work.catalogue[row.stream], row)
    return told | {"fields": fields, "moves": [asdict(move) for move in moves]}


def _print_row(console: Console, work: Work, row: QuarantinedRow, moves: Sequence[Move]) -> None:
    attempts = "1 attempt" if row.attempts == 1 else f"{row.attempts:,} attempts"
    _say(console, f"{row.id}  {row.stream} {row.partition}  {row.state}, {attempts}")
    _say(console, f"  {', '.join(row.rules)}: {row.reason}")
    _say(console, f"  seen from {row.first_seen:%Y-%m-%d %H:%M} to {row.last_seen:%Y-%m-%d %H:%M} UTC")
    fields = shown_fields(work.catalogue[row.stream], row)
    if fields is None:
        _say(console, "  no fields: " + ("purged" if row.payload is None else "it is no record"))
    for name, value in (fields or {}).items():
        _say(console, f"  {name} = {json.dumps(value, ensure_ascii=False)}")
    for move in moves:
        states = f"{move.from_state or 'new'} -> {move.to_state}"
        _say(
            console,
            f"  {move.moved_at:%Y-%m-%d %H:%M} {states} ({move.action}) by {move.moved_by}: {move.reason}",
        )


def _summary(result: WorkResult) -> str:
    if not result.states:
        return f"{result.action}: no rows"
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(result.states.items()))
    rows = result.states.total()
    done = "were" if result.action == "purge" else "now"
    return f"{result.action}: {rows:,} row{'' if rows == 1 else 's'}, {done} {states}"


def _say(console: Console, line: str) -> None:
    # Control characters in a source's text must not reach the terminal.
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
    console.print(Text(text), highlight=False, soft_wrap=True)
