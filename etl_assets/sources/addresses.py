"""Addresses of a REST source: reading them, and making sure that they are the source's own.

What belongs here: what can be told from an address alone. What does not: asking for it (`client`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urljoin

import httpx

from etl_assets.failures import ConfigurationError
from etl_assets.sources.http_failures import permanent, token_variable, url_variable

_EXAMPLE = "for example https://api.example.com"


class Addresses:
    """The address of one source and all that is below it.

    Args:
        source: Name of the source.
        base_url: Its address, http or https; may hold a path that all others are below.

    Raises:
        ConfigurationError: If the address cannot be used; names its variable.
    """

    def __init__(self, source: str, base_url: str) -> None:
        self.base = _checked_base(source, base_url)
        self._source = source

    @property
    def origin(self) -> str:
        """Scheme, host and port, for people."""
        return _shown_origin(self.base)

    @property
    def is_loopback(self) -> bool:
        """Whether the source runs on this machine."""
        host = self.base.host
        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    def below(self, path_or_url: str, parameters: Mapping[str, str] | None = None) -> httpx.URL:
        """Make a whole address of a path below the source's address, or check one that is whole already.

        Args:
            path_or_url: Path, or a whole address with its scheme, host and port.
            parameters: Request parameters, added to those that the address has.

        Raises:
            SourceError: If it lies outside the source.
        """
        is_path = path_or_url.startswith("/") and not path_or_url.startswith("//")
        url = self.join(str(self.base).rstrip("/") + path_or_url if is_path else path_or_url)
        return url.copy_merge_params(dict(parameters)) if parameters else url

    def join(self, address: str, seen_from: httpx.URL | None = None) -> httpx.URL:
        """Read an address that a source gave, and make sure that it is the source's own.

        Raises:
            SourceError: If it lies outside the source, or cannot be read.
        """
        try:
            url = httpx.URL(urljoin(str(seen_from or self.base), address))
        except (ValueError, httpx.InvalidURL) as error:
            raise permanent(f"{self._source} gave an address that cannot be read", self._source) from error
        if _origin(url) != _origin(self.base) or url.userinfo:
            raise permanent(
                f"{self._source} pointed to another address, {_shown_origin(url)}, which must not see the token",
                self._source,
                hint=f"if the source has moved, set {url_variable(self._source)} to its new address",
            )
        return url


def _checked_base(source: str, base_url: str) -> httpx.URL:
    variable = url_variable(source)
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{variable} is not a valid address", hint=_EXAMPLE) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{variable} must be an http or https address with a host", hint=_EXAMPLE)
    if url.userinfo:
        raise ConfigurationError(
            f"{variable} must not hold a user name or password",
            hint=f"put the token into {token_variable(source)}",
        )
    if url.query or url.fragment:
        raise ConfigurationError(f"{variable} must not hold parameters", hint=_EXAMPLE)
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _shown_origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "")
