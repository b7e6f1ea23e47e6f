"""The commands `etl-assets alerts ...`: what is wrong, who takes care of it, what nobody wants to hear of.

What belongs here: their options and their lines. What does not: acting on them (`etl_assets.alerts`).
"""

from __future__ import annotations

import getpass
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from rich.console import Console

    from etl_assets.alerts.messages import Message
    from etl_assets.alerts.outbox import Mute, Outbox
    from etl_assets.alerts.problems import Problem

SHOWN_PROBLEMS = 50
SHOWN_MESSAGES = 10

alerts = typer.Typer(
    name="alerts", help="Show, acknowledge and mute alerts, and try the channels.", no_args_is_help=True
)


@alerts.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> int:
    """List open problems, messages that have not been delivered, and mutes."""
    from datetime import UTC, datetime

    from etl_assets.alerts.messages import messages_in
    from etl_assets.alerts.problems import problems_in, with_conditions
    from etl_assets.cli.terminal import make_console

    now = datetime.now(UTC)
    with _opened() as outbox:
        states = ("open", "closed", "settled") if everything else ("open",)
        found = problems_in(outbox, *states)
        problems = [with_conditions(outbox, problem) for problem in found[-SHOWN_PROBLEMS:]]
        messages = messages_in(outbox, "pending", "undelivered")
        mutes = outbox.mutes(now)
    if as_json:
        typer.echo(json.dumps(_as_json(problems, messages, mutes), indent=2, default=str))
    else:
        _print(make_console(), problems, messages, mutes, now)
        if len(found) > len(problems):
            typer.echo(f"and {len(found) - len(problems):,} older ones")
    return 0


@alerts.command("ack")
def ack(
    problem: Annotated[int, typer.Argument(min=1, help="Number of the problem, as `list` shows it.")],
    by: Annotated[str, typer.Option("--by", help="Who takes care of it. [default: the user's name]")] = "",
) -> int:
    """Acknowledge a problem: nobody is told again that it still happens, only that it is over."""
    from datetime import UTC, datetime

    from etl_assets.alerts.problems import acknowledge
    from etl_assets.failures import ConfigurationError

    with _opened() as outbox:
        if not acknowledge(outbox, problem, by or getpass.getuser(), datetime.now(UTC)):
            raise ConfigurationError(f"no problem #{problem} is open", hint="see etl-assets alerts list")
    typer.echo(f"problem #{problem} is taken care of by {by or getpass.getuser()}")
    return 0


@alerts.command("mute")
def mute(
    selection: Annotated[
        str, typer.Argument(help="A stream, a source, an owner, a kind, a pattern such as 'shop/*', or '#7'.")
    ],
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="For how long: 30m, 2h, 1d.")],
    by: Annotated[str, typer.Option("--by", help="Who wants that. [default: the user's name]")] = "",
) -> int:
    """Keep still about something for a while. What is still wrong afterwards is told then."""
    from datetime import UTC, datetime

    from etl_assets.alerts.durations import parse_span
    from etl_assets.alerts.problems import problems_in, with_conditions
    from etl_assets.alerts.routing import is_muted
    from etl_assets.failures import ConfigurationError
    from etl_assets.pipeline.declared import declared_streams
    from etl_assets.settings import load_settings

    try:
        length = parse_span(span)
    except ValueError as error:
        raise ConfigurationError(f"--for {span!r} cannot be used: {error}") from None
    now = datetime.now(UTC)
    with _opened() as outbox:
        problems = [with_conditions(outbox, problem) for problem in problems_in(outbox, "open")]
        fitting = sum(
            is_muted([selection], problem.id, problem.owner, problem.kind, problem.subjects)
            for problem in problems
        )
        if not fitting and not _means_something(selection, declared_streams(load_settings())):
            raise ConfigurationError(
                f"{selection!r} is no stream, source, owner, kind or open problem",
                hint="see etl-assets alerts list",
            )
        outbox.mute(selection, now + length, by or getpass.getuser(), now)
    typer.echo(
        f"{selection} is muted until {now + length:%Y-%m-%d %H:%M} UTC; open problems of it: {fitting:,}"
    )
    return 0


@alerts.command("unmute")
def unmute(selection: Annotated[str, typer.Argument(help="What was muted, as it was typed.")]) -> int:
    """End a mute before its time."""
    from etl_assets.failures import ConfigurationError

    with _opened() as outbox:
        if not outbox.unmute(selection):
            raise ConfigurationError(f"{selection!r} is not muted", hint="see etl-assets alerts list")
    typer.echo(f"{selection} is not muted any more")
    return 0


