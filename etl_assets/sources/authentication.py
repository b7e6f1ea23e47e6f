"""Sending credentials: what is added to a request, and what must never be shown.

What belongs here: acting on each declaration of `etl_assets.streams.authentication`. What does not: looking secrets up
(the settings'), and tokens that are fetched (`oauth`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, quote_plus

import httpx

from etl_assets.failures import ConfigurationError
from etl_assets.streams.authentication import (
    ApiKey,
    Basic,
    BearerToken,
    NoAuthentication,
    OAuth2ClientCredentials,
)
from etl_assets.streams.base import RestSource

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Secret(Protocol):
    """A value that does not show itself, such as pydantic's ``SecretStr``."""

    def get_secret_value(self) -> str:
        """Give the value in clear."""
        ...


SecretLookup = Callable[[str], Secret | None]
"""Gives the secret of a source by the end of its variable's name, `TOKEN` or `PASSWORD` say; None where it is unset."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is added to requests.

    Attributes:
        headers: Further headers.
        parameters: Further request parameters; they never show in an address that is given away.
        secrets: Texts that must not show anywhere.
        variables: The environment variables that they come from, for messages.
    """

    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    secrets: tuple[str, ...]
    variables: tuple[str, ...]

    def add_to(self, url: httpx.URL) -> httpx.URL:
        """Give the address that is really asked for."""
        return url.copy_merge_params(dict(self.parameters)) if self.parameters else url

    def strip(self, url: httpx.URL) -> httpx.URL:
        """Take out of an address what the source repeated of our credentials."""
        for name in self.parameters:
            if name in url.params:
                url = url.copy_remove_param(name)
        return url

    def mask(self, text: str) -> str:
        """Replace secrets in a text by asterisks, however they are escaped."""
        for secret in self.secrets:
            for spelled in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(spelled, "***")
        return text


NO_CREDENTIALS = Credentials({}, {}, (), ())


def variable(source: str, suffix: str) -> str:
    """Name the environment variable that holds one of a source's secrets."""
    return f"ETL_{source.upper()}_{suffix}"


def static_credentials(source: RestSource, lookup: SecretLookup) -> Credentials:
    """Give the credentials that never change; for OAuth, those that tokens are fetched with.

    Args:
        source: The source.
        lookup: Gives its secrets.

    Raises:
        ConfigurationError: If one is missing or cannot be sent; names its variable and does not show it.
    """
    match source.authentication:
        case NoAuthentication():
            return NO_CREDENTIALS
        case BearerToken():
            token = _token(source, lookup)
            return Credentials({"authorization": f"Bearer {token}"}, {}, (token,), _names(source, "TOKEN"))
        case ApiKey(header=header, parameter=parameter):
            key = _token(source, lookup)
            headers, parameters = ({header: key}, {}) if header else ({}, {parameter or "": key})
            return Credentials(headers, parameters, (key,), _names(source, "TOKEN"))
        case Basic():
            return _basic(source, lookup, "USER", "PASSWORD")
        case OAuth2ClientCredentials(credentials_in="header"):
            return _basic(source, lookup, "CLIENT_ID", "CLIENT_SECRET", escape=quote_plus)
        case OAuth2ClientCredentials():
            name, word = _pair(source, lookup, "CLIENT_ID", "CLIENT_SECRET")
            form = {"client_id": name, "client_secret": word}
            return Credentials({}, form, (word,), _names(source, "CLIENT_ID", "CLIENT_SECRET"))


def _basic(
    source: RestSource,
    lookup: SecretLookup,
    user: str,
    password: str,
    *,
    escape: Callable[[str], str] = str,
) -> Credentials:
    name, word = (escape(part) for part in _pair(source, lookup, user, password))
    if ":" in name:
        raise ConfigurationError(f"{variable(source.name, user)} must not hold a colon")
    packed = base64.b64encode(f"{name}:{word}".encode()).decode("ascii")
    plain = _secret(source, lookup, password)
    return Credentials(
        {"authorization": f"Basic {packed}"}, {}, (packed, plain), _names(source, user, password)
    )


def _names(source: RestSource, *suffixes: str) -> tuple[str, ...]:
    return tuple(variable(source.name, suffix) for suffix in suffixes)


def _pair(source: RestSource, lookup: SecretLookup, first: str, second: str) -> tuple[str, str]:
    return _secret(source, lookup, first), _secret(source, lookup, second)


def _secret(source: RestSource, lookup: SecretLookup, suffix: str) -> str:
    found = lookup(suffix)
    value = found.get_secret_value() if found is not None else ""
    name = variable(source.name, suffix)
    if not value:
        what = suffix.lower().replace("_", " ")
        raise ConfigurationError(f"source {source.name} needs a {what}", hint=f"set {name}")
    if _CONTROL.search(value):
        raise ConfigurationError(
            f"{name} holds control characters", hint="look for a line break or a tab at its end"
        )
    return value


def _token(source: RestSource, lookup: SecretLookup) -> str:
    found = lookup("TOKEN")
    value = found.get_secret_value() if found is not None else ""
    name = variable(source.name, "TOKEN")
    if not value:
        raise ConfigurationError(f"source {source.name} needs a token", hint=f"set {name}")
    if not _VISIBLE.fullmatch(value):
        raise ConfigurationError(
            f"{name} holds characters that a token cannot have",
            hint="only visible ASCII characters; look for a space or a line break at its end",
        )
    return value
