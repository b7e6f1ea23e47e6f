"""Extraction from a REST path: the pages of a window, in order.

What belongs here: following the paginator, and refusing what would never end. What does not: single requests
(`etl_assets.sources.client`) and keeping the pages (`etl_assets.landing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

import orjson
import structlog

from etl_assets.failures import SourceError
from etl_assets.sources.answers import Answer
from etl_assets.sources.asking import ask
from etl_assets.sources.base import FIRST_TIME, Earlier, Page
from etl_assets.sources.client import SourceClient
from etl_assets.sources.conditional import kept_headers
from etl_assets.sources.http_failures import permanent
from etl_assets.sources.records import EnvelopeError, select_records
from etl_assets.streams.base import Rest, Window
from etl_assets.streams.paging import AnsweredPage, NextPage, PagingError, ShiftedPagesError

log = structlog.get_logger(__name__)

MAXIMUM_PAGES = 100_000
"""Pages of one window at most: a source that invents new cursors for ever must not fill the disk."""


def extract_pages(
    client: SourceClient,
    rest: Rest,
    window: Window,
    earlier: Earlier = FIRST_TIME,
    *,
    maximum_pages: int = MAXIMUM_PAGES,
) -> Iterator[Page]:
    """Read the pages of a window, one request after the other.

    Args:
        client: Asks the source.
        rest: What to ask for.
        window: The span of time to ask for; without a meaning where the path gives the whole present.
        earlier: What is known of the window: answers that have not changed are taken from there, and reading goes on
            where it was cut short.
        maximum_pages: Pages at most.

    Yields:
        The pages in order, without those that `earlier` says are there already; only the current one is held in memory.

    Raises:
        SourceError: If the window is not over yet, a page cannot be had or is not of the declared shape, or paging
            goes in circles.
    """
    ensure_over(client.source.name, rest, window, datetime.now(UTC))
    path, first = rest.path, first_parameters(rest, window)
    resumed = _place_of(earlier.resume) if earlier.resume is not None else NextPage()
    parameters: Mapping[str, str] = {**first, **(resumed.parameters or {})}
    total = resumed.total
    seen = set(earlier.requests)
    unchanged = not seen
    most = 0
    for _ in range(len(seen), maximum_pages):
        request = client.key_of(path, parameters)
        _check_new(request, seen, client.source.name)
        landed = earlier.headers(request) if rest.conditional else {}
        # The same declaration finds the same next page in the same answers, unless that stands in a header.
        is_known = unchanged and not rest.paginator.headers
        last = earlier.records_of_last(request) if is_known else None
        answer = ask(
            client, path, parameters, landed, partial(earlier.body, request), decode_landed=last is None
        )
        if last is not None and answer.not_modified:
            yield Page(answer.body, last, answer.url, request, landed, unchanged=True)
            return
        records, following = _understand(answer, rest, parameters, total, client.source.name)
        if answer.not_modified and following is None and _may_have_grown(rest, records, most):
            answer = client.get(path, parameters)
            records, following = _understand(answer, rest, parameters, total, client.source.name)
        kept = kept_headers(answer.headers, rest.paginator.headers, client.is_secret)
        resume = _resume_at(rest, following)
        yield Page(answer.body, records, answer.url, request, kept, resume, answer.not_modified)
        unchanged = unchanged and answer.not_modified
        most = max(most, records)
        if following is None:
            return
        if following.url is not None:
            path, parameters = client.resolve(answer, following.url), {}
        else:
            path, parameters = rest.path, {**first, **(following.parameters or {})}
        total = following.total
    raise permanent(
        f"{client.source.name} gave more than {maximum_pages:,} pages for GET {rest.path}",
        client.source.name,
        hint="raise the stream's page_size",
    )


def ensure_over(source: str, rest: Rest, window: Window, now: datetime) -> None:
    """Refuse to read a window that may still gain records.

    Args:
        source: Name of the source, for the message.
        rest: What to ask for; without a lag, any window may be read.
        window: The span of time to ask for.
        now: The time, with a zone.

    Raises:
        SourceError: If the source's lag has not passed since the window's end; transient.
    """
    if rest.lag and now < window.end + rest.lag:
        raise SourceError(
            f"{source} may still add to the window that ends at {rfc3339(window.end)}: "
            f"it is read from {rfc3339(window.end + rest.lag)} on, as the source commits up to {rest.lag} late",
            source=source,
            hint="run again then",
        )


def _may_have_grown(rest: Rest, records: int, most: int) -> bool:
    """Tell whether an unchanged last page may have got a page behind it.

    Validators stand for a body, and servers may leave other headers out of an answer without one: where paging goes by
    a header, a last page that is full may be the last no more, and only the whole answer tells.

    Args:
        rest: What is asked for.
        records: Records of the page.
        most: Most records of a page before it; sources may serve smaller pages than they are asked for.
    """
    return bool(rest.paginator.headers) and records >= min(rest.paginator.page_size, most or records + 1)


def _resume_at(rest: Rest, following: NextPage | None) -> str | None:
    """Write down where the next page is, if reading may go on there another time.

    The whole present is never put together from two times.
    """
    if following is None or following.url is not None or rest.window is None or not rest.paginator.resumable:
        return None
    place = {"parameters": dict(following.parameters or {}), "total": following.total}
    return orjson.dumps(place).decode()


def _place_of(resume: str) -> NextPage:
    place = orjson.loads(resume)
    return NextPage(parameters=place["parameters"], total=place["total"])


def _understand(
    answer: Answer, rest: Rest, parameters: Mapping[str, str], total: int | None, source: str
) -> tuple[int, NextPage | None]:
    """Give the number of records in an answer, and where the next page is."""
    try:
        records = len(select_records(answer.json, rest.records))
        page = AnsweredPage(answer.json, answer.headers, parameters, records, total)
        return records, rest.paginator.next_page(page)
    except ShiftedPagesError as error:
        raise SourceError(
            f"{source} changed while GET {rest.path} was read: {error.message}",
            source=source,
            status=answer.status,
            hint="the day is read again from its start",
        ) from error
    except (EnvelopeError, PagingError) as error:
        raise permanent(
            f"{source} answered GET {rest.path} in another shape: {error.message}",
            source,
            status=answer.status,
            hint="compare the stream's declaration with the source",
        ) from error


def first_parameters(rest: Rest, window: Window) -> dict[str, str]:
    """Give the parameters of a window's first request."""
    return {**rest.parameters, **window_parameters(rest, window), **rest.paginator.first_parameters()}


def window_parameters(rest: Rest, window: Window) -> dict[str, str]:
    """Give the parameters that ask for a window; none where the path gives the whole present."""
    if rest.window is None:
        return {}
    return {rest.window.start: rfc3339(window.start), rest.window.end: rfc3339(window.end)}


def rfc3339(moment: datetime) -> str:
    """Write an instant as RFC 3339 in UTC with `Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _check_new(request: str, seen: set[str], source: str) -> None:
    if request in seen:
        raise permanent(
            f"{source} gave a next page a second time: its paging goes in circles",
            source,
            hint="report it to the source; nothing of the day was landed",
        )
    seen.add(request)
