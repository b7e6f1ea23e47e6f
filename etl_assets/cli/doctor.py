"""The command `etl-assets doctor`: anything unusual, explained, and mended where that is safe.

What belongs here: its options and its lines. What does not: looking (`etl_assets.pipeline.doctor`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from etl_assets.pipeline.doctor import Finding
    from etl_assets.settings import Settings


def doctor(
    mending: Annotated[
        bool, typer.Option("--mend", help="Mend what is safe to mend: leftovers of killed processes.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every landed answer and every table back; takes its time.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> int:
    """List and explain anything unusual in the data folder, the warehouse and Dagster's runs.

    Exit code 1 when something is left that somebody has to look after.
    """
    from etl_assets.cli.terminal import make_console
    from etl_assets.pipeline.doctor import Weight, examine, mend
    from etl_assets.pipeline.environment import Environment
    from etl_assets.settings import load_settings
    from etl_assets.streams.discovery import discover_streams

    settings = load_settings()
    catalogue = discover_streams()
    environment = Environment.of(settings, catalogue.code_versions)
    found = [*examine(environment, list(catalogue.values()), deep=deep), *_runs(settings)]
    found += _alerts(settings, catalogue)
    left = mend(found) if mending else found
    if as_json:
        mended = [finding for finding in found if finding not in left]
        typer.echo(json.dumps({"found": _plain(left), "mended": _plain(mended)}, indent=2))
    else:
        console = make_console()
        for finding in found:
            done = "mended: " if finding not in left else ""
            advice = f" ({finding.advice})" if finding.advice else ""
            line = f"{done}{finding.weight} {finding.where}: {finding.what}{advice}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print(_summary(found, left), highlight=False)
    return 1 if any(finding.weight is not Weight.NOTE for finding in left) else 0


def _runs(settings: Settings) -> list[Finding]:
    if not settings.dagster_home.exists():
        return []
    from functools import partial

    from etl_assets.orchestration.dead_runs import dead_runs, end_run
    from etl_assets.orchestration.instance import opened_instance
    from etl_assets.pipeline.doctor import Finding, Weight

    def end(run_id: str) -> None:
        with opened_instance(settings) as instance:
            end_run(instance, run_id)

    with opened_instance(settings) as instance:
        return [
            Finding(
                Weight.LEFTOVER,
                f"run {run.run_id}",
                "Dagster shows it as under way, but its process is gone",
                mend=partial(end, run.run_id),
            )
            for run in dead_runs(instance)
        ]


def _alerts(settings: Settings, stream_ids: Iterable[str]) -> list[Finding]:
    """Look at the alerts' channels, and at what could not be told."""
    from etl_assets.alerts.channels.examine import channel_problems
    from etl_assets.alerts.messages import messages_in
    from etl_assets.alerts.outbox import Outbox, outbox_path
    from etl_assets.alerts.rules import load_rules
    from etl_assets.failures import ConfigurationError
    from etl_assets.pipeline.doctor import Finding, Weight

    try:
        rules = load_rules(settings)
        rules.check_streams(stream_ids)
        problems = list(channel_problems(settings, rules))
    except ConfigurationError as error:
        # One finding among others: whoever asks the doctor wants to hear of all of them.
        problems = [" ".join(str(error).split())]
    advice = "mend it, then: etl-assets alerts test"
    found = [Finding(Weight.PROBLEM, "alerts", problem, advice) for problem in problems]
    if outbox_path(settings).exists():
        with Outbox(outbox_path(settings)) as outbox:
            lost = messages_in(outbox, "undelivered")
        if lost:
            what = f"{len(lost):,} alerts reached nobody; the last error: {lost[-1].error}"
            found.append(Finding(Weight.PROBLEM, "alerts", what, "etl-assets alerts list"))
    return found


def _plain(findings: list[Finding]) -> list[dict[str, str]]:
    return [
        {"weight": each.weight.value, "where": each.where, "what": each.what, "advice": each.advice}
        for each in findings
    ]


def _summary(found: list[Finding], left: list[Finding]) -> str:
    if not found:
        return "nothing unusual"
    mendable = sum(finding.mend is not None for finding in left)
    return f"{len(found):,} found, {len(found) - len(left):,} mended" + (
        f"; {mendable:,} can be mended with --mend" if mendable else ""
    )
