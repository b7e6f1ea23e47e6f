"""E-mails through a real SMTP server: encryption, login, recipients, both parts, and bad settings in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from etl_assets.alerts.channels.base import DeliveryError
from etl_assets.alerts.channels.email import EmailChannel, MailServer
from etl_assets.alerts.conditions import Severity
from etl_assets.alerts.mail import html_of
from etl_assets.alerts.notice import Fact, Notice, Step
from etl_assets.failures import ConfigurationError
from etl_assets_tests.alerts.desk import failed_day, january, open_desk
from etl_assets_tests.alerts.mailbox import PASSWORD, USER, Certificate, mail_server, make_certificate

VARIABLE = "ETL_SMTP_URL"
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
NOTICE = Notice("new", Severity.ERROR, "shop/orders 2025-01-01 failed to load", problems=(1,))
OWNERS = """
[channels.mail]
kind = "email"
from = "Data platform <etl@example.com>"
to = "data@example.com"
to_owner = true

[owners."team:sales"]
email = ["ada@example.com", "bob@example.com"]
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for localhost."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def channel(
    url: str, certificate: Certificate | None = None, *, to: tuple[str, ...] = ("a@example.com",)
) -> EmailChannel:
    """Open a channel."""
    server = MailServer.of(url, VARIABLE)
    return EmailChannel(server, "etl@example.com", to, None, 5, certificate.client if certificate else None)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_mail_goes_encrypted_and_with_a_login(certificate: Certificate, scheme: str) -> None:
    starttls, tls = (certificate.server, None) if scheme == "smtp" else (None, certificate.server)
    with mail_server(starttls=starttls, tls=tls, login=scheme == "smtp") as mailbox:
        login = f"{LOGIN}@" if scheme == "smtp" else ""
        sending = channel(f"{scheme}://{login}localhost:{mailbox.port}", certificate)
        sending.check()
        assert sending.send(NOTICE, 7) == ""
        [mail] = mailbox.mails
    assert mailbox.was_encrypted == [True]
    assert mail["Subject"] == "[error] shop/orders 2025-01-01 failed to load"


def test_a_message_says_everything_in_both_parts(tmp_path: Path) -> None:
    with mail_server() as mailbox:
        variables = {
            VARIABLE: f"smtp+plain://localhost:{mailbox.port}",
            "ETL_UI_URL": "https://dagster.example.com",
        }
        with open_desk(tmp_path, variables, OWNERS) as desk:
            desk.wrong = [failed_day(day, error="price <b>missing</b> & more") for day in january(3)]
            desk.tick()
            desk.tick(30)
            desk.wrong = []
            desk.tick(60)
        assert mailbox.envelopes == [["data@example.com", "ada@example.com", "bob@example.com"]] * 2
        mail, over = mailbox.mails
    assert mail["From"] == "Data platform <etl@example.com>"
    assert mail["To"] == "data@example.com, ada@example.com, bob@example.com"
    assert over["Subject"] == "[over] shop/orders: 3 days failed to load"
    assert mail["References"] == over["References"], "mail programs put them below each other"
    text, html = (part.get_content() for part in mail.iter_parts())
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    html = re.sub("</?span[^>]*>", "", html)
    for part in (
        "shop/orders: 2025-01-01, 2025-01-02, 2025-01-03",
        "https://dagster.example.com/assets/warehouse/shop/orders?view=partitions&partition=2025-01-03",
        "2025-03-01 12:00:00 UTC (30 s)",
        "3 days, 30 rows",
        "price <b>missing</b> & more",
        "permanent: the same request will fail again",
        "https://dagster.example.com/runs/0f3e0a52-1111-2222-3333-444455556666",
        "What was done already",
        "etl-assets backfill shop/orders --from 2025-01-01 --to 2025-01-03 --failed",
    ):
        assert part in text, part
        assert part.replace("&", "&amp;").replace("<b>", "&lt;b&gt;").replace("</b>", "&lt;/b&gt;") in html, (
            part
        )


