"""The command `etl-assets backfill`: loads a range of days in this process.

What belongs here: its options, and the order of its work. What does not: the work itself.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import date

    from etl_assets.cli.backfill_days import Part
    from etl_assets.cli.embeddings import EmbeddingRow
    from etl_assets.cli.harvests import DayHarvest
    from etl_assets.cli.progress import CollectingReporter
    from etl_assets.cli.results import BackfillResult, MartResultRow
    from etl_assets.orchestration.backfill import RunResult
    from etl_assets.pipeline.plan import Reason
    from etl_assets.settings import Settings
    from etl_assets.streams.base import Stream
    from etl_assets.streams.discovery import StreamCatalogue
    from etl_assets.warehouse.failed_items import Retry
    from etl_assets.warehouse.status import SequenceGap


@dataclass(slots=True)
class _Done:
    """Runs that loaded days, those that made something of them, and what became of that."""

    loads: list[RunResult]
    derived: list[RunResult] = field(default_factory=list)
    marts: list[MartResultRow] = field(default_factory=list)
    embeddings: list[EmbeddingRow] = field(default_factory=list)


def backfill(
    selection: Annotated[
        list[str] | None,
        typer.Argument(help="Streams such as shop/orders, or a source such as shop; all when none is named."),
    ] = None,
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="First day, YYYY-MM-DD.")] = "",
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day, included.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
    confirm_empty: Annotated[
        bool,
        typer.Option("--confirm-empty", help="Accept that the source has no rows for a day that holds some."),
    ] = False,
    confirm_audits: Annotated[
        bool,
        typer.Option(
            "--confirm-audits", help="Publish days though an audit of the stream would withhold them."
        ),
    ] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Load again from landing, without asking the source.")
    ] = False,
    missing: Annotated[bool, typer.Option("--missing", help="Only days that were never loaded.")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only days whose last attempt failed or was withheld.")
    ] = False,
    changed: Annotated[
        bool,
        typer.Option(
            "--changed",
            help="Only days loaded by other code or contract, landed again, or decided on in quarantine since.",
        ),
    ] = False,
) -> int:
    """Load days of streams and rebuild the marts they feed; both ends are included.

    With --missing, --failed or --changed, which add up, only the days that `etl-assets plan` gives that reason for are
    loaded; the ends then default to the first partition and yesterday.

    Runs in this process and is recorded in the Dagster instance that the UI shows. Days that a source which shows only
    the present cannot give any more are replayed from landing, or left out with a note. Exit code 0 when every day was
    published, 1 when some were not, 2 for wrong usage.
    """
    from etl_assets.failures import ConfigurationError

    if not (missing or failed or changed) and not (first and last):
        lacking = "--from" if not first else "--to"
        raise ConfigurationError(
            f"{lacking} is missing", hint="name both ends, for example --from 2025-01-01 --to 2025-01-31"
        )
    from etl_assets.cli.days import day_range, default_range
    from etl_assets.pipeline.worker_processes import start_early
    from etl_assets.settings import load_settings

    settings = load_settings()
    days = day_range(*default_range(first, last, settings.start_date))
    # They import what they need while this process does.
    start_early(settings.staging_processes, settings.staged_dir, selection or [], days)
    from etl_assets.cli.results import print_result
    from etl_assets.cli.terminal import make_console
    from etl_assets.streams.discovery import discover_streams

    catalogue = discover_streams()
    streams = catalogue.select(selection or [])
    reasons = _reasons(missing=missing, failed=failed, changed=changed)
    result = run_backfill(
        settings,
        catalogue,
        streams,
        days,
        only=_planned(settings, catalogue, streams, days, reasons) if reasons else None,
        quiet=as_json,
        confirm_empty=confirm_empty,
        confirm_audits=confirm_audits,
        replay=replay,
    )
    if as_json:
        typer.echo(json.dumps(result.as_json(), indent=2))
    else:
        print_result(make_console(), result)
    return result.exit_code


def run_backfill(
    settings: Settings,
    catalogue: StreamCatalogue,
    streams: Sequence[Stream],
    days: Sequence[date],
    *,
    quiet: bool = False,
    confirm_empty: bool = False,
    confirm_audits: bool = False,
    replay: bool = False,
    retry: Retry | None = None,
    only: Mapping[str, Collection[date]] | None = None,
) -> BackfillResult:
    """Load days of streams, then rebuild the marts that read them.

    Args:
        settings: Where everything is.
        catalogue: All streams.
        streams: Those to load.
        days: Consecutive days.
        quiet: Show no progress.
        confirm_empty: Accept that days which hold rows become empty.
        confirm_audits: Publish days though an audit would withhold them.
        replay: Load again from landing, without asking the source.
        retry: Which failed documents to ask for again, all else being taken from landing.
        only: Days to load of each stream, by its id; all of them where not given.

    Raises:
        EtlError: If nothing could be begun.
    """
    from datetime import UTC, datetime

    from etl_assets.cli.backfill_days import plan_days
    from etl_assets.cli.progress import make_reporter
    from etl_assets.cli.results import BackfillResult, total
    from etl_assets.cli.terminal import make_console
    from etl_assets.landing.store import Landing
    from etl_assets.marts.catalogue import discover_marts

    started = time.monotonic()
    console = make_console(stderr=True)
    plan = plan_days(streams, days, Landing(settings.landing_dir), datetime.now(UTC), only=only)
    settings = _adjusted(settings, days, console, quiet=quiet)
    _check_keys(settings, streams, console, quiet=quiet)
    if not quiet:
        for note in plan.notes:
            console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if not replay:
        _check_sources(settings, streams)
    marts = [mart for mart in discover_marts() if {stream.id for stream in streams} & set(mart.reads)]
    reporter = make_reporter(console, plan.days, quiet=quiet)
    try:
        done = _execute(
            settings,
            catalogue,
            plan.parts,
            marts,
            reporter,
            {
                "confirm_empty": confirm_empty,
                "confirm_audits": confirm_audits,
                "replay": replay,
                **({"retry": retry} if retry else {}),
            },
        )
    finally:
        reporter.close()
    gaps, unread = _gaps(settings, streams)
    harvests, unread_documents = _harvests(settings, reporter)
    return BackfillResult(
        streams=total(list(reporter.outcomes.values()), [stream.id for stream in streams]),
        marts=done.marts,
        embeddings=done.embeddings,
        run_ids=[run.run_id for run in (*done.loads, *done.derived)],
        seconds=time.monotonic() - started,
        problem=_unexplained(done.loads, reporter) or unread or unread_documents,
        notes=plan.notes,
        gaps=gaps,
        harvests=harvests,
    )


def _reasons(*, missing: bool, failed: bool, changed: bool) -> frozenset[Reason]:
    from etl_assets.pipeline.plan import CHANGED, UNPUBLISHED, Reason

    return frozenset().union(
        {Reason.MISSING} if missing else (), UNPUBLISHED if failed else (), CHANGED if changed else ()
    )


def _planned(
    settings: Settings,
    catalogue: StreamCatalogue,
    streams: Sequence[Stream],
    days: Sequence[date],
    reasons: frozenset[Reason],
) -> dict[str, set[date]]:
    """Give the days of each stream that there is one of some reasons to load."""
    from etl_assets.pipeline.environment import Environment
    from etl_assets.pipeline.plan import plan

    plans = plan(Environment.of(settings, catalogue.code_versions), streams, days, reasons=reasons)
    return {each.stream: {day.partition for day in each.days} for each in plans}


def _execute(
    settings: Settings,
    catalogue: StreamCatalogue,
    parts: Sequence[Part],
    marts: Sequence[Any],
    reporter: CollectingReporter,
    options: dict[str, Any],
) -> _Done:
    from etl_assets.importing import importing

    with ExitStack() as stack:
        with importing():
            from etl_assets.build import build_definitions
            from etl_assets.cli.embeddings import make_embeddings
            from etl_assets.observability.progress import CompositeReporter, LogReporter
            from etl_assets.orchestration.backfill import load_days, rebuild_marts, runs_of
            from etl_assets.orchestration.dead_runs import end_dead_runs
            from etl_assets.orchestration.instance import opened_instance
            from etl_assets.resources.progress import PROGRESS, progress_resource

            instance = stack.enter_context(opened_instance(settings))
            definitions = build_definitions(
                settings,
                streams=catalogue,
                resources={PROGRESS: progress_resource(CompositeReporter(reporter, LogReporter()))},
            )
        _check_warehouse(settings)
        end_dead_runs(instance)
        runs = [
            load_days(definitions, instance, part.streams, days, **options)
            for part in parts
            for days in runs_of(part.days, settings.partitions_per_run)
        ]
        done = _Done(runs)
        if marts:
            run = rebuild_marts(definitions, instance, marts)
            done.derived.append(run)
            done.marts += [mart_row(mart.name, run) for mart in marts]
        streams = list({stream.id: stream for part in parts for stream in part.streams}.values())
        embedding, rows = make_embeddings(definitions, instance, streams)
        done.derived += [embedding] if embedding is not None else []
        done.embeddings += rows
        return done


def _adjusted(settings: Settings, days: Sequence[date], console: Any, *, quiet: bool) -> Settings:
    """Fit the settings to a command line: a day before the first partition is loaded, and logs leave the bars alone."""
    from dataclasses import replace

    if days[0] < settings.start_date:
        if not quiet:
            console.print(
                f"note: {days[0]} is before the first partition, {settings.start_date}; the UI shows these days "
                f"only with ETL_START_DATE={days[0]}",
                highlight=False,
                soft_wrap=True,
            )
        settings = replace(settings, start_date=days[0])
    return with_quiet_logs(settings, quiet=quiet)


def with_quiet_logs(settings: Settings, *, quiet: bool) -> Settings:
    """Leave logs for people out, which would stand between a command's own lines, unless they were asked for."""
    from dataclasses import replace

    if settings.log_format == "console" and not os.environ.get("ETL_LOG_LEVEL"):
        settings = replace(settings, log_level="ERROR" if quiet else "CRITICAL")
    return settings


