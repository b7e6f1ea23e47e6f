"""The command `etl-assets rollback`: takes streams back to an earlier time.

What belongs here: its options, its question, and its table. What does not: the work itself
(`etl_assets.pipeline.rollback`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from rich.console import Console

    from etl_assets.cli.embeddings import EmbeddingRow
    from etl_assets.cli.results import MartResultRow
    from etl_assets.pipeline.environment import Environment
    from etl_assets.pipeline.rollback import RollbackPlan, StreamStep
    from etl_assets.settings import Settings
    from etl_assets.streams.discovery import StreamCatalogue
    from etl_assets.warehouse.rollback import RolledBack

SHOWN_DAYS = 10


@dataclass
class RollbackResult:
    """What a rollback did, or would do.

    Attributes:
        plan: What was to be done.
        run_id: Its number in the load log; None where nothing was done.
        undo: The time right before it, to which another rollback can go.
        done: What was done to each stream that changed.
        marts: What became of the marts.
        embeddings: What became of the texts that rows are searched by.
        notes: What else should be known; one line each.
    """

    plan: RollbackPlan
    run_id: str | None = None
    undo: str | None = None
    done: list[RolledBack] = field(default_factory=list)
    marts: list[MartResultRow] = field(default_factory=list)
    embeddings: list[EmbeddingRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 unless a mart could not be rebuilt, or texts could not be embedded."""
        failures = [*(row.failure for row in self.marts), *(row.failure for row in self.embeddings)]
        return 1 if any(failures) else 0

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        done = {each.stream: each for each in self.done}
        return {
            "to": _iso(self.plan.target.at),
            "after_load": self.plan.target.load_id,
            "run_id": self.run_id,
            "undo": self.undo,
            "streams": [_step_as_json(step, done.get(step.stream.id)) for step in self.plan.steps],
            "marts": [
                {
                    "mart": row.mart,
                    "dates_rebuilt": row.dates,
                    "rows": row.rows,
                    "failure": row.failure or None,
                }
                for row in self.marts
            ],
            "embeddings": [row.as_json() for row in self.embeddings],
            "notes": [*_notes(self.plan), *self.notes],
            "exit_code": self.exit_code,
        }


def rollback(
    selection: Annotated[
        list[str], typer.Argument(help="Streams such as shop/orders, or a source such as shop.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="RUN_OR_TIME",
            help="A time such as 2025-01-10T08:00Z, UTC where it has no zone; or a run: right after its last commit.",
        ),
    ],
    first: Annotated[
        str,
        typer.Option("--from-day", metavar="DAY", help="First partition that goes back. \\[default: any]"),
    ] = "",
    last: Annotated[
        str, typer.Option("--to-day", metavar="DAY", help="Last one, included. \\[default: any]")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
) -> int:
    """Take streams back to what they were at a time, or right after a run, and rebuild the marts they feed.

    Tables, histories and bookkeeping become what they were, from the same landed answers, in one transaction; days that
    had not been loaded are taken out. The streams' files of today are used. Landing keeps all later answers: go forward
    again with another rollback, or with backfill --missing --changed. Exit code 0 when it was done, 1 when not, 2 for
    wrong usage.
    """
    from etl_assets.cli.backfill import with_quiet_logs
    from etl_assets.cli.terminal import make_console
    from etl_assets.observability.logging import configure_logging
    from etl_assets.pipeline.environment import Environment
    from etl_assets.pipeline.rollback import plan_rollback
    from etl_assets.settings import load_settings
    from etl_assets.streams.discovery import discover_streams

    settings = with_quiet_logs(load_settings(), quiet=as_json)
    configure_logging(settings.log_format, settings.log_level)
    catalogue = discover_streams()
    streams = catalogue.select(selection)
    environment = Environment.of(settings, catalogue.code_versions)
    console = make_console()
    plan = plan_rollback(environment, streams, to, days=_days(first, last))
    if not as_json:
        print_plan(console, plan)
    if dry_run or not _agreed(plan, yes=yes, as_json=as_json):
        result = RollbackResult(plan)
    else:
        result = run_rollback(settings, catalogue, environment, plan)
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2, default=str))
    elif result.run_id is not None:
        print_result(console, result)
    return result.exit_code


