"""The HTTP client of one source: sends a request until it has a good answer or knows that there is none.

What belongs here: connections, limits, and putting credentials, pace, repeats and circuit breaker around a request.
What does not: reading an answer (`answers`), what failures mean (`http_failures`), how often to repeat (`retry`), and
paging (`rest`).
"""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, unquote_plus

import httpx
import structlog

from etl_assets.failures import ConfigurationError, EtlError, SourceError
from etl_assets.sources.addresses import Addresses
from etl_assets.sources.answers import Answer, AnswerReader
from etl_assets.sources.authentication import NO_CREDENTIALS, Secret, SecretLookup, static_credentials
from etl_assets.sources.circuit import Circuit
from etl_assets.sources.circuit_state import CircuitState
from etl_assets.sources.http_failures import failure_of_exception, permanent
from etl_assets.sources.oauth import TokenKeeper
from etl_assets.sources.pace import pace_of
from etl_assets.sources.records import parse_body
from etl_assets.sources.retry import with_repeats
from etl_assets.sources.statistics import RequestStatistics
from etl_assets.streams.authentication import OAuth2ClientCredentials
from etl_assets.streams.base import RestSource

__all__ = ["Answer", "Secret", "SourceClient"]

log = structlog.get_logger(__name__)

MAXIMUM_BODY_BYTES = 256 * 1024 * 1024
"""Decoded bytes of one answer at most: a page is held in memory, and a small compressed body can unpack to
any size. Pages of 10,000 records are about 3 MB."""

MAXIMUM_REDIRECTS = 5
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
USER_AGENT = "etl-assets"


@dataclass(frozen=True, slots=True)
class _Asking:
    """How an answer is asked for, beside its address: further headers, and what makes something of its body."""

    headers: Mapping[str, str]
    decode: Callable[[bytes], Any]
    maximum_bytes: int | None = None

    @property
    def is_conditional(self) -> bool:
        return any(name.lower().startswith("if-") for name in self.headers)


