"""A real SMTP server on localhost that keeps what it accepts, with TLS and a login where a test wants them.

What belongs here: the server. What does not: assertions about mails.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "etl@example.com", "pa55-w0rd/of:the server"


@dataclass
class Mailbox:
    """What a server accepted, and how it answers.

    Attributes:
        port: Where it listens.
        is_tls: Whether it speaks TLS from the start.
        mails: What it accepted, in order.
        envelopes: For whom.
        answers: Answers to the next mails instead of accepting them; None accepts.
        refused: Recipients that it refuses.
        was_encrypted: Whether each mail came encrypted.
    """

    port: int = 0
    is_tls: bool = False
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[list[str]] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    was_encrypted: list[bool] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, or refuse it."""
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail, or answer as the test wants."""
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            return answer
        content = cast("bytes", envelope.content)
        self.mails.append(message_from_bytes(content, policy=default))
        self.envelopes.append([str(address) for address in envelope.rcpt_tos])
        self.was_encrypted.append(self.is_tls or session.ssl is not None)
        return "250 taken"


@dataclass(frozen=True)
class Certificate:
    """A certificate for localhost, made for the test.

    Attributes:
        server: For the server.
        client: Trusts it.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext


def make_certificate(folder: Path) -> Certificate:
    """Make a certificate; skips where openssl is not installed."""
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl, which makes the certificate, is not installed")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return Certificate(server, ssl.create_default_context(cafile=str(certificate)))


@contextmanager
def mail_server(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, login: bool = False
) -> Iterator[Mailbox]:
    """Run a server for the time of a ``with`` block.

    Args:
        starttls: Offer STARTTLS, with this certificate.
        tls: Speak TLS from the start, with this certificate.
        login: Take mails of those alone who logged in.
    """
    mailbox = Mailbox(is_tls=tls is not None)

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        return AuthResult(success=good, handled=False)

    options: dict[str, Any] = {"tls_context": starttls, "require_starttls": starttls is not None}
    if login:
        options |= {
            "authenticator": authenticate,
            "auth_required": True,
            "auth_require_tls": starttls is not None,
        }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        mailbox.port = probe.getsockname()[1]
    controller = Controller(
        mailbox, hostname="127.0.0.1", port=mailbox.port, ssl_context=tls, ready_timeout=60, **options
    )
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()