def run_rollback(
    settings: Settings, catalogue: StreamCatalogue, environment: Environment, plan: RollbackPlan
) -> RollbackResult:
    """Do what a plan says, tell Dagster, and rebuild the marts.

    Where nothing is to be done, Dagster and the marts are brought up to date all the same: a rollback that was killed
    may have got no further than its commit.

    Raises:
        EtlError: If it could not be done; nothing was changed.
    """
    from datetime import UTC, datetime, timedelta
    from uuid import uuid4

    from etl_assets.pipeline.rollback import roll_back

    result = RollbackResult(plan)
    run_id, at = str(uuid4()), datetime.now(UTC)
    if plan.changing:
        result.done = roll_back(environment, plan, run_id, at)
        result.run_id, result.undo = run_id, _iso(at - timedelta(microseconds=1))
    _tell(settings, catalogue, environment, result, run_id)
    return result


def _tell(
    settings: Settings,
    catalogue: StreamCatalogue,
    environment: Environment,
    result: RollbackResult,
    run_id: str,
) -> None:
    from etl_assets.cli.backfill import mart_row
    from etl_assets.cli.embeddings import make_embeddings
    from etl_assets.marts.catalogue import discover_marts
    from etl_assets.orchestration.instance import opened_instance
    from etl_assets.warehouse.past_loads import days_taken_out, rows_of_days

    plan = result.plan
    streams = [step.stream for step in plan.steps]
    with environment.warehouse.read("what was rolled back") as connection:
        gone = {stream.id: days_taken_out(connection, stream) for stream in streams}
        rows = {
            step.stream.id: rows_of_days(connection, step.stream, step.cut.restored) for step in plan.changing
        }
    marts = [mart for mart in discover_marts() if {stream.id for stream in streams} & set(mart.reads)]
    with opened_instance(settings) as instance:
        from etl_assets.build import build_definitions
        from etl_assets.orchestration.backfill import rebuild_marts
        from etl_assets.orchestration.rollback import Told, tell

        for stream in streams:
            told = Told(stream, gone[stream.id], rows.get(stream.id, {}), run_id, _time(plan))
            if not tell(instance, told):
                result.notes.append(
                    f"{stream.id}: Dagster's storage cannot forget partitions; they got a note"
                )
        definitions = build_definitions(settings, streams=catalogue)
        if marts and (plan.changing or _pending(environment, marts)):
            run = rebuild_marts(definitions, instance, marts)
            result.marts = [mart_row(mart.name, run) for mart in marts]
        _, result.embeddings = make_embeddings(definitions, instance, streams)


def _pending(environment: Environment, marts: Sequence[Any]) -> bool:
    with environment.warehouse.session("look for pending marts") as session:
        return bool(session.pending_marts(marts))


def _days(first: str, last: str) -> tuple[date, date] | None:
    """Give the first and the last partition that goes back; None for all."""
    from datetime import date

    from etl_assets.cli.days import parse_day
    from etl_assets.failures import ConfigurationError

    if not (first or last):
        return None
    start = parse_day(first, "--from-day") if first else date.min
    end = parse_day(last, "--to-day") if last else date.max
    if start > end:
        raise ConfigurationError(f"--from-day {start} is after --to-day {end}", hint="swap them")
    return start, end


def _agreed(plan: RollbackPlan, *, yes: bool, as_json: bool) -> bool:
    """Have somebody agree, unless there is nothing to agree to.

    Raises:
        ConfigurationError: If there is nobody to ask.
        Exit: If they did not.
    """
    from etl_assets.failures import ConfigurationError

    if yes or not plan.changing:
        return True
    if as_json or not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody can be asked here; nothing was changed", hint="add --yes, or --dry-run"
        )
    if typer.confirm("Go back?"):
        return True
    typer.echo("nothing was changed")
    raise typer.Exit(1)


