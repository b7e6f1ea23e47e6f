"""What every reader of a source has in common.

What belongs here: the page, and what a reader can do. What does not: any one kind of source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Protocol, Self, TypeVar

from etl_assets.streams.base import Extract

Wanted = TypeVar("Wanted")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of what a source gave for a partition, to be landed as it is.

    Attributes:
        body: The bytes.
        records: Records that end in it.
        label: Where it comes from, for people: without host and secrets.
    """

    body: bytes
    records: int
    label: str


class Reader(Protocol):
    """Reads one source; used from many threads at once, to be closed after use."""

    def pages(self, extract: Extract, day: date) -> Iterator[Page]:
        """Read what the source has for a day.

        Args:
            extract: How the stream's rows are asked for; of the kind that belongs to the source.
            day: The partition.

        Yields:
            The pages in order, a bounded part of the day in memory. `etl_assets.sources.decode` makes records of them.

        Raises:
            SourceError: If the day cannot be had; its class tells whether another try may help.
        """
        ...

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
