"""A notice as an e-mail: text, and the same as HTML.

What belongs here: headers and the two parts. What does not: sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from functools import cache

from jinja2 import Environment, PackageLoader, Template

from etl_assets.alerts.conditions import fingerprint
from etl_assets.alerts.notice import Notice
from etl_assets.alerts.plain_text import COLOURS, footer, headline, plain_text

LONGEST_SUBJECT = 150


def mail_of(notice: Notice, sender: str, recipients: Sequence[str], message_id: int) -> EmailMessage:
    """Make an e-mail.

    Args:
        notice: What to say.
        sender: Who it is from.
        recipients: Who gets it.
        message_id: The message's number. It makes the mail's own identifier, so that one that was sent twice is
            recognised by mail programs.
    """
    mail = EmailMessage(policy=SMTP)
    subject = headline(notice)
    mail["Subject"] = subject if len(subject) <= LONGEST_SUBJECT else subject[: LONGEST_SUBJECT - 1] + "…"
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<etl-assets-{message_id}-{_digest(notice)}@{_domain(sender)}>"
    # Neither an absence note nor another robot shall answer.
    mail["Auto-Submitted"] = "auto-generated"
    if notice.problems:
        # Mail programs show what belongs to a problem below each other.
        mail["References"] = f"<etl-assets-problem-{notice.problems[0]}@{_domain(sender)}>"
    mail.set_content(plain_text(notice))
    mail.add_alternative(html_of(notice), subtype="html")
    return mail


def html_of(notice: Notice) -> str:
    """Give the HTML part."""
    colour = COLOURS["over" if notice.status == "recovered" else notice.severity.value]
    return _template().render(notice=notice, headline=headline(notice), footer=footer(notice), colour=colour)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("etl_assets.alerts", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("email.html")


def _digest(notice: Notice) -> str:
    return fingerprint(notice.to_json())


def _domain(sender: str) -> str:
    return sender.rpartition("@")[2].rstrip(">").strip() or "localhost"
