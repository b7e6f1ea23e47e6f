"""Nothing is lost, nothing comes twice, and everything in order: against a real webhook that misbehaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from etl_assets.alerts.channels.registry import open_channel
from etl_assets.alerts.compose import compose
from etl_assets.alerts.conditions import Kind, Severity
from etl_assets.alerts.delivery import deliver
from etl_assets.alerts.messages import LONGEST_ASKED_WAIT, enqueue, messages_in
from etl_assets.alerts.notice import Notice
from etl_assets.alerts.rules import Rules, SlackRules
from etl_assets_tests.alerts.desk import (
    NOON,
    OK,
    Desk,
    Slack,
    failed_day,
    open_desk,
    slack_desk,
    slack_server,
)
from etl_assets_tests.alerts.mailbox import Mailbox, mail_server
from etl_assets_tests.sources.scripted import Asked, Reply

OUTAGE = 600
SHORT = """
[channels.slack]
kind = "slack"
timeout = 0.3
"""


def news(desk: Desk, number: int) -> None:
    """Have something happen that is told once."""
    desk.news.append(
        failed_day(f"b{number}", f"Backfill b{number}", kind=Kind.BACKFILL_FINISHED, at=desk.now)
    )


BAD_ANSWERS = {
    "500": Reply(b"server_error", status=500),
    "503": Reply(b"", status=503),
    "hangs up": Reply(hang_up=True),
    "times out": Reply(b"ok", delay=0.6),
    "cut short": Reply(b"ok", cut_after=1),
    "not slack": Reply(b"<html>Log in</html>", status=200),
    "rate limited": Reply(b"rate_limited", status=429, headers={"Retry-After": "120"}),
    "gone": Reply(b"no_service", status=404),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_ten_minutes_of_outage_lose_nothing(tmp_path: Path, answer: Reply) -> None:
    """Three things happen meanwhile; all of them arrive when it is back, in order, each once."""
    down = True

    def script(asked: Asked, number: int) -> Reply:
        return answer if down else OK

    with slack_desk(tmp_path, script, SHORT if answer.delay else None) as (desk, slack):
        for number in range(3):
            news(desk, number)
            desk.pass_time(OUTAGE / 3, every=50)
        assert slack.bodies == []
        assert len(messages_in(desk.outbox, "pending")) == 3
        attempts = len(slack.server.asked)
        assert 1 <= attempts <= 12, "repeats wait for ever longer"
        down = False
        # What is acknowledged too late comes twice, and a busy machine is late.
        desk.rules = Rules(channels={"slack": SlackRules(kind="slack")})
        desk.pass_time(600, every=60)
        assert slack.titles == [f"[info] Backfill b{number} finished" for number in range(3)]
        assert messages_in(desk.outbox, "pending") == []
        desk.pass_time(600, every=60)
        assert len(slack.bodies) == 3


def test_retry_after_is_kept(tmp_path: Path) -> None:
    answers = [Reply(b"", status=429, headers={"Retry-After": "240"}), OK]
    with slack_desk(tmp_path, lambda asked, number: answers[min(number, 1)]) as (desk, slack):
        news(desk, 1)
        desk.tick()
        desk.tick(30)
        desk.pass_time(210, every=30)
        assert len(slack.server.asked) == 1
        desk.tick(60)
        assert len(slack.bodies) == 1


@pytest.mark.parametrize("asked", ["999999999", "Sat, 01 Mar 2999 12:00:00 GMT"])
def test_however_long_a_service_asks_us_to_wait_it_is_an_hour_at_most(tmp_path: Path, asked: str) -> None:
    reply = Reply(b"", status=429, headers={"Retry-After": asked})
    with slack_desk(tmp_path, lambda asked, number: reply) as (desk, _):
        news(desk, 1)
        desk.tick()
        desk.tick(30)
        [message] = messages_in(desk.outbox, "pending")
        assert message.not_before == desk.now + LONGEST_ASKED_WAIT


FALLBACK = """
fallback = "mail"

[channels.slack]
kind = "slack"

[channels.mail]
kind = "email"
from = "etl@example.com"
to = "ops@example.com"