def print_plan(console: Console, plan: RollbackPlan) -> None:
    """Print what would be done, stream by stream."""
    from rich.table import Table

    console.print(f"back to {_time(plan)}", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stream", no_wrap=True)
    for name in ("kept", "restored", "taken out", "loads to apply", "their rows", "rows now"):
        table.add_column(name, justify="right")
    for step in plan.steps:
        cut = step.cut
        numbers = (
            len(cut.kept),
            len(cut.restored),
            len(cut.taken_out),
            len(cut.loads),
            _extracted(step),
            step.rows,
        )
        table.add_row(step.stream.id, *(f"{number:,}" for number in numbers))
    console.print(table)
    for line in (*(line for step in plan.changing for line in _day_lines(step)), *_notes(plan)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not plan.changing:
        console.print("nothing to do: the same loads count now as then", highlight=False)


def print_result(console: Console, result: RollbackResult) -> None:
    """Print what was done."""
    from etl_assets.cli.embeddings import embedding_lines

    lines = [
        f"{done.stream}: {done.rows_before:,} rows before, {done.rows_after:,} now, "
        f"{len(done.touched_dates):,} business dates differ"
        for done in result.done
    ]
    lines += [
        f"marts/{row.mart}: {row.failure}"
        if row.failure
        else f"marts/{row.mart}: {row.dates:,} dates rebuilt"
        for row in result.marts
    ]
    for line in (
        *lines,
        *embedding_lines(result.embeddings),
        *result.notes,
        f"done in run {result.run_id}; --to {result.undo} undoes it",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _day_lines(step: StreamStep) -> list[str]:
    """Say which days differ, and by what."""
    lines = []
    for day in step.cut.changed[:SHOWN_DAYS]:
        then, now = step.cut.then.get(day, ()), step.cut.now.get(day, ())
        if not then:
            what = "taken out"
        else:
            what = f"answers of {then[-1].landing_version}"
            what += f" instead of {now[-1].landing_version}" if now else " brought back"
        lines.append(f"{step.stream.id} {day}: {what}")
    if len(step.cut.changed) > SHOWN_DAYS:
        lines.append(f"{step.stream.id}: and {len(step.cut.changed) - SHOWN_DAYS:,} more days; see --json")
    return lines


def _notes(plan: RollbackPlan) -> list[str]:
    return [
        f"note: {step.stream.id}: {step.made_anew:,} of {len(step.cut.loads):,} loads were made by other code or under "
        "another contract; their rows will be what the present ones make of the same answers"
        for step in plan.changing
        if step.made_anew
    ]


def _step_as_json(step: StreamStep, done: RolledBack | None) -> dict[str, Any]:
    cut = step.cut
    return {
        "stream": step.stream.id,
        "kept": len(cut.kept),
        "restored": [
            {
                "partition": day,
                "landing_version": cut.then[day][-1].landing_version,
                "instead_of": cut.now[day][-1].landing_version if day in cut.now else None,
            }
            for day in cut.restored
        ],
        "taken_out": list(cut.taken_out),
        "loads_to_apply": len(cut.loads),
        "rows_to_apply": _extracted(step),
        "made_by_other_code": step.made_anew,
        "rows_before": step.rows,
        "rows_after": done.rows_after if done else None,
        "dates_touched": len(done.touched_dates) if done else None,
    }


def _extracted(step: StreamStep) -> int:
    return sum(load.extracted for load in step.cut.loads)


def _iso(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _time(plan: RollbackPlan) -> str:
    return f"{plan.target.at:%Y-%m-%d %H:%M:%S} UTC (load {plan.target.load_id:,})"