def _check_keys(settings: Settings, streams: Sequence[Stream], console: Any, *, quiet: bool) -> None:
    """Refuse at once to load personal data without the key that it is hashed with; a demo's source does without."""
    from etl_assets.pipeline.pseudonyms import uses_demo_key
    from etl_assets.settings import PSEUDONYM_KEY_VARIABLE

    if uses_demo_key(settings, streams) and not quiet:
        console.print(
            f"note: {PSEUDONYM_KEY_VARIABLE} is not set; personal data of the demo is hashed with a throw-away key",
            highlight=False,
            soft_wrap=True,
        )


def _check_sources(settings: Settings, streams: Sequence[Stream]) -> None:
    """Say at once that a server is not there, rather than once per day."""
    from etl_assets.sources.reachable import ensure_reachable
    from etl_assets.sources.registry import open_reader
    from etl_assets.streams.base import RestSource

    for source in {stream.source.name: stream.source for stream in streams}.values():
        found = settings.source(source.name)
        open_reader(source, found).close()
        if isinstance(source, RestSource):
            ensure_reachable(source.name, found)


def _check_warehouse(settings: Settings) -> None:
    """Say at once that the warehouse cannot be used, before anything is asked of a source."""
    from etl_assets.warehouse.opening import open_warehouse

    with open_warehouse(settings).session("check before a backfill"):
        pass