[[routes]]
channels = "slack"
"""


@contextmanager
def fallback_desk(
    folder: Path, script: Callable[[Asked, int], Reply]
) -> Iterator[tuple[Desk, Slack, Mailbox]]:
    """Open a desk whose webhook is stood in for by e-mail."""
    with mail_server() as mailbox, slack_server(script) as slack:
        variables = slack.variables | {"ETL_SMTP_URL": f"smtp+plain://127.0.0.1:{mailbox.port}"}
        with open_desk(folder, variables, FALLBACK) as desk:
            yield desk, slack, mailbox


def subjects(mailbox: Mailbox) -> list[str]:
    """Give the subjects of all mails, in order."""
    return [str(mail["Subject"]) for mail in mailbox.mails]


BOTH = ["[info] Backfill b0 finished", "[info] Backfill b1 finished"]


def test_after_a_day_another_channel_takes_over(tmp_path: Path) -> None:
    with fallback_desk(tmp_path, lambda asked, number: Reply(b"", status=500)) as (desk, _, mailbox):
        for number in range(2):
            news(desk, number)
            desk.tick(30)
            desk.tick(30)
        written = messages_in(desk.outbox, "pending")[0].written_at
        desk.pass_time(23 * 3_600, every=1_800)
        assert [message.state for message in messages_in(desk.outbox, "pending")] == ["pending"] * 2
        desk.pass_time(2 * 3_600, every=600)
        assert desk.now - written > timedelta(days=1)
        assert messages_in(desk.outbox, "pending", "undelivered") == []
        assert subjects(mailbox) == BOTH


def test_a_message_that_is_refused_for_what_it_is_goes_elsewhere_at_once(tmp_path: Path) -> None:
    refusal = Reply(b"invalid_blocks", status=400)
    with fallback_desk(tmp_path, lambda asked, number: refusal) as (desk, slack, mailbox):
        for number in range(2):
            news(desk, number)
        desk.tick(30)
        desk.tick(30)
        assert len(slack.server.asked) == 2
        assert messages_in(desk.outbox, "pending") == []
        assert subjects(mailbox) == BOTH


def test_what_nobody_can_deliver_stays_on_record(tmp_path: Path) -> None:
    with slack_desk(tmp_path, lambda asked, number: Reply(b"", status=500)) as (desk, _):
        news(desk, 0)
        desk.tick()
        desk.tick(30)
        desk.pass_time(25 * 3_600, every=3_000)
        [message] = messages_in(desk.outbox, "undelivered")
        assert message.notice.title == "Backfill b0 finished"
        assert message.error == "127.0.0.1 answered 500"


def test_messages_for_a_channel_that_is_gone_go_to_the_fallback(tmp_path: Path) -> None:
    with fallback_desk(tmp_path, lambda asked, number: OK) as (desk, slack, mailbox):
        for number in range(2):
            notice = Notice("news", Severity.INFO, f"Backfill b{number} finished")
            enqueue(desk.outbox, "pager", notice, NOON, timedelta(days=1))
        desk.tick()
        assert slack.bodies == []
        assert subjects(mailbox) == BOTH


def test_one_channel_does_not_wait_for_another(tmp_path: Path) -> None:
    rules = FALLBACK.replace('channels = "slack"', 'channels = ["slack", "mail"]')
    with mail_server() as mailbox, slack_server(lambda asked, number: Reply(hang_up=True)) as slack:
        variables = slack.variables | {"ETL_SMTP_URL": f"smtp+plain://127.0.0.1:{mailbox.port}"}
        with open_desk(tmp_path, variables, rules) as desk:
            news(desk, 0)
            desk.tick()
            desk.tick(30)
            assert [mail["Subject"] for mail in mailbox.mails] == ["[info] Backfill b0 finished"]
            assert len(messages_in(desk.outbox, "pending")) == 1


def test_a_tick_stops_sending_when_its_time_is_up(tmp_path: Path) -> None:
    with slack_desk(tmp_path) as (desk, slack):
        news(desk, 0)
        desk.tick(open_with=lambda name: open_channel(desk.settings, desk.rules, name))
        desk.now += timedelta(seconds=30)
        assert compose(desk.outbox, desk.rules, "http://ui", desk.now) == 1

        def opened(name: str) -> object:
            return open_channel(desk.settings, desk.rules, name)

        assert deliver(desk.outbox, desk.rules, opened, desk.now, seconds=0) == 0  # type: ignore[arg-type]
        assert slack.bodies == []
        desk.tick(30)
        assert len(slack.bodies) == 1
