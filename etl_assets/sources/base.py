"""What every reader of a source has in common.

What belongs here: the page, what a reader is told of earlier extractions, and what it can do. What does not: any one
kind of source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import TracebackType
from typing import Protocol, Self, TypeVar

from etl_assets.sources.comparison import Comparison, Held
from etl_assets.streams.base import Extract

Wanted = TypeVar("Wanted")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of what a source gave for a partition, to be landed as it is.

    Attributes:
        body: The bytes.
        records: Records that end in it.
        label: Where it comes from, for people: without host and secrets.
        request: Name of the request that it answers, without secrets: equal for equal requests. Empty where nothing is
            asked for by request.
        headers: Headers of the answer that are needed to ask for it again only if it has changed.
        resume: Where the next page is, for an extraction that goes on another time; None after the last page, and where
            reading can only start from the beginning.
        unchanged: Whether the source says that the landed answer to the request is still right; the body is that one.
    """

    body: bytes
    records: int
    label: str
    request: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    resume: str | None = None
    unchanged: bool = False


class Earlier(Protocol):
    """What is known of a partition from earlier extractions."""

    @property
    def resume(self) -> str | None:
        """`Page.resume` of the last page of an extraction that was cut short; None to read from the beginning."""
        ...

    @property
    def requests(self) -> Collection[str]:
        """`Page.request` of the pages that this extraction has already."""
        ...

    def records_of_last(self, request: str) -> int | None:
        """Give `Page.records` of the landed answer to a request if, by the same declaration, none followed it."""
        ...

    def headers(self, request: str) -> Mapping[str, str]:
        """Give `Page.headers` of the landed answer to a request; empty where there is none."""
        ...

    def body(self, request: str) -> bytes | None:
        """Read the landed answer to a request; None where it is damaged."""
        ...


class FirstTime(Earlier):
    """A partition that nothing is known of."""

    resume = None
    requests = ()

    def records_of_last(self, request: str) -> int | None:
        """See `Earlier`."""
        return None

    def headers(self, request: str) -> Mapping[str, str]:
        """See `Earlier`."""
        return {}

    def body(self, request: str) -> bytes | None:
        """See `Earlier`."""
        return None


FIRST_TIME = FirstTime()


class Reader(Protocol):
    """Reads one source; used from many threads at once, to be closed after use."""

    @property
    def address(self) -> str:
        """Where the source is, without secrets."""
        ...

    def pages(self, extract: Extract, day: date, earlier: Earlier = FIRST_TIME) -> Iterator[Page]:
        """Read what the source has for a day.

        Args:
            extract: How the stream's rows are asked for; of the kind that belongs to the source.
            day: The partition.
            earlier: What is known of it: a reader may take unchanged answers from there, and goes on where an
                extraction was cut short.

        Yields:
            The pages in order, a bounded part of the day in memory. `etl_assets.sources.decode` makes records of them.

        Raises:
            SourceError: If the day cannot be had; its class tells whether another try may help.
        """
        ...

    def compare(self, extract: Extract, day: date, held: Held) -> Comparison:
        """Ask whether the source still has what was loaded of a day, without reading the day.

        Args:
            extract: How the stream's rows are asked for.
            day: The partition.
            held: What is here of it.

        Raises:
            SourceError: If it cannot be asked; its class tells whether another try may help.
        """
        return Comparison.unknown("the source tells nothing of a day but its records", whole_stream=True)

    def close(self) -> None:
        """Let go of all connections."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def expect(extract: Extract, wanted: type[Wanted]) -> Wanted:
    """Give an extraction as the kind that a reader understands; a stream's own checks see to that."""
    if not isinstance(extract, wanted):
        raise TypeError(f"a {type(extract).__name__} extraction cannot be read here")
    return extract
