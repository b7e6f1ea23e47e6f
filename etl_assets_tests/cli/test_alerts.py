"""The commands `etl-assets alerts ...`, and what `doctor` says of channels that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl_assets.cli.main import run
from etl_assets.settings import load_settings
from etl_assets_tests.alerts.desk import Desk, Slack, failed_day, open_desk, slack_server, write_rules
from etl_assets_tests.alerts.mailbox import USER, mail_server
from etl_assets_tests.sources.scripted import Reply

MAIL = """
[channels.mail]
kind = "email"
from = "etl@example.com"
to = "ops@example.com"
"""
BOTH = MAIL + '[channels.chat]\nkind = "slack"\n'


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk over the data folder that the commands look at, with one problem that nobody has heard of yet."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path))
    with open_desk(tmp_path) as opened:
        opened.wrong = [failed_day("2025-01-01"), failed_day("2025-01-02")]
        opened.tick()
        yield opened


def test_problems_are_listed_acknowledged_and_muted(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", "list"]) == 0
    said = capsys.readouterr().out
    assert "shop/orders: 2 days failed to load" in said
    assert "team:sales" in said
    assert run(["alerts", "ack", "1", "--by", "ada"]) == 0
    assert run(["alerts", "mute", "shop", "--for", "2h", "--by", "bob"]) == 0
    said = capsys.readouterr().out
    assert "problem #1 is taken care of by ada" in said
    assert "open problems of it: 1" in said
    assert run(["alerts", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"][0]["acknowledged_by"] == "ada"
    assert found["problems"][0]["subjects"] == ["shop/orders"]
    assert [mute["selection"] for mute in found["mutes"]] == ["shop"]
    assert run(["alerts", "unmute", "shop"]) == 0
    desk.wrong = []
    desk.tick(60)
    capsys.readouterr()
    assert run(["alerts", "list"]) == 0
    assert capsys.readouterr().out == "no open problems\n"
    assert run(["alerts", "list", "--all"]) == 0
    assert "taken care of by ada, over" in capsys.readouterr().out.replace("\n", " ").replace("  ", " ")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["ack", "7"], "no problem #7 is open (see etl-assets alerts list)"),
        (
            ["mute", "shop/odrers", "--for", "2h"],
            "'shop/odrers' is no stream, source, owner, kind or open problem",
        ),
        (["mute", "shop", "--for", "soon"], "--for 'soon' cannot be used: must be a number and a unit"),
        (["unmute", "shop"], "'shop' is not muted (see etl-assets alerts list)"),
        (["test"], "no channel is configured (set ETL_SLACK_WEBHOOK_URL or ETL_ALERTS_FILE)"),
        (["ack", "one"], "Invalid value for 'problem'"),
    ],
    ids=["unknown problem", "unknown stream", "no span", "not muted", "no channel", "no number"],
)
@pytest.mark.usefixtures("desk")
def test_bad_input_is_one_line(command: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts", *command]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_every_channel_is_tried(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with slack_server() as slack, mail_server() as mailbox:
        mail = {"ETL_SMTP_URL": f"smtp+plain://127.0.0.1:{mailbox.port}"}
        for name, value in {**slack.variables, **mail, **write_rules(tmp_path, BOTH)}.items():
            monkeypatch.setenv(name, value)
        assert run(["alerts", "test"]) == 0
        assert capsys.readouterr().out == "channel mail: delivered\nchannel chat: delivered\n"
        assert slack.titles == ["[test] test message of etl_assets"]
        assert [mail["Subject"] for mail in mailbox.mails] == ["[test] test message of etl_assets"]
        mailbox.answers = ["554 no"]
        assert run(["alerts", "test", "--channel", "mail"]) == 1
        assert capsys.readouterr().out == "channel mail: 127.0.0.1 answered 554\n"
        assert run(["alerts", "test", "--channel", "pager"]) == 2
        assert "there is no channel 'pager' (known: mail, chat)" in capsys.readouterr().err


BAD_CHANNELS = {
    "wrong webhook": (
        {"ETL_SLACK_WEBHOOK_URL": "https://hooks.slack.invalid/s3cr3t"},
        "hooks.slack.invalid of",
    ),
    "no webhook": ({"ETL_SLACK_WEBHOOK_URL": "hooks.slack.com/s3cr3t"}, "is no address of a webhook"),
    "unknown mail host": (
        {"ETL_SMTP_URL": "smtp://me:s3cr3t@mail.invalid"},
        "the host mail.invalid of ETL_SMTP_URL",
    ),
    "no mail server": (
        {"ETL_SMTP_URL": "mail.example.com:s3cr3t"},
        "ETL_SMTP_URL is no address of a mail server",
    ),
    "not set": ({}, "ETL_SMTP_URL is not set (the channel mail of the alerts needs it)"),
}


@pytest.mark.parametrize("case", BAD_CHANNELS)
@pytest.mark.usefixtures("desk")
def test_doctor_says_which_channel_cannot_be_used(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables, said = BAD_CHANNELS[case]
    rules = {} if "ETL_SLACK_WEBHOOK_URL" in variables else write_rules(tmp_path, MAIL)
    for name, value in {**variables, **rules}.items():
        monkeypatch.setenv(name, value)
    assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if line.startswith("problem alerts: channel ")]
    assert said in line
    assert "s3cr3t" not in out


BAD_FILES = {
    "misspelt setting": ('cool_dwon = "1h"', "cool_dwon: there is no such setting; did you mean cool_down?"),
    "unknown stream": ('[streams."shop/ordres"]\ndeadline = "never"', "rules for the stream 'shop/ordres'"),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.usefixtures("desk")
def test_a_file_that_cannot_be_used_is_said_by_doctor_and_test(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, said = BAD_FILES[case]
    for name, value in write_rules(tmp_path, text).items():
        monkeypatch.setenv(name, value)
    assert run(["doctor"]) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if "alerts" in line]
    assert line.startswith("problem alerts: the alerts file ")
    assert said in line
    assert run(["alerts", "test"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("desk")
def test_doctor_says_that_a_login_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with mail_server(login=True) as mailbox:
        user = USER.replace("@", "%40")
        variables = {"ETL_SMTP_URL": f"smtp+plain://{user}:wr0ng-s3cr3t@127.0.0.1:{mailbox.port}"}
        for name, value in {**variables, **write_rules(tmp_path, MAIL)}.items():
            monkeypatch.setenv(name, value)
        assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "channel mail: 127.0.0.1 refused the login of ETL_SMTP_URL (535)" in out
    assert "s3cr3t" not in out


def test_the_sensor_is_on_where_there_is_a_channel(tmp_path: Path) -> None:
    from etl_assets.build import build_definitions

    def status(**variables: str) -> str:
        settings = load_settings({"ETL_DATA_DIR": str(tmp_path), **variables})
        return build_definitions(settings).get_repository_def().get_sensor_def("alerts").default_status.value

    assert status() == "STOPPED"
    assert status(ETL_SLACK_WEBHOOK_URL="https://hooks.slack.com/x") == "RUNNING"


def test_what_reached_nobody_is_listed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    from etl_assets.alerts.rules import load_rules

    def refuse(slack: Slack) -> None:
        settings = load_settings({"ETL_DATA_DIR": str(desk.settings.data_dir), **slack.variables})
        desk.settings, desk.rules = settings, load_rules(settings)
        desk.tick(60)

    with slack_server(lambda asked, number: Reply(b"no_service", status=404)) as slack:
        refuse(slack)
    assert run(["alerts", "list"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "not delivered to slack for" in said
    assert "refused the webhook of ETL_SLACK_WEBHOOK_URL: 404 (no_service)" in said
