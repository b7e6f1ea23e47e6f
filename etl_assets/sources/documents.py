"""Documents by identifier: one request each, several at once, and an outcome for every one of them.

What belongs here: asking for documents in the declared formats, and making records of them. What does not: which ones
there are (`etl_assets.sources.identifiers`), single requests (`etl_assets.sources.client`) and keeping what came
(`etl_assets.landing`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import structlog

from etl_assets.failures import EtlError, SourceError, describe_place, describe_unexpected
from etl_assets.outcomes import FailedItem
from etl_assets.sources.asking import ask
from etl_assets.sources.base import FIRST_TIME, Earlier
from etl_assets.sources.conditional import kept_headers
from etl_assets.sources.records import parse_body
from etl_assets.streams.documents import FORMAT_FIELD, IDENTIFIER_FIELD, DocumentFormat, Documents

if TYPE_CHECKING:
    from etl_assets.sources.client import SourceClient

log = structlog.get_logger(__name__)

LOOK_AHEAD = 4
"""Documents asked for or waiting for their turn, per request that may be under way: one slow document does not hold
up the others, and no more than these are in memory."""

_ABSENT = {404: "there is no such document", 410: "the document is gone"}
_NOT_IN_THIS_FORMAT = frozenset({404, 406})


class UnreadableDocumentError(EtlError):
    """A document is not what its format says, or not an object."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it came.

    Attributes:
        identifier: What it was asked for by.
        format: Name of the format that it came in.
        body: Its bytes.
        position: Its place in the order of the identifiers, from 0.
        request: Name of the request that it answers, without secrets.
        headers: Headers of the answer that are needed to ask for it again only if it has changed.
        unchanged: Whether it was not transferred, because the landed one is still right.
    """

    identifier: str
    format: str
    body: bytes
    position: int
    request: str = field(default="", compare=False)
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)
    unchanged: bool = field(default=False, compare=False)


Wanted = tuple[int, str]
"""An identifier, after its place in the order of all of them."""

Results = Generator[Document | FailedItem, None, None]
"""What became of documents; to be closed, so that nothing is asked for in vain when the rest is not wanted."""


@runtime_checkable
class DocumentReader(Protocol):
    """A reader that can ask for documents; used from many threads at once."""

    def identifiers(self, extract: Documents) -> list[str]:
        """Give the identifiers of a stream, each once, in order.

        Raises:
            ConfigurationError: If the list cannot be used.
        """
        ...

    def documents(
        self, extract: Documents, wanted: Iterable[Wanted], earlier: Earlier = FIRST_TIME
    ) -> Results:
        """Ask for documents; see `fetch_documents`."""
        ...


def fetch_documents(
    client: SourceClient, extract: Documents, wanted: Iterable[Wanted], earlier: Earlier = FIRST_TIME
) -> Results:
    """Ask for documents.

    Args:
        client: Asks the source.
        extract: How documents are asked for.
        wanted: Those to ask for.
        earlier: What was landed of them: documents that have not changed are taken from there.

    Yields:
        What became of each, in the order in which they are wanted, whichever was there first.

    Raises:
        SourceError: If something is wrong that every other document would share, such as a refused token or a source
            that does not answer.
    """
    pool = ThreadPoolExecutor(extract.concurrency, thread_name_prefix=f"{client.source.name}-documents")
    waiting: deque[Future[Document | FailedItem]] = deque()

    def outcome_of(identifier: str, position: int) -> Document | FailedItem:
        return _outcome_of(client, extract, identifier, position, earlier)

    try:
        yield from _in_order(pool, waiting, outcome_of, extract.concurrency * LOOK_AHEAD, wanted)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor,
    waiting: deque[Future[Document | FailedItem]],
    outcome_of: Callable[[str, int], Document | FailedItem],
    most: int,
    wanted: Iterable[Wanted],
) -> Iterator[Document | FailedItem]:
    for position, identifier in wanted:
        if len(waiting) >= most:
            yield waiting.popleft().result()
        # A thread of its own would not know which partition a log line is about.
        context = copy_context()
        waiting.append(pool.submit(context.run, outcome_of, identifier, position))
    while waiting:
        yield waiting.popleft().result()


def _outcome_of(
    client: SourceClient, extract: Documents, identifier: str, position: int, earlier: Earlier
) -> Document | FailedItem:
    try:
        return _fetch(client, extract, identifier, position, earlier)
    except SourceError as error:
        if error.affects_all:
            raise
        message = f"{_ABSENT[error.status]}: {error}" if error.status in _ABSENT else str(error)
        item = failed_item(identifier, "extract", error, message, datetime.now(UTC), position)
        log.info("item_failed", identifier=identifier, failure_class=item.failure_class.value)
        return item


def _fetch(
    client: SourceClient, extract: Documents, identifier: str, position: int, earlier: Earlier
) -> Document:
    """Get a document in the first format that it is there and can be read in.

    When it is there, but can be read in none, the first one is given all the same: a mended parser may read it from
    landing.
    """
    unreadable: Document | None = None
    absent: SourceError | None = None
    for form in extract.formats:
        try:
            document = _ask(client, extract, form, identifier, position, earlier)
            read_object(form, document.body)
        except SourceError as error:
            if error.affects_all or not (error.status in _NOT_IN_THIS_FORMAT or error.status == 200):
                raise
            # What may pass by itself is the better reason: the document may be there, after all.
            if absent is None or (error.failure_class.retryable and not absent.failure_class.retryable):
                absent = error
        except UnreadableDocumentError:
            unreadable = unreadable or document
        else:
            return document
    if unreadable is not None:
        return unreadable
    assert absent is not None
    raise absent


def _ask(
    client: SourceClient,
    extract: Documents,
    form: DocumentFormat,
    identifier: str,
    position: int,
    earlier: Earlier,
) -> Document:
    """Get a document in one format, from landing where it has not changed."""
    path, parameters = extract.path_of(identifier, form), {**extract.parameters, **form.parameters}
    request = client.key_of(path, parameters)
    answer = ask(
        client,
        path,
        parameters,
        earlier.headers(request) if extract.conditional else {},
        partial(earlier.body, request),
        accept=form.accept,
        # Other parsers' word is not taken for it that another attempt would get a better answer.
        decode=parse_body if form.parse is None else _unparsed,
        maximum_bytes=extract.maximum_bytes,
    )
    kept = kept_headers(answer.headers, (), client.is_secret)
    return Document(identifier, form.name, answer.body, position, request, kept, answer.not_modified)


def read_object(form: DocumentFormat, body: bytes) -> dict[str, Any]:
    """Make an object of a document.

    Raises:
        UnreadableDocumentError: If it cannot be made of these bytes.
    """
    parse: Callable[[bytes], Any] = form.parse or parse_body
    try:
        parsed = parse(body)
    except EtlError as error:
        raise UnreadableDocumentError(f"the document is no {form.name}: {error.message}") from error
    except Exception as error:
        # A parser is the user's own, and any exception is its way of saying no.
        raise UnreadableDocumentError(
            f"the document cannot be read as {form.name}: {describe_unexpected(error)}"
        ) from error
    if not isinstance(parsed, dict):
        raise UnreadableDocumentError(f"the document in {form.name} is not an object")
    return parsed


def read_record(extract: Documents, identifier: str, form: str | None, body: bytes) -> dict[str, Any]:
    """Make a record of a landed document: its object, with the fields `_identifier` and `_format`.

    Raises:
        UnreadableDocumentError: If the document cannot be read.
    """
    declared = extract.format_named(form)
    if declared is None:
        raise UnreadableDocumentError(f"the document came as {form!r}, which the stream no longer declares")
    return {**read_object(declared, body), IDENTIFIER_FIELD: identifier, FORMAT_FIELD: declared.name}


def failed_item(
    identifier: str, stage: str, error: EtlError, message: str, at: datetime, position: int
) -> FailedItem:
    """Make the record of a failed document."""
    return FailedItem(
        identifier=identifier,
        stage=stage,
        failure_class=error.failure_class,
        error_type=type(error).__name__,
        message=" ".join(message.split()),
        attempted_at=at,
        position=position,
        traceback=describe_place(error),
    )


def _unparsed(body: bytes) -> None:
    """Take a body as it is."""
