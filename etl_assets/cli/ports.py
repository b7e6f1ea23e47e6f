"""Ports on the command line."""

from __future__ import annotations

import socket

from etl_assets.failures import ConfigurationError


def ensure_free(host: str, port: int) -> None:
    """Check that nothing listens on a port.

    Raises:
        ConfigurationError: If something does, or the address cannot be listened on.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(
                f"port {port} on {host} cannot be used: {reason}", hint="choose another with --port"
            ) from None
