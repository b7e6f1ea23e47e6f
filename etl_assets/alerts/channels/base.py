"""What every channel can do, and how it says that it could not.

What belongs here: the interface and its errors. What does not: any single channel.
"""

from __future__ import annotations

import socket
from typing import Protocol

from etl_assets.alerts.notice import Notice
from etl_assets.failures import EtlError

USER_AGENT = "etl_assets"


class DeliveryError(EtlError):
    """A notice was not acknowledged; it may be later.

    Args:
        message: One line, without secrets.
        retry_after: Seconds that the service asked us to wait, if it did.
        is_rejected: Whether the service will never take this notice, so that another channel has to.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retry_after: float | None = None,
        is_rejected: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.is_rejected = is_rejected


class Channel(Protocol):
    """A way to reach people."""

    def send(self, notice: Notice, message_id: int) -> str:
        """Send a notice, and wait for the acknowledgement.

        Args:
            notice: What to say.
            message_id: The message's number in the outbox, the same at every attempt.

        Returns:
            A remark worth keeping, such as recipients that were refused; empty if there is none.

        Raises:
            DeliveryError: If it was not acknowledged.
        """
        ...

    def check(self) -> None:
        """Try whether the channel can be used, without telling anybody anything.

        Raises:
            DeliveryError: Why not, in one line.
        """
        ...


def resolve(host: str, port: int, variable: str) -> None:
    """Look an address up.

    Raises:
        DeliveryError: If its host is not known.
    """
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise DeliveryError(
            f"the host {host} of {variable} cannot be found", hint="check its spelling"
        ) from None
