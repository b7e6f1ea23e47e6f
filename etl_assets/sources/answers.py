"""Reading one answer of a REST source: in full, within bounds, and as what it claims to be.

What belongs here: from a response to a decoded answer, or to the failure that it is. What does not: sending the request
(`client`), and what an answer's records are (`records`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from etl_assets.failures import EtlError, SourceError
from etl_assets.sources.http_failures import failure_of_status, permanent
from etl_assets.sources.records import parse_body
from etl_assets.streams.base import RestSource

MAXIMUM_ERROR_BODY_BYTES = 64 * 1024

_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer.

    Attributes:
        body: The body as it came, decompressed.
        json: The decoded body.
        headers: Headers by lower-case name.
        url: Path and parameters that were asked for, without host and secrets.
        status: HTTP status.
        attempts: Requests that it took.
    """

    body: bytes
    json: Any
    headers: Mapping[str, str]
    url: str
    status: int
    attempts: int

    @property
    def not_modified(self) -> bool:
        """Whether it has no body, because the one that the conditions were taken from is still right."""
        return self.status == httpx.codes.NOT_MODIFIED


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reads the answers of one source.

    Args:
        source: The source.
        maximum_body_bytes: Decoded bytes of one answer at most.
        variables: The environment variables that hold the credentials, for messages.
        is_secret: Whether a text holds something that must not show.
    """

    source: RestSource
    maximum_body_bytes: int
    variables: tuple[str, ...]
    is_secret: Callable[[str], bool]

    def read(
        self,
        response: httpx.Response,
        path: str,
        deadline: float,
        *,
        method: str = "GET",
        conditional: bool = False,
        decode: Callable[[bytes], Any] = parse_body,
        maximum_bytes: int | None = None,
    ) -> Answer:
        """Read an answer to its end.

        Args:
            response: The answer, its body not read yet.
            path: What was asked for, for messages.
            deadline: When to give up, on the monotonic clock.
            method: How it was asked for.
            conditional: Whether it was asked for only if it has changed; the answer may then be without a body.
            decode: Decodes the body; raises an `EtlError` when that cannot be done.
            maximum_bytes: Decoded bytes of the body at most, where they are fewer than the reader's.

        Raises:
            SourceError: If it is not a good one.
        """
        headers = dict(response.headers)
        status = response.status_code
        if conditional and status == httpx.codes.NOT_MODIFIED:
            # Its end is all there is to read; left unread, the connection could not be used again.
            response.read()
            return Answer(b"", None, headers, "", status, 1)
        if status != httpx.codes.OK:
            code = self._error_code(response, path, deadline)
            raise failure_of_status(
                self.source.name, path, status, headers, code, method=method, variables=self.variables
            )
        limit = min(self.maximum_body_bytes, maximum_bytes or self.maximum_body_bytes)
        body = self._body(response, path, limit, deadline)
        try:
            decoded = decode(body)
        except EtlError as error:
            raise SourceError(
                f"{self.source.name} sent an unusable answer to {method} {path}: {error.message}",
                source=self.source.name,
                status=status,
                failure_class=error.failure_class,
            ) from error
        return Answer(body, decoded, headers, "", status, 1)

    def _body(self, response: httpx.Response, path: str, limit: int, deadline: float) -> bytes:
        name = self.source.name
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in _ENCODINGS:
            raise permanent(f"{name} sent the unasked-for content encoding {encoding[:40]!r}", name)
        chunks, size = [], 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > limit:
                raise permanent(
                    f"{name} sent more than {limit:,} bytes to GET {path}",
                    name,
                    hint="lower the stream's page_size, or for documents raise its maximum_bytes",
                )
            if time.monotonic() > deadline:
                allowed = self.source.retry.total
                raise SourceError(f"{name} took more than {allowed:g} s to answer GET {path}", source=name)
            chunks.append(chunk)
        return b"".join(chunks)

    def _error_code(self, response: httpx.Response, path: str, deadline: float) -> str | None:
        """Read the code of `{"error": {"code": ...}}`; the message may hold anything, so it is not read."""
        try:
            decoded = parse_body(self._body(response, path, MAXIMUM_ERROR_BODY_BYTES, deadline))
        except (EtlError, httpx.HTTPError):
            return None
        error = decoded.get("error") if isinstance(decoded, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        return code if isinstance(code, str) and not self.is_secret(code) else None
