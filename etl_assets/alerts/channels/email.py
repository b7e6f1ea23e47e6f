"""E-mail, by SMTP with STARTTLS or TLS and a login.

What belongs here: the server's address, sending, and what its answers mean. What does not: how a message looks
(`mail`).
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from etl_assets.alerts.channels.base import DeliveryError, resolve
from etl_assets.alerts.mail import mail_of
from etl_assets.alerts.notice import Notice
from etl_assets.failures import ConfigurationError
from etl_assets.setting_values import LOOPBACK_HOSTS
from etl_assets.settings import Secret

PLAIN_SCHEME = "smtp+plain"
_PORTS = {"smtp": 587, "smtps": 465, PLAIN_SCHEME: 25}
_TEMPORARY = range(400, 500)


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server, as its variable describes it.

    Attributes:
        scheme: `smtp` (STARTTLS), `smtps` (TLS from the start) or `smtp+plain` (nothing).
        host: Its name.
        port: Its port.
        user: Who logs in; empty for no login.
        password: With what.
        variable: The environment variable that it comes from.
    """

    scheme: str
    host: str
    port: int
    user: str = field(repr=False)
    password: Secret
    variable: str

    @classmethod
    def of(cls, address: str, variable: str) -> MailServer:
        """Read an address, `smtp://user:password@host:587`.

        Raises:
            ConfigurationError: If it cannot be used; does not show it.
        """
        hint = "write it as smtp://user:password@host:587, or smtps://...; escape signs such as @ in the password"
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in _PORTS:
            raise ConfigurationError(f"{variable} is no address of a mail server", hint=hint)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if user and parts.scheme == PLAIN_SCHEME and host not in LOOPBACK_HOSTS:
            raise ConfigurationError(
                f"{variable} would send a password without encryption",
                hint="use smtp:// (STARTTLS) or smtps://",
            )
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], user, Secret(password), variable)


class EmailChannel:
    """Recipients behind one mail server.

    Args:
        server: The server.
        sender: Who it is from.
        to: Who gets every message.
        owners: Further recipients by owner.
        timeout: Seconds to wait for an answer.
        trusted: Certificates to trust; those of the system by default.
    """

    def __init__(
        self,
        server: MailServer,
        sender: str,
        to: Sequence[str],
        owners: Mapping[str, Sequence[str]] | None,
        timeout: float,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._server, self._sender, self._to, self._owners = server, sender, tuple(to), owners
        self._timeout, self._trusted = timeout, trusted

    def send(self, notice: Notice, message_id: int) -> str:
        """See `Channel`."""
        recipients = self._recipients(notice)
        if not recipients:
            raise DeliveryError(
                f"nobody to write to: no address is known of {', '.join(notice.owners) or 'an owner'}",
                hint="add it to owners in the alerts file, or add a to",
                is_rejected=True,
            )
        message = mail_of(notice, self._sender, recipients, message_id)
        with self._told_plainly(), self._connected() as connection:
            refused = connection.send_message(message, self._sender, recipients)
        return f"refused for {len(refused)} of {len(recipients)} recipients" if refused else ""

    def check(self) -> None:
        """See `Channel`: connects, and logs in."""
        resolve(self._server.host, self._server.port, self._server.variable)
        with self._told_plainly(), self._connected() as connection:
            connection.noop()

    def _recipients(self, notice: Notice) -> list[str]:
        found = dict.fromkeys(self._to)
        for owner in notice.owners if self._owners is not None else ():
            # A stream's owner is a team, or an address.
            addresses = (self._owners or {}).get(owner) or ((owner,) if "@" in owner else ())
            found |= dict.fromkeys(addresses)
        return list(found)

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        server = self._server
        trusted = self._trusted or ssl.create_default_context()
        connection: smtplib.SMTP
        if server.scheme == "smtps":
            connection = smtplib.SMTP_SSL(server.host, server.port, timeout=self._timeout, context=trusted)
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=self._timeout)
        try:
            if server.scheme == "smtp":
                connection.starttls(context=trusted)
            if server.user:
                connection.login(server.user, server.password.get_secret_value())
            yield connection
            # What was acknowledged stays so, whatever the server answers to the farewell.
            _leave(connection)
        finally:
            connection.close()

    @contextmanager
    def _told_plainly(self) -> Iterator[None]:
        server = self._server
        try:
            yield
        except smtplib.SMTPAuthenticationError as error:
            raise DeliveryError(
                f"{server.host} refused the login of {server.variable} ({error.smtp_code})",
                hint="check user and password",
            ) from None
        except smtplib.SMTPNotSupportedError:
            raise DeliveryError(
                f"{server.host} offers no STARTTLS or no login",
                hint=f"check scheme and port of {server.variable}: smtp:// (STARTTLS), smtps:// (TLS)",
            ) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({code for code, _ in error.recipients.values()})
            raise DeliveryError(
                f"{server.host} refused every recipient ({', '.join(map(str, codes))})",
                hint="check the addresses in the alerts file",
                is_rejected=not any(code in _TEMPORARY for code in codes),
            ) from None
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(
                f"{server.host} answered {error.smtp_code}",
                is_rejected=isinstance(error, smtplib.SMTPDataError) and error.smtp_code not in _TEMPORARY,
            ) from None
        except ssl.SSLCertVerificationError:
            raise DeliveryError(f"the certificate of {server.host} cannot be trusted") from None
        except TimeoutError:
            raise DeliveryError(f"{server.host} did not answer in time") from None
        except socket.gaierror:
            raise DeliveryError(
                f"the host {server.host} of {server.variable} cannot be found", hint="check its spelling"
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            # Their texts may repeat what was sent.
            raise DeliveryError(
                f"{server.host} cannot be reached: {type(error).__name__}",
                hint=f"check host and port of {server.variable}",
            ) from None


def _leave(connection: smtplib.SMTP) -> None:
    try:
        connection.quit()
    except (smtplib.SMTPException, OSError):
        return
