"""What an HTTP status or a client's exception means: the one place that turns them into a `SourceError`.

What belongs here: the mapping, and the messages' wording. What does not: deciding how often to try again.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import httpx

from etl_assets.failures import FailureClass, SourceError

TRANSIENT_CLIENT_STATUSES = frozenset({408, 425})
PERMANENT_SERVER_STATUSES = frozenset({501, 505, 511})
"""Not implemented, HTTP version not supported, network log-in needed: no attempt changes these."""

RATE_LIMITED = 429
REFUSED = frozenset({401, 403})

Kind = TypeVar("Kind", bound=BaseException)

_CODE = re.compile(r"^[a-z][a-z0-9_.-]{0,39}$", re.IGNORECASE)


def url_variable(source: str) -> str:
    """Name the environment variable that holds a source's address."""
    return f"ETL_{source.upper()}_URL"


def token_variable(source: str) -> str:
    """Name the environment variable that holds a source's token."""
    return f"ETL_{source.upper()}_TOKEN"


def failure_of_status(
    source: str,
    path: str,
    status: int,
    headers: Mapping[str, str],
    code: str | None = None,
    *,
    method: str = "GET",
    variables: tuple[str, ...] = (),
) -> SourceError:
    """Say what a status other than 200 means.

    Args:
        source: Name of the source.
        path: Path that was asked for.
        status: HTTP status of the answer.
        headers: Headers of the answer, by lower-case name.
        code: The source's own error code, if it gave one.
        method: How it was asked for.
        variables: The environment variables that hold the credentials.
    """
    reason = (
        f"{status} {HTTPStatus(status).phrase}" if status in HTTPStatus._value2member_map_ else str(status)
    )
    text = f"{source} answered {reason} to {method} {path}"
    if code is not None and _CODE.match(code):
        text += f", error code {code}"
    if status == RATE_LIMITED:
        return SourceError(
            text,
            source=source,
            status=status,
            retry_after=retry_after(headers),
            failure_class=FailureClass.RATE_LIMITED,
            hint=f"{source} wants fewer requests; run again later or lower the source's concurrency",
        )
    if status in TRANSIENT_CLIENT_STATUSES or (status >= 500 and status not in PERMANENT_SERVER_STATUSES):
        return SourceError(text, source=source, status=status, retry_after=retry_after(headers))
    if status in REFUSED:
        # The same for every path, so that a thousand days that fail for it are told of once.
        return SourceError(
            f"{source} answered {reason}",
            source=source,
            status=status,
            affects_all=True,
            failure_class=FailureClass.PERMANENT,
            hint=_credentials_hint(variables),
        )
    return permanent(text, source, status=status)


def failure_of_exception(
    source: str, path: str, error: Exception, *, timeout: float, method: str = "GET"
) -> SourceError:
    """Say what an exception of the HTTP client means.

    Args:
        source: Name of the source.
        path: Path that was asked for.
        error: The exception.
        timeout: Seconds without a byte after which a request counts as failed, for the message.
        method: How it was asked for.
    """
    asked = f"{method} {path}"
    certificate = _cause(error, ssl.SSLCertVerificationError)
    if certificate is not None:
        return _tls_failure(source, f"certificate cannot be trusted: {_line(certificate.verify_message)}")
    tls = _cause(error, ssl.SSLError)
    # These three say that the line broke, not that the two sides cannot agree.
    if tls is not None and not isinstance(
        tls, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError
    ):
        return _tls_failure(source, f"cannot be reached by TLS: {_line(tls.reason or 'handshake failed')}")
    if isinstance(error, httpx.TimeoutException):
        return SourceError(f"{source} did not answer {asked} within {timeout:g} s", source=source)
    if isinstance(error, httpx.ConnectError):
        return _unreachable(source, error)
    if isinstance(error, httpx.DecodingError):
        return SourceError(f"{source} sent a damaged body to {asked}", source=source)
    if isinstance(error, httpx.TransportError) and not isinstance(
        error, httpx.UnsupportedProtocol | httpx.LocalProtocolError
    ):
        return SourceError(f"{source} broke off its answer to {asked}", source=source)
    return permanent(f"{source} cannot be asked for {path}: {type(error).__name__}", source)


def permanent(
    message: str, source: str, *, status: int | None = None, hint: str | None = None
) -> SourceError:
    """Make the error for an answer that another attempt would not better."""
    return SourceError(message, source=source, status=status, hint=hint, failure_class=FailureClass.PERMANENT)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how long a source asks to wait, given as seconds or as an HTTP date (RFC 9110, 10.2.3).

    Args:
        headers: Headers of the answer, by lower-case name.

    Returns:
        Seconds from now, not negative; None where nothing usable was said.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    # The two clocks may differ: the source's own idea of now, if it says it, is what its date counts from.
    now = _http_date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def repeated(error: SourceError, *, attempts: int = 1, kind: type[SourceError] = SourceError) -> SourceError:
    """Give a failure again as a new exception, with the number of attempts that it took in its message."""
    suffix = f", {attempts} times in a row" if attempts > 1 else ""
    return kind(
        error.message + suffix,
        source=error.source,
        status=error.status,
        affects_all=error.affects_all,
        retry_after=error.retry_after,
        hint=error.hint,
        failure_class=error.failure_class,
    )


def _credentials_hint(variables: tuple[str, ...]) -> str:
    if not variables:
        return "it wants credentials; declare the source's authentication"
    what = "the token in " if len(variables) == 1 else ""
    return f"check {what}{' and '.join(variables)}"


def _unreachable(source: str, error: Exception) -> SourceError:
    if _cause(error, socket.gaierror) is not None:
        what = "its host name cannot be resolved"
    elif _cause(error, ConnectionRefusedError) is not None:
        what = "the connection was refused"
    else:
        what = "no connection could be made"
    return SourceError(
        f"{source} cannot be reached: {what}",
        source=source,
        affects_all=True,
        hint=f"is the server running? check {url_variable(source)}",
    )


def _tls_failure(source: str, what: str) -> SourceError:
    return SourceError(
        f"{source}'s {what}" if what.startswith("certificate") else f"{source} {what}",
        source=source,
        affects_all=True,
        failure_class=FailureClass.PERMANENT,
        hint=f"check {url_variable(source)} and the certificates of this machine",
    )


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _cause(error: BaseException, kind: type[Kind]) -> Kind | None:
    return next((link for link in _chain(error) if isinstance(link, kind)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _line(text: str) -> str:
    return " ".join(text.split())
