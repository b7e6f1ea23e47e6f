"""Extraction from a REST path: the pages of a window, in order.

What belongs here: following the paginator, and refusing what would never end. What does not: single requests
(`etl_assets.sources.client`) and keeping the pages (`etl_assets.landing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from etl_assets.failures import SourceError
from etl_assets.sources.answers import Answer
from etl_assets.sources.base import Page
from etl_assets.sources.client import SourceClient
from etl_assets.sources.http_failures import permanent
from etl_assets.sources.records import EnvelopeError, select_records
from etl_assets.streams.base import Rest, Window
from etl_assets.streams.paging import AnsweredPage, NextPage, PagingError, ShiftedPagesError

MAXIMUM_PAGES = 100_000
"""Pages of one window at most: a source that invents new cursors for ever must not fill the disk."""


def extract_pages(
    client: SourceClient, rest: Rest, window: Window, *, maximum_pages: int = MAXIMUM_PAGES
) -> Iterator[Page]:
    """Read the pages of a window, one request after the other.

    Args:
        client: Asks the source.
        rest: What to ask for.
        window: The span of time to ask for.
        maximum_pages: Pages at most.

    Yields:
        The pages in order; only the current one is held in memory.

    Raises:
        SourceError: If the window is not over yet, a page cannot be had or is not of the declared shape, or paging
            goes in circles.
    """
    ensure_over(client.source.name, rest, window, datetime.now(UTC))
    path, first = rest.path, first_parameters(rest, window)
    parameters: Mapping[str, str] = first
    total: int | None = None
    seen: set[int] = set()
    for _ in range(maximum_pages):
        _check_new(path, parameters, seen, client.source.name)
        answer = client.get(path, parameters)
        records, following = _understand(answer, rest, parameters, total, client.source.name)
        yield Page(answer.body, records, answer.url)
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
    return {
        **rest.parameters,
        rest.window.start: rfc3339(window.start),
        rest.window.end: rfc3339(window.end),
        **rest.paginator.first_parameters(),
    }


def rfc3339(moment: datetime) -> str:
    """Write an instant as RFC 3339 in UTC with `Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _check_new(path: str, parameters: Mapping[str, str], seen: set[int], source: str) -> None:
    place = hash((path, tuple(sorted(parameters.items()))))
    if place in seen:
        raise permanent(
            f"{source} gave a next page a second time: its paging goes in circles",
            source,
            hint="report it to the source; nothing of the day was kept",
        )
    seen.add(place)
