"""Settings: defaults, what each variable takes, one line for what it does not, and secrets that never show."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest
import structlog

from etl_assets.cli.main import run
from etl_assets.failures import ConfigurationError
from etl_assets.settings import DEMO_TOKEN, VARIABLES, Secret, Variable, load_settings

TOKEN = "s3cret-0123456789"


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    assert settings.data_dir == tmp_path / "data"
    assert settings.dagster_home == tmp_path / "data" / "dagster_home"
    assert settings.warehouse_path == tmp_path / "data" / "warehouse.duckdb"
    assert settings.start_date == date(2025, 1, 1)
    assert settings.log_format == "console"
    shop = settings.source("shop")
    assert shop.url == "http://127.0.0.1:8765"
    assert shop.token is not None
    assert shop.token.get_secret_value() == DEMO_TOKEN
    assert settings.source("finance").url == str(tmp_path / "data" / "demo" / "finance")
    assert settings.source("erp").url == f"sqlite:///{tmp_path / 'data' / 'demo' / 'erp.db'}"
    assert list(tmp_path.iterdir()) == [], "reading settings writes nothing"


@pytest.mark.parametrize(
    ("name", "value", "attribute", "wanted"),
    [
        ("ETL_DATA_DIR", "/srv/etl", "data_dir", Path("/srv/etl")),
        ("DAGSTER_HOME", "/srv/home", "dagster_home", Path("/srv/home")),
        ("ETL_START_DATE", "2010-12-01", "start_date", date(2010, 12, 1)),
        ("ETL_PARTITIONS_PER_RUN", " 7 ", "partitions_per_run", 7),
        ("ETL_LOG_FORMAT", "json", "log_format", "json"),
        ("ETL_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("ETL_LOCK_TIMEOUT", "0.5", "lock_timeout", 0.5),
        ("ETL_STEP_RETRIES", "0", "step_retries", 0),
        ("ETL_STEP_RETRY_DELAY", "2", "step_retry_delay", 2.0),
        ("ETL_MEMORY_LIMIT", "512 MiB", "memory_limit", "512 MiB"),
        ("ETL_UI_URL", "https://me:pw@dagster.example.com/", "ui_url", "https://dagster.example.com"),
        ("ETL_ALERTS_FILE", "/etc/alerts.toml", "alerts_file", Path("/etc/alerts.toml")),
    ],
)
def test_variable_is_read(name: str, value: str, attribute: str, wanted: object) -> None:
    assert getattr(load_settings({name: value}), attribute) == wanted


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_empty_variable_counts_as_unset(variable: Variable) -> None:
    plain, empty = load_settings({}), load_settings({variable.name: "  "})
    assert {**asdict(plain), "environment": None} == {**asdict(empty), "environment": None}
    assert plain.source("shop").url == empty.source("shop").url


BAD_VALUES = [
    *(
        ("ETL_START_DATE", value, "must be a day")
        for value in ("soon", "2025-13-01", "2025-02-30", "1.1.2025")
    ),
    *(("ETL_EIDC_RATE", value, "requests a second") for value in ("0", "-1", "nan", "inf", "fast")),
    *(("ETL_PARTITIONS_PER_RUN", value, "") for value in ("0", "-1", "1.5", "many")),
    *(("ETL_LOG_FORMAT", value, "must be console or json") for value in ("xml", "JSON", "Console")),
    ("ETL_LOG_LEVEL", "loud", "must be DEBUG, INFO, WARNING or ERROR"),
    *(("ETL_LOCK_TIMEOUT", value, "") for value in ("0", "-1", "nan", "inf", "soon", "1e9")),
    *(("ETL_STEP_RETRIES", value, "") for value in ("-1", "21", "two", "1.5")),
    *(("ETL_STAGING_PROCESSES", value, "must be a whole number") for value in ("-1", "65", "two")),
    *(("ETL_STEP_RETRY_DELAY", value, "") for value in ("0", "x", "nan")),
    *(
        ("ETL_MEMORY_LIMIT", value, "must look like 1GB")
        for value in ("lots", "1", "-1GB", "1GB; DROP", "80%")
    ),
    *(
        ("ETL_UI_URL", value, "must be an address")
        for value in ("here", "ftp://host", "http://", "http://[half")
    ),
]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    BAD_VALUES,
)
def test_value_that_cannot_be_used_is_told_in_one_line(name: str, value: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({name: value})
    said = str(caught.value)
    assert said.startswith(f"{name}={value!r} cannot be used: ")
    assert reason in said
    assert "\n" not in said
    assert len(said) < 200


def test_every_variable_with_a_rule_has_a_bad_value_above() -> None:
    free = {
        "ETL_DATA_DIR",
        "ETL_SHOP_URL",
        "ETL_SHOP_TOKEN",
        "ETL_FINANCE_URL",
        "ETL_ERP_URL",
        "ETL_EIDC_URL",
        "ETL_EIDC_IDENTIFIERS",
        "ETL_EMBED_MODEL",
        "ETL_PSEUDONYM_KEY",
        "ETL_ALERTS_FILE",
        "ETL_SLACK_WEBHOOK_URL",
        "ETL_SMTP_URL",
    }
    assert {variable.name for variable in VARIABLES} - free == {name for name, _, _ in BAD_VALUES}


def test_pseudonym_key() -> None:
    assert load_settings({}).pseudonym_key is None
    key = load_settings({"ETL_PSEUDONYM_KEY": f" {TOKEN} "}).pseudonym_key
    assert key is not None
    assert key.get_secret_value() == TOKEN


def test_short_pseudonym_key_is_refused_without_being_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ETL_PSEUDONYM_KEY", "sh0rt-key-of-15")
    assert run(["status"]) == 2
    assert capsys.readouterr().err == (
        "error: ETL_PSEUDONYM_KEY cannot be used: must have at least 16 characters "
        '(make one with: python -c "import secrets; print(secrets.token_hex(32))")\n'
    )


def test_address_of_a_source_can_be_another() -> None:
    settings = load_settings({"ETL_BANK_URL": "https://bank.example", "ETL_BANK_TOKEN": TOKEN})
    moved = settings.with_address("bank", "http://127.0.0.1:1")
    assert (settings.is_on_loopback("bank"), moved.is_on_loopback("bank")) == (False, True)
    assert moved.source("bank").url == "http://127.0.0.1:1"
    assert not settings.is_on_loopback("nowhere")


def test_bad_value_ends_the_command_with_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ETL_START_DATE", "soon")
    assert run(["status"]) == 2
    assert (
        capsys.readouterr().err == "error: ETL_START_DATE='soon' cannot be used: must be a day, YYYY-MM-DD\n"
    )


def test_help_lists_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for variable in VARIABLES:
        assert variable.name in shown
        assert variable.default is None or variable.default in shown
    assert "DAGSTER_HOME" in shown


def test_address_of_another_source() -> None:
    settings = load_settings({"ETL_BANK_URL": "https://bank.example/api/", "ETL_BANK_TOKEN": TOKEN})
    bank = settings.source("bank")
    assert bank.url == "https://bank.example/api"
    assert bank.token is not None
    assert bank.token.get_secret_value() == TOKEN
    assert (bank.url_variable, bank.token_variable) == ("ETL_BANK_URL", "ETL_BANK_TOKEN")


@pytest.mark.parametrize(
    ("name", "address"), [("finance", "s3://bucket/$ETL_DATA_DIR"), ("erp", "postgresql://reader@host/erp")]
)
def test_an_address_that_is_set_is_not_the_demos(name: str, address: str) -> None:
    assert load_settings({}).has_demo_address(name)
    settings = load_settings({f"ETL_{name.upper()}_URL": address})
    assert not settings.has_demo_address(name)
    assert settings.source(name).url == address
    assert not load_settings({}).has_demo_address("bank")


def test_a_public_default_address_is_not_the_demos() -> None:
    settings = load_settings({})
    assert settings.source("eidc").url == "https://catalogue.ceh.ac.uk"
    assert not settings.has_demo_address("eidc")
    assert not settings.is_on_loopback("eidc")


def test_the_rate_of_a_source() -> None:
    settings = load_settings({"ETL_EIDC_RATE": "0.5", "ETL_BANK_RATE": "20", "ETL_BANK_URL": "https://bank"})
    assert (settings.source("eidc").rate, settings.source("bank").rate) == (0.5, 20)
    assert (load_settings({}).source("eidc").rate, load_settings({}).source("shop").rate) == (1, None)
    with pytest.raises(ConfigurationError, match="ETL_BANK_RATE='x' cannot be used: must be a number"):
        load_settings({"ETL_BANK_RATE": "x", "ETL_BANK_URL": "https://bank"}).source("bank")


def test_source_without_an_address() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}).source("bank")
    assert str(caught.value) == "ETL_BANK_URL is not set (set it to the address of source bank)"


@pytest.mark.parametrize("url", ["https://shop.example", "http://10.0.0.1:8765", "http://127.0.0.1.example"])
def test_demo_token_leaves_this_machine_never(url: str) -> None:
    assert load_settings({"ETL_SHOP_URL": url}).source("shop").token is None


def test_secret_never_shows() -> None:
    environment = {
        "ETL_SHOP_TOKEN": TOKEN,
        "ETL_SHOP_PASSWORD": TOKEN + "-2",
        "ETL_PSEUDONYM_KEY": TOKEN + "-3",
    }
    settings = load_settings(environment)
    source = settings.source("shop")
    secret = source.token
    assert isinstance(secret, Secret)
    event = {"secret": secret, "source": source, "settings": settings}
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>20}",
        "%s" % secret,  # noqa: UP031 - one more way of writing it
        repr([secret]),
        repr({"token": secret}),
        repr(source),
        repr(settings),
        str(ConfigurationError(f"wrong: {secret}")),
        json.dumps({"secret": secret}, default=str),
        structlog.processors.JSONRenderer()(None, "info", dict(event)),
        structlog.dev.ConsoleRenderer(colors=False)(None, "info", event | {"event": "x"}),
    ):
        assert TOKEN not in str(shown)
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert TOKEN not in repr(pickle.loads(pickle.dumps(secret)))
