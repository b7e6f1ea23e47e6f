"""A post office for alerts: for each kind of alert a webhook and an address of its own, on real servers.

So nothing is folded into a digest, and every message can be read by itself. What belongs here: the servers, the alerts
file that leads to them, and reading what arrived. What does not: what must stand in it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import orjson

from etl_assets.alerts.conditions import Kind
from etl_assets_tests.alerts.desk import OK, Slack, slack_server, text_of
from etl_assets_tests.alerts.mailbox import Mailbox, mail_server
from etl_assets_tests.sources.scripted import Asked, Reply

SECRET = "s3cr3t-of-the-webhook"
KEPT = os.environ.get("ETL_SCREENSHOTS", "")
"""Read before tests clean their environment."""


@dataclass(frozen=True)
class Post:
    """What arrived.

    Attributes:
        slack: The webhook server.
        by_kind: Slack messages by kind, in order.
        mailbox: The mail server.
    """

    slack: Slack
    by_kind: dict[str, list[dict[str, Any]]]
    mailbox: Mailbox

    @property
    def variables(self) -> dict[str, str]:
        """The settings that lead here."""
        webhooks = {
            _webhook(kind): f"{self.slack.server.url}/services/{SECRET}/{kind.value}" for kind in Kind
        }
        return webhooks | {"ETL_SMTP_URL": f"smtp+plain://127.0.0.1:{self.mailbox.port}"}

    def titles(self, kind: Kind) -> list[str]:
        """Give the first lines of what was told in Slack of a kind, in order."""
        return [str(body["text"]) for body in self.by_kind[kind.value]]

    def subjects(self, kind: Kind) -> list[str]:
        """Give the subjects of the mails of a kind, in order."""
        return [_subject(mail) for mail in self.mails(kind)]

    def mails(self, kind: Kind) -> list[EmailMessage]:
        """Give the mails of a kind, in order."""
        sent = list(zip(self.mailbox.mails, self.mailbox.envelopes, strict=False))
        return [mail for mail, envelope in sent if envelope == [f"{kind.value}@example.com"]]

    def told(self, kind: Kind) -> dict[str, tuple[str, str]]:
        """Give what was told of a kind in Slack and by mail, by its first line."""
        mails = {_subject(mail): text_of_mail(mail) for mail in self.mails(kind)}
        return {
            str(body["text"]): (text_of(body), mails.get(str(body["text"]), ""))
            for body in self.by_kind[kind.value]
        }

    def everything(self) -> str:
        """Give the texts of all messages."""
        slack = [text_of(body) for bodies in self.by_kind.values() for body in bodies]
        return "\n".join([*slack, *(bytes(mail).decode() for mail in self.mailbox.mails)])

    def keep(self) -> None:
        """Keep the mails' HTML where somebody wants to look at them."""
        for number, mail in enumerate(self.mailbox.mails if KEPT else ()):
            body = mail.get_body(("html",))
            assert body is not None
            kind = self.mailbox.envelopes[number][0].partition("@")[0]
            (Path(KEPT) / f"mail_{kind}_{number:02}.html").write_text(body.get_content())


def _subject(mail: EmailMessage) -> str:
    # A long one begins on a line of its own, whose indentation belongs to the fold.
    return str(mail["Subject"]).strip()


def text_of_mail(mail: EmailMessage) -> str:
    """Give the plain text of a mail."""
    body = mail.get_body(("plain",))
    return str(body.get_content()) if body is not None else ""


@contextmanager
def post_office() -> Iterator[Post]:
    """Run both servers."""
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def sort(asked: Asked, number: int) -> Reply:
        by_kind[asked.path.rpartition("/")[2]].append(orjson.loads(asked.body))
        return OK

    with slack_server(sort) as slack, mail_server() as mailbox:
        yield Post(slack, by_kind, mailbox)


def rules_by_kind(head: str, tail: str) -> str:
    """Give an alerts file in which each kind has a webhook and an address of its own.

    Args:
        head: What stands before the channels.
        tail: What stands after the routes.
    """
    channels = [
        f'[channels.{kind.value}]\nkind = "slack"\nwebhook = "{_webhook(kind)}"\n'
        f'[channels.mail_{kind.value}]\nkind = "email"\nfrom = "etl@example.com"\nto = "{kind.value}@example.com"\n'
        for kind in Kind
    ]
    routes = [
        f'[[routes]]\nkinds = ["{kind.value}"]\nchannels = ["{kind.value}", "mail_{kind.value}"]\n'
        for kind in Kind
    ]
    return "\n".join([head, *channels, *routes, tail])


def _webhook(kind: Kind) -> str:
    return f"ETL_SLACK_{kind.name}"
