"""Asking a REST source how many records a day has, by one small request.

What belongs here: the request, and reading the number out of its answer. What does not: single requests
(`etl_assets.sources.client`) and reading the records (`etl_assets.sources.rest`).
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from etl_assets.failures import EtlError, SourceError
from etl_assets.sources.answers import Answer
from etl_assets.sources.client import SourceClient
from etl_assets.sources.comparison import Comparison, Held, Match
from etl_assets.sources.http_failures import permanent
from etl_assets.sources.records import EnvelopeError, select_records
from etl_assets.sources.rest import window_parameters
from etl_assets.streams.base import AfterSequence, Count, OffsetLimit, Rest, Window
from etl_assets.streams.fields import field_at

SMALLEST_PAGE = 1
_NUMBER = re.compile(r"[0-9]{1,18}")


def compare_window(client: SourceClient, rest: Rest, window: Window, held: Held) -> Comparison:
    """Ask a source whether a window still has what was loaded of it.

    Args:
        client: Asks the source.
        rest: How the stream's rows are asked for.
        window: The span of time that the day was asked for by.
        held: What is here of it.

    Raises:
        SourceError: If the question gets no usable answer.
    """
    count = rest.count or _count_of_paging(rest)
    if count is not None:
        return _compare_count(client, rest, count, window, held)
    if isinstance(rest.paginator, AfterSequence):
        return _compare_feed(client, rest, rest.paginator, window, held)
    return Comparison.unknown("the stream declares no count", whole_stream=True)


def _count_of_paging(rest: Rest) -> Count | None:
    """Give the count that comes with a way of paging; a page is told how many records there are in all."""
    if isinstance(rest.paginator, OffsetLimit) and rest.paginator.total is not None:
        return Count(field=rest.paginator.total)
    return None


def _compare_count(client: SourceClient, rest: Rest, count: Count, window: Window, held: Held) -> Comparison:
    parameters = {**rest.parameters, **window_parameters(rest, window), **count.parameters}
    if count.path is None:
        parameters = {**rest.paginator.first_parameters(SMALLEST_PAGE), **parameters}
    answer = client.get(count.path or rest.path, parameters)
    told = _told(answer, count)
    if told is None:
        what = f"header {count.header}" if count.header else f"field {count.field!r}"
        return Comparison.unknown(f"the answer has no {what}", whole_stream=True)
    return Comparison.of_counts(held, _whole_number(told, client.source.name, answer.url))


def _told(answer: Answer, count: Count) -> Any:
    if count.header is not None:
        return answer.headers.get(count.header.lower())
    if count.field is None:
        return answer.json
    try:
        return field_at(answer.json, count.field)
    except LookupError:
        return None


def _whole_number(told: Any, source: str, url: str) -> int:
    text = told.strip() if isinstance(told, str) else str(told)
    if isinstance(told, bool) or not _NUMBER.fullmatch(text):
        raise permanent(
            f"{source} told no number of records to GET {url}",
            source,
            hint="compare the stream's Count with the source",
        )
    return int(text)


def _compare_feed(
    client: SourceClient, rest: Rest, paging: AfterSequence, window: Window, held: Held
) -> Comparison:
    """Ask for what comes after the last change that was read: a feed's numbers only grow."""
    last = _last_number(held, paging)
    if last is None:
        return Comparison.unknown("the number of the last change that was read is not known here any more")
    parameters = {
        **rest.parameters,
        **window_parameters(rest, window),
        **paging.first_parameters(SMALLEST_PAGE),
        paging.parameter: str(last),
    }
    answer = client.get(rest.path, parameters)
    try:
        more = bool(select_records(answer.json, rest.records))
    except EnvelopeError as error:
        raise SourceError(
            f"{client.source.name} answered GET {rest.path} in another shape: {error.message}",
            source=client.source.name,
            failure_class=error.failure_class,
            hint="compare the stream's declaration with the source",
        ) from error
    return Comparison(Match.DRIFTED, reason=f"changes after number {last:,}") if more else _NO_CHANGES


_NO_CHANGES = Comparison(Match.EQUAL)


def _last_number(held: Held, paging: AfterSequence) -> int | None:
    body = held.last_page()
    if body is None:
        return None
    try:
        last = field_at(orjson.loads(body), paging.field)
    except (EtlError, ValueError, LookupError):
        return None
    return last if isinstance(last, int) and not isinstance(last, bool) else None
