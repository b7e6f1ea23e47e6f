"""Alerts through Dagster's real daemon: real causes, a real webhook, a real mail server.

What belongs here: that they reach their owners, and are over, and that a killed daemon loses none. What does not: each
kind by itself (`test_every_alert`).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from dagster._core.test_utils import create_run_for_test

from etl_assets.alerts.messages import messages_in
from etl_assets.alerts.outbox import Outbox, outbox_path
from etl_assets.demo.faults import Faults
from etl_assets.demo.server import RunningSource
from etl_assets.orchestration.instance import opened_instance
from etl_assets_tests.alerts.desk import OK, slack_server, text_of, write_rules
from etl_assets_tests.alerts.mailbox import mail_server
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.daemons import kill_group, killable_daemon, running_daemon, wait_until
from etl_assets_tests.integration.shops import LINES, ORDERS, ScriptedShop
from etl_assets_tests.sources.scripted import Asked, Reply

FAILED, SPOILED = date(2025, 1, 7), date(2025, 1, 8)
RANGE = ("--from", "2025-01-06", "--to", "2025-01-09", "--json")
RULES = """
group_wait = "1s"
look_every = "5s"
deadline = "00:00"

[channels.chat]
kind = "slack"

[channels.mail]
kind = "email"
from = "etl@example.com"
to_owner = true

[owners."team:sales"]
slack = "<@U123SALES>"
email = "sales@example.com"

[[routes]]
owner = "team:sales"
channels = ["chat", "mail"]

[[routes]]
channels = "chat"

[streams."*"]
deadline = "never"
error_rate = { warning = 0.9 }
"""


def test_owners_hear_of_what_failed_and_when_it_is_over(
    scripted: RunningSource, shop: ScriptedShop, use: Use, etl: Etl, tmp_path: Path
) -> None:
    scripted.faults.set_to(Faults(fail_days=[str(FAILED)], fail_path="/v1/orders"))
    shop.spoiled.add(SPOILED)
    with slack_server() as slack, mail_server() as mailbox:
        mail = {"ETL_SMTP_URL": f"smtp+plain://127.0.0.1:{mailbox.port}"}
        settings = use(scripted, **slack.variables, **mail, **write_rules(tmp_path, RULES))
        with opened_instance(settings):
            # Made before the daemon and the command, which start at the same time, would both make it.
            pass
        with running_daemon(settings, tmp_path / "daemon.log") as problem:
            assert etl("backfill", LINES, ORDERS, *RANGE).exit_code == 1
            wait_until(lambda: len(mailbox.mails) == len(slack.bodies) == 2, problem)
            told = {title: text_of(body) for title, body in zip(slack.titles, slack.bodies, strict=True)}
            assert set(told) == {
                "[error] shop/orders 2025-01-07 failed to load",
                "[error] shop/order_lines 2025-01-08 withheld",
            }
            failed, withheld = (told[title] for title in sorted(told, reverse=True))
            for part in (
                "<@U123SALES>",
                "422",
                "permanent",
                "etl-assets backfill shop/orders --from 2025-01-07",
            ):
                assert part in failed
            for part in ("rows (20.0%) broke the contract", "60 rows", "etl.quarantine", "unit_price"):
                assert part in withheld
            assert {str(mail["Subject"]) for mail in mailbox.mails} == set(told)
            assert mailbox.envelopes == [["sales@example.com"]] * 2

            scripted.faults.set_to(Faults())
            shop.spoiled.clear()
            assert etl("backfill", LINES, ORDERS, *RANGE).exit_code == 0
            wait_until(lambda: len(slack.bodies) == 4, problem)
            assert set(slack.titles[2:]) == {
                "[over] shop/orders 2025-01-07 failed to load",
                "[over] shop/order_lines 2025-01-08 withheld",
            }
    with Outbox(outbox_path(settings)) as outbox:
        assert messages_in(outbox, "pending", "undelivered", "diverted") == []
    said = (tmp_path / "daemon.log").read_text(errors="replace")
    assert "s3cr3t" not in said
    assert "unexpected" not in said.lower()


@pytest.mark.slow
def test_a_daemon_that_is_killed_while_it_delivers_loses_nothing(use: Use, tmp_path: Path) -> None:
    """Killed with its code server the moment that the first message has arrived."""
    arrived: list[int] = []

    def script(asked: Asked, number: int) -> Reply:
        arrived.append(number)
        if len(arrived) == 1:
            kill_group(first)
        return OK

    with slack_server(script) as slack:
        settings = use(
            None, **slack.variables, **write_rules(tmp_path, RULES.partition("[channels.mail]")[0])
        )
        with opened_instance(settings) as instance:
            for job in ("nightly", "weekly"):
                run = create_run_for_test(instance, job_name=job)
                instance.report_run_failed(run)
                instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
        with killable_daemon(settings, tmp_path / "daemon.log") as first:
            wait_until(lambda: first.poll() is not None)
        with killable_daemon(settings, tmp_path / "daemon.log") as second:
            wait_until(
                lambda: len(slack.bodies) >= 3,
                lambda: "" if second.poll() is None else "the daemon ended",
            )
            told = [title for title in slack.titles if "failed" in title]
    nightly, weekly = "[error] job nightly: 1 run failed", "[error] job weekly: 1 run failed"
    assert told in ([nightly, nightly, weekly], [weekly, weekly, nightly])
