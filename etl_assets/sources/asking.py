"""Asking for an answer that was landed before: transferred again only if it has changed.

What belongs here: one request and the landed answer to it. What does not: which headers make the conditions
(`conditional`), paging (`rest`) and documents (`documents`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from etl_assets.sources.answers import Answer
from etl_assets.sources.client import SourceClient
from etl_assets.sources.conditional import conditions_of
from etl_assets.sources.records import parse_body

log = structlog.get_logger(__name__)


def ask(
    client: SourceClient,
    path: str,
    parameters: Mapping[str, str],
    landed: Mapping[str, str],
    read_landed: Callable[[], bytes | None],
    *,
    accept: str | None = None,
    decode: Callable[[bytes], Any] = parse_body,
    maximum_bytes: int | None = None,
    decode_landed: bool = True,
) -> Answer:
    """Give the answer to a request, from landing where it has not changed.

    Args:
        client: Asks the source.
        path: As for `SourceClient.get`.
        parameters: As for `SourceClient.get`.
        landed: Headers of the landed answer; empty where there is none.
        read_landed: Reads its body; None where it is damaged.
        accept: As for `SourceClient.get`.
        decode: As for `SourceClient.get`.
        maximum_bytes: As for `SourceClient.get`.
        decode_landed: Whether a landed answer that is still right is decoded as well.

    Raises:
        SourceError: If there was no good answer.
    """
    conditions = conditions_of(landed)
    answer = client.get(
        path, parameters, conditions=conditions, accept=accept, decode=decode, maximum_bytes=maximum_bytes
    )
    if not answer.not_modified:
        return answer
    body = read_landed()
    if body is None:
        log.warning("landed_answer_unusable", source=client.source.name, request=answer.url)
        return client.get(path, parameters, accept=accept, decode=decode, maximum_bytes=maximum_bytes)
    # An answer without a body may leave out the headers that have not changed either.
    decoded = decode(body) if decode_landed else None
    return replace(answer, body=body, json=decoded, headers={**landed, **answer.headers})