def _gaps(settings: Settings, streams: Sequence[Stream]) -> tuple[list[SequenceGap], str]:
    """Look up which changes are missing from change feeds; gives the error instead where that cannot be read."""
    from etl_assets.failures import EtlError
    from etl_assets.streams.base import Cdc
    from etl_assets.warehouse.opening import open_warehouse
    from etl_assets.warehouse.status import open_gaps

    feeds = [stream.id for stream in streams if isinstance(stream.write, Cdc) and stream.write.contiguous]
    warehouse = open_warehouse(settings)
    if not feeds or not warehouse.exists():
        return [], ""
    try:
        with warehouse.read("look for missing changes") as connection:
            return open_gaps(connection, feeds), ""
    except EtlError as error:  # the days are loaded; that must be told all the same
        return [], str(error)


def _harvests(settings: Settings, reporter: CollectingReporter) -> tuple[list[DayHarvest], str]:
    """Look up what became of documents; gives the error instead where that cannot be read."""
    from etl_assets.cli.harvests import harvests_of
    from etl_assets.failures import EtlError

    try:
        return harvests_of(settings, reporter.outcomes.values()), ""
    except EtlError as error:  # the days are loaded; that must be told all the same
        return [], str(error)


def mart_row(name: str, run: RunResult) -> MartResultRow:
    """Tell what became of a mart in a run that rebuilt it."""
    from etl_assets.cli.results import MartResultRow
    from etl_assets.orchestration.keys import mart_key

    found = run.metadata.get(mart_key(name))
    if found is None:
        return MartResultRow(name, 0, 0, "; ".join(run.failures.values()) or "not rebuilt")
    return MartResultRow(name, int(found["dates_rebuilt"]), int(found["dagster/row_count"]))


def _unexplained(runs: Sequence[RunResult], reporter: CollectingReporter) -> str:
    """Give the error of a run that failed although every day that it told of was published."""
    failed = [run for run in runs if not run.success]
    if not failed or any(not outcome.status.is_published for outcome in reporter.outcomes.values()):
        return ""
    return "; ".join(failed[0].failures.values()) or f"run {failed[0].run_id} failed"
