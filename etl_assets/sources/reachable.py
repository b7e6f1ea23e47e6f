"""Whether anything listens at a source's address: asked once before long work, so that "no server" is said at once."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from etl_assets.failures import SourceError
from etl_assets.settings import SourceSettings

ATTEMPTS = 3
PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 10.0


def ensure_reachable(name: str, settings: SourceSettings) -> None:
    """Open and close a connection to a source.

    Args:
        name: The source's name.
        settings: Its address.

    Raises:
        SourceError: If nothing answers there; says which variable to look at.
    """
    parts = urlsplit(settings.url)
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname or ""):
        return  # only the proxy can tell
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            socket.create_connection((host, port), TIMEOUT_SECONDS).close()
            return
        except OSError as error:
            if attempt == ATTEMPTS:
                reason = error.strerror or str(error) or type(error).__name__
                raise SourceError(
                    f"source {name} cannot be reached at {parts.scheme}://{host}:{port}: {reason}",
                    source=name,
                    affects_all=True,
                    hint=f"is the server running? check {settings.url_variable}",
                ) from error
            time.sleep(PAUSE_SECONDS)
