"""The alerts file: what it takes, and one line for what it does not."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from etl_assets.alerts.durations import parse_span, spell_span
from etl_assets.alerts.routing import is_quiet
from etl_assets.alerts.rules import Quiet, Rules, load_rules
from etl_assets.failures import ConfigurationError
from etl_assets.settings import load_settings
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.alerts.desk import write_rules

SECRET = "https://hooks.slack.com/services/T0/B0/s3cr3t"


def rules_of(folder: Path, text: str | None, **variables: str) -> Rules:
    """Read an alerts file."""
    return load_rules(load_settings({"ETL_DATA_DIR": str(folder), **variables, **write_rules(folder, text)}))


def test_without_a_file_a_webhook_alone_gets_everything(tmp_path: Path) -> None:
    assert not rules_of(tmp_path, None).is_configured
    rules = rules_of(tmp_path, None, ETL_SLACK_WEBHOOK_URL=SECRET)
    assert list(rules.channels) == ["slack"]
    assert rules.cool_down == timedelta(hours=1)


def test_a_mail_server_alone_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ETL_SMTP_URL is set, but nothing says whom to write to"):
        rules_of(tmp_path, None, ETL_SMTP_URL="smtp://mail.example.com")


SLACK = '[channels.chat]\nkind = "slack"\n'
BAD_FILES = {
    "no toml": ("[channels", "is no TOML"),
    "unknown word": ("colour = 1", "colour: there is no such setting, see docs/alerts.md"),
    "misspelt word": ('cool_dwon = "1h"', "cool_dwon: there is no such setting; did you mean cool_down?"),
    "misspelt limit": (
        '[streams."shop/orders"]\nrows = { warning_bellow = 1 }',
        "streams.shop/orders.rows.warning_bellow: there is no such setting; did you mean warning_below?",
    ),
    "unknown channel kind": (
        '[channels.chat]\nkind = "pigeon"',
        "channels.chat: kind must be one of slack, email, apprise",
    ),
    "no channel kind": ('[channels.chat]\nwebhook = "X"', "channels.chat: kind must be one of slack"),
    "no sender": ('[channels.mail]\nkind = "email"\nto = "a@b.c"', "channels.mail.from: is missing"),
    "secret instead of its name": (
        f'[channels.chat]\nkind = "slack"\nwebhook = "{SECRET}"',
        "name of an environment",
    ),
    "unknown channel": (SLACK + '[[routes]]\nchannels = "mail"', "there is no channel 'mail'; known: chat"),
    "unknown fallback": ('fallback = "mail"\n' + SLACK, "there is no channel 'mail'; known: chat"),
    "no recipients": ('[channels.mail]\nkind = "email"\nfrom = "a@b.c"', "needs addresses in to"),
    "bad recipient": (
        '[channels.mail]\nkind = "email"\nfrom = "a@b.c"\nto = "bob"',
        "'bob' in to is no e-mail",
    ),
    "bad sender": ('[channels.mail]\nkind = "email"\nfrom = "bob"\nto = "a@b.c"', "channels.mail.from"),
    "bad span": ('cool_down = "soon"', "cool_down: must be a number and a unit"),
    "no span": ("cool_down = 3600", "cool_down: must be text in quotes"),
    "bad time": ('deadline = "25:00"', "deadline: must be a time of day"),
    "bad rhythm": ('look_every = "1s"', "look_every: must be from 5s to 2m"),
    "bad severity": (SLACK + '[[routes]]\nchannels = "chat"\nseverity = "loud"', "routes.0.severity"),
    "bad kind": (SLACK + '[[routes]]\nchannels = "chat"\nkinds = ["fire"]', "routes.0.kinds"),
    "no channels": (SLACK + "[[routes]]\nchannels = []", "routes.0.channels"),
    "bad zone": (
        SLACK + '[[routes]]\nchannels = "chat"\nquiet = { from = "22:00", to = "07:00", zone = "Moon" }',
        "routes.0.quiet.zone: must be a time zone",
    ),
    "bad mention": ('[owners."team:sales"]\nslack = "@ada"', "owners.team:sales.slack"),
    "bad limit": ('[streams."shop/orders"]\nrows = { warning = "many" }', "streams.shop/orders.rows.warning"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, case: str) -> None:
    text, said = BAD_FILES[case]
    with pytest.raises(ConfigurationError) as caught:
        rules_of(tmp_path, text)
    message = str(caught.value)
    assert said in message
    assert str(tmp_path / "alerts.toml") in message
    assert "s3cr3t" not in message
    assert "\n" not in message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory"):
        rules_of(tmp_path, None, ETL_ALERTS_FILE=str(tmp_path / "nowhere.toml"))


def test_rules_about_a_stream_that_there_is_not(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, '[streams."shop/odrers"]\ndeadline = "04:00"')
    with pytest.raises(ConfigurationError, match="rules for the stream 'shop/odrers', which there is not"):
        rules.check_streams(discover_streams())
    rules_of(tmp_path, '[streams."shop/*"]\ndeadline = "04:00"').check_streams(discover_streams())


def test_what_is_said_of_a_stream_by_name_counts_more_than_patterns(tmp_path: Path) -> None:
    rules = rules_of(
        tmp_path,
        """
        [streams."shop/orders"]
        deadline = "04:00"

        [streams."shop/*"]
        deadline = "05:00"
        rows = { error_below = 1 }
        """,
    )
    found = rules.of_stream("shop/orders")
    assert found.deadline == time(4)
    assert found.rows is not None
    assert found.rows.error_below == 1
    assert rules.of_stream("shop/products").deadline == time(5)
    assert rules.of_stream("erp/stock_levels").deadline is None


@pytest.mark.parametrize(
    ("hour", "quiet"), [(19, False), (20, True), (23, True), (3, True), (4, True), (5, False)]
)
def test_quiet_hours_go_over_midnight_in_their_own_zone(hour: int, quiet: bool) -> None:
    hours = Quiet.model_validate({"from": "22:00", "to": "07:00", "zone": "Europe/Berlin"})
    # In summer Berlin is two hours ahead.
    assert is_quiet(hours, datetime(2025, 7, 1, hour, 30, tzinfo=UTC)) is quiet
    by_day = Quiet.model_validate({"from": "04:00", "to": "05:00"})
    assert is_quiet(by_day, datetime(2025, 7, 1, hour, 30, tzinfo=UTC)) is (hour == 4)


@pytest.mark.parametrize("text", ["0s", "-1h", "1.5h", "h", "1w", "400d", "1 2h", ""])
def test_spans_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_span(text)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (3_600, "1 h"),
        (7_505, "2 h 5 min"),
        (86_400 + 60, "1 d"),
        (90_000, "1 d 1 h"),
    ],
)
def test_spans_are_spelled_in_two_units(seconds: int, said: str) -> None:
    assert spell_span(timedelta(seconds=seconds)) == said