def test_the_same_message_has_the_same_identifier_at_every_attempt() -> None:
    with mail_server() as mailbox:
        mailbox.answers = ["451 try again", None, None]
        sending = channel(f"smtp+plain://localhost:{mailbox.port}")
        with pytest.raises(DeliveryError, match="answered 451"):
            sending.send(NOTICE, 7)
        sending.send(NOTICE, 7)
        sending.send(NOTICE, 8)
        first, second = mailbox.mails
        assert first["Message-ID"] != second["Message-ID"]
        sending.send(NOTICE, 7)
        assert mailbox.mails[2]["Message-ID"] == first["Message-ID"]


def test_recipients_that_are_refused_cost_the_others_nothing() -> None:
    with mail_server() as mailbox:
        mailbox.refused = {"gone@example.com": "550 no such user"}
        sending = channel(f"smtp+plain://localhost:{mailbox.port}", to=("gone@example.com", "a@example.com"))
        assert sending.send(NOTICE, 1) == "refused for 1 of 2 recipients"
        assert mailbox.envelopes == [["a@example.com"]]
        mailbox.refused["a@example.com"] = "450 later"
        with pytest.raises(DeliveryError) as caught:
            sending.send(NOTICE, 2)
        assert not caught.value.is_rejected, "one of them may pass"
        mailbox.refused["a@example.com"] = "550 no such user"
        with pytest.raises(DeliveryError) as caught:
            sending.send(NOTICE, 3)
        assert caught.value.is_rejected


def test_a_bad_login_is_said_in_one_line_without_the_secret(certificate: Certificate) -> None:
    with mail_server(starttls=certificate.server, login=True) as mailbox:
        sending = channel(f"smtp://{quote(USER, safe='')}:wr0ng-secret@localhost:{mailbox.port}", certificate)
        with pytest.raises(DeliveryError) as caught:
            sending.check()
    assert str(caught.value) == "localhost refused the login of ETL_SMTP_URL (535) (check user and password)"


def test_a_server_without_encryption_gets_no_password() -> None:
    with mail_server() as mailbox:
        sending = channel(f"smtp://{LOGIN}@localhost:{mailbox.port}")
        with pytest.raises(DeliveryError, match="localhost offers no STARTTLS or no login"):
            sending.check()


def test_a_certificate_that_is_not_trusted(certificate: Certificate) -> None:
    with (
        mail_server(starttls=certificate.server) as mailbox,
        pytest.raises(DeliveryError, match="the certificate of localhost cannot be trusted"),
    ):
        channel(f"smtp://localhost:{mailbox.port}").check()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "smtp://mail.invalid:587",
            "the host mail.invalid of ETL_SMTP_URL cannot be found (check its spelling)",
        ),
        (
            "smtp+plain://localhost:1",
            "localhost cannot be reached: ConnectionRefusedError (check host and port of ETL_SMTP_URL)",
        ),
    ],
    ids=["no such host", "nobody listens"],
)
def test_a_server_that_there_is_not(url: str, said: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        channel(url).check()
    assert str(caught.value) == said


BAD_ADDRESSES: dict[str, Callable[[], str]] = {
    "not an address": lambda: "mail.example.com",
    "another scheme": lambda: f"http://{LOGIN}@mail.example.com",
    "no host": lambda: f"smtp://{LOGIN}@",
    "no port": lambda: f"smtp://{LOGIN}@mail.example.com:port",
    "unescaped": lambda: f"smtp://user:{PASSWORD}@mail.example.com",
    "in clear": lambda: f"smtp+plain://{LOGIN}@mail.example.com",
}


@pytest.mark.parametrize("case", BAD_ADDRESSES)
def test_an_address_that_cannot_be_used(case: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MailServer.of(BAD_ADDRESSES[case](), VARIABLE)
    said = str(caught.value)
    assert said.startswith(VARIABLE)
    assert "pa55" not in said
    assert "\n" not in said


def test_html_escapes_what_it_shows() -> None:
    evil = "<script>alert(1)</script>"
    notice = Notice(
        "digest",
        Severity.WARNING,
        evil,
        [Fact(evil, evil, '"><b>')],
        evil,
        evil,
        [Step(evil, evil, '"><b>')],
        [Fact(evil, evil, '"><b>')],
    )
    html = html_of(notice)
    assert "<script>" not in html
    assert '"><b>' not in html
