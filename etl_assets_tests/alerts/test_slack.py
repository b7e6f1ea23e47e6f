"""Slack messages: what they say and how, within Slack's limits, and what becomes of bad addresses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from etl_assets.alerts.channels.base import DeliveryError
from etl_assets.alerts.channels.slack import SlackChannel
from etl_assets.alerts.conditions import Severity
from etl_assets.alerts.notice import Fact, Notice, Step
from etl_assets.alerts.plain_text import COLOURS
from etl_assets.alerts.slack_blocks import slack_body
from etl_assets.failures import ConfigurationError
from etl_assets_tests.alerts.desk import OK, failed_day, january, open_desk, slack_desk, slack_server, text_of
from etl_assets_tests.sources.scripted import Reply, in_turn, scripted_server

SECRET = "T0/B0/s3cr3t-of-the-webhook"
RULES = """
[channels.slack]
kind = "slack"

[owners."team:sales"]
slack = "<@U123SALES>"
"""


def test_a_message_says_everything(tmp_path: Path) -> None:
    variables = {"ETL_UI_URL": "https://dagster.example.com"}

    with slack_server() as slack, open_desk(tmp_path, slack.variables | variables, RULES) as desk:
        desk.wrong = [failed_day(day, details={"Stage": "extract"}) for day in january(12)]
        desk.tick()
        desk.tick(30)
        [body] = slack.bodies
    assert body["text"] == "[error] shop/orders: 12 days failed to load"
    [attachment] = body["attachments"]
    assert attachment["color"] == COLOURS["error"]
    said = text_of(body)
    for part in (
        "<@U123SALES>",
        "shop/orders: 12 days, 2025-01-01 to 2025-01-12",
        "2025-03-01 12:00:00 UTC (30 s)",
        "12 days, 120 rows",
        "team:sales",
        "permanent: the same request will fail again",
        "shop answered 500 for 2025-01-01",
        "the table keeps what it had of these days",
        "Mend the cause that the error names",
        "etl-assets backfill shop/orders --from 2025-01-01 --to 2025-01-12 --failed",
        "etl-assets alerts ack 1",
    ):
        assert part in said, part
    buttons = [
        part for block in attachment["blocks"] if block["type"] == "actions" for part in block["elements"]
    ]
    assert {button["url"] for button in buttons} == {
        "https://dagster.example.com/assets/warehouse/shop/orders?view=partitions&partition=2025-01-12",
        "https://dagster.example.com/runs/0f3e0a52-1111-2222-3333-444455556666",
    }


def test_texts_cannot_speak_slack(tmp_path: Path) -> None:
    with slack_desk(tmp_path) as (desk, slack):
        desk.wrong = [failed_day("2025-01-01", error="<!channel> & <https://evil.example|click>")]
        desk.tick()
        desk.tick(30)
        said = text_of(slack.bodies[0])
    assert "<!channel>" not in said
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;" in said


def test_the_greatest_message_keeps_slacks_limits() -> None:
    long = "x" * 5_000
    notice = Notice(
        status="digest",
        severity=Severity.CRITICAL,
        title=long,
        facts=[
            Fact(f"fact {number}", long, "https://dagster.example.com/" + str(number)) for number in range(30)
        ],
        error=long,
        did=long,
        steps=[Step(long, long, "https://dagster.example.com")] * 10,
        entries=[Fact("error", long, "https://dagster.example.com")] * 30,
        owners=["a"],
        problems=list(range(1, 1_000)),
    )
    # Slack's models refuse what is too long.
    body = slack_body(notice, "<@U1>")
    blocks: list[dict[str, Any]] = body["attachments"][0]["blocks"]
    assert len(blocks) <= 50
    for block in blocks:
        assert len(block.get("text", {}).get("text", "")) <= 3_000
        assert len(block.get("fields", [])) <= 10
        assert all(len(field["text"]) <= 2_000 for field in block.get("fields", []))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hooks.slack.com/services/" + SECRET, "ETL_SLACK_WEBHOOK_URL is no address of a webhook"),
        ("http://hooks.slack.com/services/" + SECRET, "must begin with https://"),
        ("ftp://hooks.slack.com/" + SECRET, "must begin with https://"),
        ("https://[half/" + SECRET, "is no address of a webhook"),
        ("https://hooks.slack.com:port/" + SECRET, "is no address of a webhook"),
    ],
    ids=["no scheme", "no tls", "ftp", "broken host", "broken port"],
)
def test_an_address_that_is_none(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SlackChannel(url, "ETL_SLACK_WEBHOOK_URL", {}, 1)
    assert said in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(b"no_service", status=404), "refused the webhook of ETL_SLACK_WEBHOOK_URL: 404 (no_service)"),
        (
            Reply(b"invalid_token", status=403),
            "refused the webhook of ETL_SLACK_WEBHOOK_URL: 403 (invalid_token)",
        ),
        (
            Reply(f"no such hook {SECRET}".encode(), status=404),
            "refused the webhook of ETL_SLACK_WEBHOOK_URL: 404 ",
        ),
        (Reply(hang_up=True), "127.0.0.1 cannot be reached"),
        (Reply(b"ok", delay=0.5), "127.0.0.1 did not answer in time"),
        (Reply(f"{SECRET}".encode(), status=302), "127.0.0.1"),
    ],
    ids=["no service", "invalid token", "talkative", "hangs up", "slow", "redirects"],
)
def test_a_check_says_what_is_wrong_without_the_secret(reply: Reply, said: str) -> None:
    with scripted_server(in_turn(reply)) as server:
        channel = SlackChannel(f"{server.url}/services/{SECRET}", "ETL_SLACK_WEBHOOK_URL", {}, 0.2)
        with pytest.raises(DeliveryError) as caught:
            channel.check()
    assert said in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_check_tells_nobody_anything() -> None:
    with scripted_server(in_turn(Reply(b"no_text", status=400))) as server:
        SlackChannel(f"{server.url}/services/{SECRET}", "ETL_SLACK_WEBHOOK_URL", {}, 5).check()
        [asked] = server.asked
    assert json.loads(asked.body) == {"text": ""}


def test_a_host_that_there_is_not() -> None:
    channel = SlackChannel(f"https://hooks.slack.invalid/{SECRET}", "ETL_SLACK_WEBHOOK_URL", {}, 1)
    with pytest.raises(
        DeliveryError, match=r"the host hooks\.slack\.invalid of ETL_SLACK_WEBHOOK_URL cannot be found"
    ):
        channel.check()


def test_a_webhook_that_answers_as_slack_does_is_told() -> None:
    with scripted_server(in_turn(OK)) as server:
        channel = SlackChannel(f"{server.url}/services/{SECRET}", "ETL_SLACK_WEBHOOK_URL", {}, 5)
        assert channel.send(Notice("test", Severity.INFO, "test"), 1) == ""
