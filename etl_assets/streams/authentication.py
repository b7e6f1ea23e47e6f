"""Declaring how requests to a REST source are authenticated.

What belongs here: one declaration per way. What does not: secrets (they come from the environment), and sending them
(`etl_assets.sources.authentication`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from etl_assets.failures import ConfigurationError

_NAME = re.compile(r"^[A-Za-z0-9_.\-\[\]]{1,80}$")


@dataclass(frozen=True, slots=True)
class NoAuthentication:
    """The source asks for no credentials."""


@dataclass(frozen=True, slots=True)
class BearerToken:
    """`Authorization: Bearer <token>`; the token comes from the environment variable `ETL_<SOURCE>_TOKEN`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key in a header or in a request parameter; it comes from the environment variable `ETL_<SOURCE>_TOKEN`.

    Prefer the header where the source takes both: the source's own logs, and every proxy's, hold request parameters.

    Args:
        header: Name of the header, such as `X-Api-Key`.
        parameter: Name of the request parameter.

    Raises:
        ConfigurationError: If not exactly one of them is given.
    """

    header: str | None = None
    parameter: str | None = None

    def __post_init__(self) -> None:
        name = self.header if self.parameter is None else self.parameter
        if (self.header is None) == (self.parameter is None) or not _NAME.match(name or ""):
            raise ConfigurationError("ApiKey needs the name of either a header or a parameter")


@dataclass(frozen=True, slots=True)
class Basic:
    """User name and password, as in RFC 7617.

    They come from the environment variables `ETL_<SOURCE>_USER` and `ETL_<SOURCE>_PASSWORD`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2ClientCredentials:
    """A token that is fetched with a client's own credentials, as in RFC 6749, 4.4.

    It is fetched anew before it expires, and once when the source refuses it. The credentials come from the environment
    variables `ETL_<SOURCE>_CLIENT_ID` and `ETL_<SOURCE>_CLIENT_SECRET`.

    Args:
        token_path: Path below the source's address where tokens are to be had.
        token_url: Whole address instead, on the source's own host.
        scope: What the token shall open, as the source calls it.
        credentials_in: Where the source wants the credentials: the `Authorization` header, or the form that is posted.

    Raises:
        ConfigurationError: If not exactly one of path and address is given.
    """

    token_path: str | None = None
    token_url: str | None = None
    scope: str | None = None
    credentials_in: Literal["header", "body"] = "header"

    def __post_init__(self) -> None:
        if (self.token_path is None) == (self.token_url is None):
            raise ConfigurationError("OAuth2ClientCredentials needs either token_path or token_url")
        if self.token_path is not None and (not self.token_path.startswith("/") or "//" in self.token_path):
            raise ConfigurationError(f"token_path {self.token_path!r} must start with one slash")

    @property
    def address(self) -> str:
        """Path or address where tokens are to be had."""
        return self.token_path or self.token_url or ""


Authentication = NoAuthentication | BearerToken | ApiKey | Basic | OAuth2ClientCredentials
"""Any way of authentication."""