class SourceClient:
    """Asks one source; safe to use from many threads, to be closed after use.

    Args:
        source: The source.
        base_url: Its address, http or https; may hold a path that all others are below.
        token: Its token or key, where the source is declared with one.
        secret_of: Gives its other secrets by the end of their variable's name, such as `PASSWORD`.
        user_agent: How the client introduces itself.
        maximum_body_bytes: Decoded bytes of one answer at most.
        circuit: Decides when to stop asking; one as the source declares it where not given.
        statistics: Counts requests and failures; its own where not given.

    Raises:
        ConfigurationError: If address or credentials cannot be used as they are.
        SourceError: If tokens are declared to come from another host.
    """

    def __init__(
        self,
        source: RestSource,
        base_url: str,
        token: Secret | None,
        *,
        secret_of: SecretLookup | None = None,
        user_agent: str = USER_AGENT,
        maximum_body_bytes: int = MAXIMUM_BODY_BYTES,
        circuit: Circuit | None = None,
        statistics: RequestStatistics | None = None,
    ) -> None:
        self.source = source
        self.statistics = statistics or RequestStatistics()
        self._addresses = Addresses(source.name, base_url)
        credentials = static_credentials(source, _lookup(token, secret_of))
        self._client_credentials = self._credentials = credentials
        self._tokens: TokenKeeper | None = None
        if isinstance(source.authentication, OAuth2ClientCredentials):
            # A client's own credentials go to the token address alone.
            self._credentials = NO_CREDENTIALS
            self._tokens = TokenKeeper(source.name, self._fetch_token, credentials.variables)
            self._addresses.below(source.authentication.address)
        self._circuit = circuit or Circuit(source.name, source.breaker)
        self._slots = threading.BoundedSemaphore(source.concurrency)
        self._pace = pace_of(source, self._addresses.origin)
        self._reader = AnswerReader(source, maximum_body_bytes, credentials.variables, self.is_secret)
        headers = {
            "accept": "application/json",
            # Only what is unpacked with a known, bounded ratio is asked for.
            "accept-encoding": "gzip",
            "user-agent": user_agent,
        }
        self._http = _http_client(source, headers, is_loopback=self._addresses.is_loopback)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    @property
    def circuit_state(self) -> CircuitState:
        """Whether the source is still asked, and if not, since when and why."""
        return self._circuit.state

    @property
    def address(self) -> str:
        """Where the source is: scheme, host, port and base path, without secrets."""
        return str(self._addresses.base)

    def key_of(self, path_or_url: str, parameters: Mapping[str, str] | None = None) -> str:
        """Give a name to a request: equal for equal requests to one address, and without a trace of secrets.

        Args:
            path_or_url: As for `get`.
            parameters: As for `get`.

        Raises:
            SourceError: If it lies outside the source.
        """
        url = self._credentials.strip(self._addresses.below(path_or_url, parameters))
        return hashlib.blake2b(str(url).encode(), digest_size=16).hexdigest()

    def is_secret(self, text: str) -> bool:
        """Tell whether a text that the source sent repeats one of our secrets, however it is escaped."""
        return any(self._masked(spelled) != spelled for spelled in (text, unquote(text), unquote_plus(text)))

    def get(
        self,
        path_or_url: str,
        parameters: Mapping[str, str] | None = None,
        *,
        conditions: Mapping[str, str] | None = None,
        accept: str | None = None,
        decode: Callable[[bytes], Any] = parse_body,
        maximum_bytes: int | None = None,
    ) -> Answer:
        """Ask for a path, again after transient failures.

        Args:
            path_or_url: Path below the source's address, or a whole address with its scheme, host and port.
            parameters: Request parameters, added to those that the address has.
            conditions: Request headers that ask for the answer only if it has changed; `Answer.not_modified` then
                tells whether it has not.
            accept: Media types that are asked for; JSON where not given.
            decode: Decodes the body; an `EtlError` that it raises makes the answer a bad one.
            maximum_bytes: Decoded bytes of the answer at most, where they are fewer than the client's.

        Raises:
            SourceError: If there was no good answer; its class tells whether another try may help.
        """
        url = self._credentials.strip(self._addresses.below(path_or_url, parameters))
        asking = _Asking(
            {**({"accept": accept} if accept is not None else {}), **(conditions or {})},
            decode,
            maximum_bytes,
        )
        answer, attempts = with_repeats(
            lambda seconds: self._send(url, time.monotonic() + seconds, asking),
            self.source.retry,
            self.statistics,
            slots=self._slots,
            pace=self._pace,
            circuit=self._circuit,
            source=self.source.name,
            path=url.path,
        )
        if answer.not_modified:
            self.statistics.unchanged()
        else:
            self.statistics.answer(len(answer.body))
        return replace(answer, url=self._masked(url.raw_path.decode("ascii")), attempts=attempts)

    def resolve(self, answer: Answer, address: str) -> str:
        """Make an address that stands in an answer a whole one, as seen from where the answer came from.

        Raises:
            SourceError: If it lies outside the source.
        """
        url = self._addresses.join(address, seen_from=self._addresses.join(answer.url))
        return str(self._credentials.strip(url))

    def _send(self, url: httpx.URL, deadline: float, asking: _Asking) -> Answer:
        if self._tokens is None:
            return self._follow(url, deadline, self._credentials.headers, asking)
        token = self._tokens.token()
        try:
            return self._follow(url, deadline, {"authorization": f"Bearer {token}"}, asking)
        except SourceError as error:
            if error.status != httpx.codes.UNAUTHORIZED:
                raise
        # A token can be withdrawn before its time; that a fresh one is refused as well is final.
        log.info("token_refused", source=self.source.name)
        self._tokens.refused(token)
        token = self._tokens.token()
        self.statistics.request(repeat=True)
        return self._follow(url, deadline, {"authorization": f"Bearer {token}"}, asking)

    def _follow(
        self, asked: httpx.URL, deadline: float, credentials: Mapping[str, str], asking: _Asking
    ) -> Answer:
        url, headers = asked, {**asking.headers, **credentials}
        for _ in range(MAXIMUM_REDIRECTS + 1):
            with (
                self._asking("GET", asked.path),
                self._http.stream("GET", self._credentials.add_to(url), headers=headers) as response,
            ):
                if not response.has_redirect_location:
                    return self._reader.read(
                        response,
                        asked.path,
                        deadline,
                        conditional=asking.is_conditional,
                        decode=asking.decode,
                        maximum_bytes=asking.maximum_bytes,
                    )
                target = response.headers["location"]
            url = self._credentials.strip(self._addresses.join(target, seen_from=url))
        name = self.source.name
        raise permanent(f"{name} redirects GET {asked.path} in circles", name)

    def _fetch_token(self) -> Any:
        """Ask for a token; redirects are not followed, as they would take the client's credentials along."""
        declared = self.source.authentication
        assert isinstance(declared, OAuth2ClientCredentials)
        url = self._addresses.below(declared.address)
        form = {"grant_type": "client_credentials", **self._client_credentials.parameters}
        if declared.scope is not None:
            form["scope"] = declared.scope
        headers = self._client_credentials.headers
        deadline = time.monotonic() + self.source.retry.total
        self.statistics.request(repeat=False)
        with (
            self._asking("POST", url.path),
            self._http.stream("POST", url, data=form, headers=headers) as response,
        ):
            return self._reader.read(response, url.path, deadline, method="POST").json

    @contextmanager
    def _asking(self, method: str, path: str) -> Iterator[None]:
        try:
            yield
        except EtlError:
            raise
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            raise failure_of_exception(
                self.source.name, path, error, timeout=self.source.timeout, method=method
            ) from error

    def _masked(self, text: str) -> str:
        for secret in self._tokens.secrets if self._tokens is not None else ():
            text = text.replace(secret, "***")
        return self._client_credentials.mask(text)


def _lookup(token: Secret | None, secret_of: SecretLookup | None) -> SecretLookup:
    def look_up(suffix: str) -> Secret | None:
        if suffix == "TOKEN":
            return token
        return secret_of(suffix) if secret_of is not None else None

    return look_up


@lru_cache(maxsize=4)
def _certificates(trust_env: bool, *named: str | None) -> ssl.SSLContext:
    """Read whom to trust, once for all clients of a process: there are hundreds of certificates.

    Args:
        trust_env: Whether the environment may name others than the usual ones.
        named: What it names; other names are read anew.
    """
    return httpx.create_ssl_context(trust_env=trust_env)


def _http_client(source: RestSource, headers: Mapping[str, str], *, is_loopback: bool) -> httpx.Client:
    connections = source.concurrency
    try:
        return httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(source.timeout, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            # Proxies and certificates from the environment are meant for the network outside; a proxy cannot
            # reach a server on this machine's own loopback.
            trust_env=not is_loopback,
            verify=_certificates(not is_loopback, *map(os.environ.get, CERTIFICATE_VARIABLES)),
        )
    except (ValueError, ImportError, OSError) as error:
        raise ConfigurationError(
            "the environment's proxy or certificate settings cannot be used",
            hint="check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE",
        ) from error