@alerts.command("test")
def try_channels(
    channel: Annotated[str, typer.Option("--channel", help="Only this one.")] = "",
) -> int:
    """Send a test message to every channel, at once, and say which arrived."""
    from datetime import UTC, datetime

    from etl_assets.alerts.channels.registry import open_channel
    from etl_assets.alerts.conditions import Severity
    from etl_assets.alerts.notice import Fact, Notice, Step
    from etl_assets.alerts.rules import load_rules
    from etl_assets.failures import ConfigurationError, EtlError
    from etl_assets.pipeline.declared import declared_streams
    from etl_assets.settings import ALERTS_FILE_VARIABLE, SLACK_VARIABLE, load_settings

    settings = load_settings()
    rules = load_rules(settings)
    rules.check_streams(declared_streams(settings))
    if not rules.is_configured:
        raise ConfigurationError(
            "no channel is configured", hint=f"set {SLACK_VARIABLE} or {ALERTS_FILE_VARIABLE}"
        )
    if channel and channel not in rules.channels:
        raise ConfigurationError(
            f"there is no channel {channel!r}", hint=f"known: {', '.join(rules.channels)}"
        )
    now = datetime.now(UTC)
    notice = Notice(
        status="test",
        severity=Severity.INFO,
        title="test message of etl_assets",
        facts=(
            Fact("Sent", f"{now:%Y-%m-%d %H:%M:%S} UTC"),
            Fact("Dagster", settings.ui_url, settings.ui_url),
        ),
        did="Nothing is wrong; somebody tries whether alerts arrive.",
        steps=(Step("Nothing has to be done.", "etl-assets alerts list", settings.ui_url),),
        owners=tuple(rules.owners),
    )
    failed = 0
    for name in [channel] if channel else rules.channels:
        try:
            remark = open_channel(settings, rules, name).send(notice, int(now.timestamp()))
            typer.echo(f"channel {name}: delivered{f', {remark}' if remark else ''}")
        except EtlError as error:
            failed += 1
            typer.echo(f"channel {name}: {' '.join(str(error).split())}")
    return 1 if failed else 0


@contextmanager
def _opened() -> Iterator[Outbox]:
    from etl_assets.alerts.outbox import Outbox, outbox_path
    from etl_assets.settings import load_settings

    with Outbox(outbox_path(load_settings())) as outbox:
        yield outbox


def _means_something(selection: str, streams: Any) -> bool:
    from etl_assets.alerts.conditions import Kind
    from etl_assets.alerts.routing import is_selected

    return any(
        is_selected(selection, 0, stream.owner, kind, stream.id)
        for stream in streams.values()
        for kind in Kind
    )


def _as_json(problems: list[Problem], messages: list[Message], mutes: list[Mute]) -> dict[str, Any]:
    return {
        "problems": [
            {
                "id": problem.id,
                "state": problem.state,
                "kind": problem.kind.value,
                "severity": problem.severity.value,
                "subjects": problem.subjects,
                "owner": problem.owner,
                "since": problem.opened_at,
                "last": problem.last_at,
                "over": problem.closed_at,
                "conditions": problem.total,
                "times": problem.times,
                "acknowledged_by": problem.acked_by,
                "error": problem.occurrences[-1].error if problem.occurrences else "",
            }
            for problem in problems
        ],
        "messages": [
            {
                "id": message.id,
                "channel": message.channel,
                "state": message.state,
                "title": message.notice.title,
                "written": message.written_at,
                "attempts": message.attempts,
                "next": message.not_before,
                "error": message.error,
            }
            for message in messages
        ],
        "mutes": [{"selection": mute.selection, "until": mute.until, "by": mute.by} for mute in mutes],
    }


def _print(
    console: Console, problems: list[Problem], messages: list[Message], mutes: list[Mute], now: datetime
) -> None:
    from rich.table import Table
    from rich.text import Text

    from etl_assets.alerts.durations import spell_span
    from etl_assets.alerts.story import title_of

    if problems:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("#", "severity", "since (UTC)", "owner", "what"):
            table.add_column(name, no_wrap=name != "what")
        for problem in problems:
            notes = [f"taken care of by {problem.acked_by}"] if problem.acked_by else []
            notes += ["over"] if problem.state != "open" else []
            title = title_of(problem) + (f" ({', '.join(notes)})" if notes else "")
            since = f"{problem.opened_at:%Y-%m-%d %H:%M}"
            cells = (str(problem.id), problem.severity.value, since, problem.owner, title)
            table.add_row(*(Text(cell) for cell in cells))
        console.print(table)
    else:
        console.print("no open problems", highlight=False)
    lines = [
        f"not delivered to {message.channel} for {spell_span(now - message.written_at)}: {message.notice.title}"
        f" (attempts: {message.attempts}; {message.error or 'not tried yet'})"
        for message in messages[:SHOWN_MESSAGES]
    ]
    lines += (
        [f"and {len(messages) - SHOWN_MESSAGES:,} more messages"] if len(messages) > SHOWN_MESSAGES else []
    )
    lines += [f"muted until {mute.until:%Y-%m-%d %H:%M} UTC by {mute.by}: {mute.selection}" for mute in mutes]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
