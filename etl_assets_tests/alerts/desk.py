"""A desk at which alerts are handled: a clock to turn, things to go wrong, and real servers that get the messages.

What belongs here: setting up and turning the clock. What does not: assertions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from etl_assets.alerts.conditions import BAD_DAYS, Condition, Kind, Report
from etl_assets.alerts.delivery import OpenChannel
from etl_assets.alerts.engine import Scene, Tick, Watcher, tick
from etl_assets.alerts.notice import Notice
from etl_assets.alerts.outbox import Outbox, outbox_path
from etl_assets.alerts.rules import Rules, load_rules
from etl_assets.settings import Settings, load_settings
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.sources.scripted import Asked, Reply, Script, ScriptedServer, scripted_server

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
OK = Reply(b"ok", headers={"Content-Type": "text/html"})


def failed_day(day: str, subject: str = "shop/orders", **changes: Any) -> Condition:
    """Give a day that failed for good."""
    values: dict[str, Any] = {
        "kind": Kind.PARTITION_FAILED,
        "subject": subject,
        "key": day,
        "ref": "run 1",
        "at": NOON,
        "owner": "team:sales",
        "error": f"shop answered 500 for {day}",
        "failure_class": "permanent",
        "run_id": "0f3e0a52-1111-2222-3333-444455556666",
        "rows": 10,
        "link": f"/assets/warehouse/{subject}?view=partitions&partition={day}",
    }
    return Condition(**(values | changes))


def january(count: int) -> list[str]:
    """Give the first days of a year."""
    return [(datetime(2025, 1, 1) + timedelta(days=number)).date().isoformat() for number in range(count)]


@dataclass
class Desk:
    """Alerts with a clock of their own.

    Attributes:
        settings: Where everything is.
        rules: Who is told of what.
        outbox: The open outbox.
        now: The clock.
        wrong: What is wrong now; of its kinds, that is all there is.
        news: What has happened besides; told to the alerts once.
    """

    settings: Settings
    rules: Rules
    outbox: Outbox
    now: datetime = NOON
    wrong: list[Condition] = field(default_factory=list)
    news: list[Condition] = field(default_factory=list)

    def scene(self, **more: Any) -> Scene:
        """Give what watchers look at now."""
        return Scene(self.settings, self.rules, discover_streams(), self.outbox, self.now, **more)

    def tick(self, seconds: float = 0, *, open_with: OpenChannel | None = None) -> Tick:
        """Turn the clock, and tick."""
        self.now += timedelta(seconds=seconds)
        report = Report(conditions=[*self.wrong, *self.news], complete=BAD_DAYS | {Kind.SOURCE_BROKEN})
        done = tick(self.scene(), [Watcher("desk", lambda scene: report)], open_with=open_with)
        self.news.clear()
        return done

    def pass_time(self, seconds: float, every: float = 30) -> None:
        """Tick until some time has passed."""
        for _ in range(int(seconds // every)):
            self.tick(every)


@contextmanager
def open_desk(
    folder: Path, variables: Mapping[str, str] | None = None, rules: str | None = None
) -> Iterator[Desk]:
    """Open a desk in a folder of its own.

    Args:
        folder: The data folder.
        variables: Further settings.
        rules: What stands in the alerts file, if there is one.
    """
    settings = load_settings({"ETL_DATA_DIR": str(folder), **(variables or {}), **write_rules(folder, rules)})
    with Outbox(outbox_path(settings), at=NOON) as outbox:
        yield Desk(settings, load_rules(settings), outbox)


def write_rules(folder: Path, rules: str | None) -> dict[str, str]:
    """Write an alerts file; gives the setting that names it."""
    if rules is None:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alerts.toml").write_text(rules, encoding="utf-8")
    return {"ETL_ALERTS_FILE": str(folder / "alerts.toml")}


@contextmanager
def slack_desk(
    folder: Path, script: Script | None = None, rules: str | None = None
) -> Iterator[tuple[Desk, Slack]]:
    """Open a desk whose messages go to a webhook server of its own."""
    with slack_server(script) as slack, open_desk(folder, slack.variables, rules) as desk:
        yield desk, slack


@dataclass
class Slack:
    """A webhook that keeps what it acknowledged."""

    server: ScriptedServer
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        """The setting that leads here."""
        return {"ETL_SLACK_WEBHOOK_URL": f"{self.server.url}/services/T0/B0/s3cr3t-of-the-webhook"}

    @property
    def titles(self) -> list[str]:
        """The first lines of all acknowledged messages, in order."""
        return [str(body["text"]) for body in self.bodies]


@contextmanager
def slack_server(script: Script | None = None) -> Iterator[Slack]:
    """Run a webhook server; by default it acknowledges everything."""
    kept: list[dict[str, Any]] = []

    def answer(asked: Asked, number: int) -> Reply:
        if json.loads(asked.body) == {"text": ""}:
            # So does Slack, where the webhook exists.
            return Reply(b"no_text", status=400)
        reply = script(asked, number) if script else OK
        if reply is OK:
            kept.append(json.loads(asked.body))
        return reply

    with scripted_server(answer) as server:
        yield Slack(server, kept)


class Recorder:
    """A channel that keeps notices, for tests that are not about sending."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def send(self, notice: Notice, message_id: int) -> str:
        """See `Channel`."""
        self.notices.append(notice)
        return ""

    def check(self) -> None:
        """See `Channel`."""

    @property
    def titles(self) -> list[str]:
        """What was told, in order."""
        return [notice.title for notice in self.notices]

    def opener(self) -> Callable[[str], Recorder]:
        """Give what opens this channel, whatever its name."""
        return lambda name: self


def text_of(body: Mapping[str, Any]) -> str:
    """Give all texts of a Slack message, one below the other."""
    return "\n".join(_texts(body))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)
