"""Everything else, through Apprise: Teams, PagerDuty, Discord and some hundred more. Needs the extra `alerts-more`."""

from __future__ import annotations

import logging
from typing import Any

from etl_assets.alerts.channels.base import DeliveryError
from etl_assets.alerts.conditions import Severity
from etl_assets.alerts.notice import Notice
from etl_assets.alerts.plain_text import headline, plain_text
from etl_assets.failures import ConfigurationError

_TYPES = {
    Severity.INFO: "info",
    Severity.WARNING: "warning",
    Severity.ERROR: "failure",
    Severity.CRITICAL: "failure",
}


class AppriseChannel:
    """One address of Apprise's.

    Args:
        url: The address; a secret.
        variable: The environment variable that it comes from.
        timeout: Seconds to wait for an answer.

    Raises:
        ConfigurationError: If Apprise is not installed, or does not know the address.
    """

    def __init__(self, url: str, variable: str, timeout: float) -> None:
        try:
            import apprise
        except ImportError:
            raise ConfigurationError(
                f"{variable} needs Apprise, which is not installed",
                hint="pip install 'etl_assets[alerts-more]'",
            ) from None
        # Its lines hold addresses.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        between = "&" if "?" in url else "?"
        service: Any = apprise.Apprise.instantiate(f"{url}{between}cto={timeout:g}&rto={timeout:g}")
        if not service:
            raise ConfigurationError(
                f"{variable} is no address that Apprise knows",
                hint="see the list of services on Apprise's pages",
            )
        self._service = service
        self._name = str(service.service_name or type(service).__name__)

    def send(self, notice: Notice, message_id: int) -> str:
        """See `Channel`. Apprise says whether it was acknowledged, and not why it was not."""
        kind = "success" if notice.status == "recovered" else _TYPES[notice.severity]
        try:
            done = self._service.notify(
                body=plain_text(notice), title=headline(notice), notify_type=kind, body_format="text"
            )
        except Exception as error:
            raise DeliveryError(f"{self._name} cannot be told: {type(error).__name__}") from None
        if not done:
            raise DeliveryError(f"{self._name} did not acknowledge")
        return ""

    def check(self) -> None:
        """See `Channel`. Whether an address is a good one is seen by sending alone: `etl-assets alerts test`."""
