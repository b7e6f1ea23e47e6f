"""Killed before delivery, and between delivery and acknowledgement: none is lost, at most one comes twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from etl_assets.alerts.conditions import Kind
from etl_assets.alerts.engine import Scene, Watcher, tick
from etl_assets.alerts.messages import messages_in
from etl_assets.alerts.notice import Notice
from etl_assets.alerts.outbox import Outbox, outbox_path
from etl_assets.alerts.rules import load_rules
from etl_assets.settings import load_settings
from etl_assets_tests.alerts.desk import NOON, OK, Desk, failed_day, open_desk, slack_server
from etl_assets_tests.sources.scripted import Asked, Reply

pytestmark = pytest.mark.crash

SPAWN = multiprocessing.get_context("spawn")


class Killer:
    """A channel that kills its own process before it sends."""

    def send(self, notice: Notice, message_id: int) -> str:
        """See `Channel`."""
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    def check(self) -> None:
        """See `Channel`."""


def work(variables: Mapping[str, str], listener: Connection | None, *, kills_itself: bool) -> None:
    """Tick once, some time later, in a process of its own."""
    settings = load_settings(variables)
    with Outbox(outbox_path(settings)) as outbox:
        scene = Scene(settings, load_rules(settings), {}, outbox, NOON.replace(minute=1))
        if listener is not None:
            listener.send(os.getpid())
        tick(scene, [], open_with=(lambda name: Killer()) if kills_itself else None)


def run_killed(variables: Mapping[str, str], *, kills_itself: bool) -> tuple[int, int]:
    """Run a tick that gets killed; gives its process and how that ended."""
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=work, args=(variables, sender), kwargs={"kills_itself": kills_itself})
    process.start()
    pid = receiver.recv()
    process.join(120)
    assert process.exitcode is not None
    return pid, process.exitcode


def write_down(desk: Desk, number: int) -> None:
    """Write conditions down, without telling anybody yet."""
    for each in range(number):
        desk.news.append(failed_day(f"b{each}", f"Backfill b{each}", kind=Kind.BACKFILL_FINISHED))
    desk.tick()


def test_killed_between_writing_down_and_delivery(tmp_path: Path) -> None:
    with slack_server() as slack, open_desk(tmp_path, slack.variables) as desk:
        variables = dict(desk.settings.environment)
        write_down(desk, 2)
        _, exit_code = run_killed(variables, kills_itself=True)
        assert exit_code == -signal.SIGKILL
        assert [message.attempts for message in messages_in(desk.outbox, "pending")] == [1, 0]
        desk.tick(90)
        assert slack.titles == ["[info] Backfill b0 finished", "[info] Backfill b1 finished"]


def test_killed_between_delivery_and_acknowledgement(tmp_path: Path) -> None:
    """The service has the message, and kills the sender before it says so."""
    sender: list[int] = []

    def script(asked: Asked, number: int) -> Reply:
        if number == 0:
            os.kill(sender[0], signal.SIGKILL)
        return OK

    with slack_server(script) as slack, open_desk(tmp_path, slack.variables) as desk:
        write_down(desk, 2)
        receiver, listener = SPAWN.Pipe(duplex=False)
        variables = dict(desk.settings.environment)
        process = SPAWN.Process(target=work, args=(variables, listener), kwargs={"kills_itself": False})
        process.start()
        assert process.pid is not None
        sender.append(process.pid)
        assert receiver.recv() == process.pid
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        desk.tick(90)
        desk.tick(90)
        first, second = "[info] Backfill b0 finished", "[info] Backfill b1 finished"
        assert slack.titles == [first, first, second], "at most one repeat, none lost, in order"


def test_a_dead_process_keeps_nobody_waiting_and_two_at_once_do_not_send_twice(tmp_path: Path) -> None:
    """While one sends, another finds it at work and leaves."""
    with slack_server() as slack, open_desk(tmp_path, slack.variables) as desk:
        write_down(desk, 1)

        class Rival:
            """A channel in whose middle another tick is tried."""

            def send(self, notice: Notice, message_id: int) -> str:
                with Outbox(outbox_path(desk.settings)) as outbox:
                    scene = Scene(desk.settings, desk.rules, {}, outbox, desk.now)
                    assert tick(scene, [Watcher("desk", lambda _: pytest.fail("looked"))]).is_busy
                return ""

            def check(self) -> None:
                """See `Channel`."""

        assert desk.tick(90, open_with=lambda name: Rival()).sent == 1
        assert slack.bodies == []
