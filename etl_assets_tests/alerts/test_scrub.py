"""No secret and nobody's data leaves in a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl_assets.alerts.conditions import Kind, cause_of
from etl_assets.alerts.scrub import first_line, secrets_in
from etl_assets_tests.alerts.desk import failed_day, open_desk

ENVIRONMENT = {
    "ETL_SHOP_TOKEN": "t0ken-0123456789",
    "ETL_ERP_URL": "postgresql://reader:pa55%2Fword@db/erp",
    "ETL_SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/hook",
    "ETL_SMTP_URL": "smtp://robot:mail-pa55@mail.example.com",
    "ETL_PSEUDONYM_KEY": "0123456789abcdef-key",
    "ETL_DATA_DIR": "/srv/data",
    "HOME": "/home/ada",
}


@pytest.mark.parametrize("name", [name for name in ENVIRONMENT if name not in ("ETL_DATA_DIR", "HOME")])
def test_no_secret_of_the_environment_is_shown(name: str) -> None:
    secrets = secrets_in(ENVIRONMENT)
    for secret in (
        ENVIRONMENT[name],
        ENVIRONMENT[name].rpartition("@")[0].rpartition(":")[2] or ENVIRONMENT[name],
    ):
        said = first_line(f"refused {secret} at once", secrets)
        assert secret not in said
        assert "***" in said


def test_what_is_no_secret_is_shown() -> None:
    assert first_line("no room left in /srv/data", secrets_in(ENVIRONMENT)) == "no room left in /srv/data"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first\nsecond", "first"),
        ("\n\n  spaced   out \n", "spaced out"),
        ("write to ada.lovelace@example.com now", "write to ***@*** now"),
        ("postgresql://reader:word@db/erp is down", "postgresql://***@db/erp is down"),
        ("", ""),
    ],
)
def test_first_lines(text: str, said: str) -> None:
    assert first_line(text) == said


def test_values_that_foreign_code_quotes_are_left_out() -> None:
    assert (
        first_line("could not convert 'Ada Lovelace' to \"int\"", foreign=True)
        == "could not convert '...' to '...'"
    )


def test_a_long_line_is_cut() -> None:
    assert len(first_line("x" * 1_000)) == 300


def test_causes_have_in_common_what_does_not_vary() -> None:
    first = cause_of(
        "shop/orders 2025-01-09: 12 of 40 rows (30.0%) broke the contract: price.ge 12", "shop/orders"
    )
    second = cause_of(
        "shop/orders 2025-01-10: 9 of 41 rows (22.0%) broke the contract: price.ge 9", "shop/orders"
    )
    assert first == second
    assert cause_of("no such table", "") != cause_of("no such column", "")
    one = failed_day(
        "2025-01-01", kind=Kind.RUN_FAILED, error="run 0f3e0a52-1111-2222-3333-444455556666 died"
    )
    other = failed_day(
        "2025-01-02", kind=Kind.RUN_FAILED, error="run aaaaaaaa-1111-2222-3333-444455556666 died"
    )
    assert one.group == other.group
    assert one.fingerprint != other.fingerprint


def test_the_outbox_is_beside_the_other_state(tmp_path: Path) -> None:

    with open_desk(tmp_path) as desk:
        assert desk.outbox.path == tmp_path / "state" / "alerts.db"
