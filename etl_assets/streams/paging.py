"""What a way of paging is: how a REST source hands out a long answer.

What belongs here: the protocol, and what its implementations share. What does not: the ways themselves (`paging_links`,
`paging_cursors`, `paging_counted`), and sending requests (`etl_assets.sources`), which also checks that a next address
stays on the source's own host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from etl_assets.failures import ConfigurationError, EtlError, FailureClass


class PagingError(EtlError):
    """An answer does not say whether there is a next page."""


class ShiftedPagesError(PagingError):
    """The source removed records while its pages were read, so that some may have slipped between two pages."""

    failure_class = FailureClass.TRANSIENT


@dataclass(frozen=True, slots=True)
class AnsweredPage:
    """What a way of paging may look at to find the next page.

    Attributes:
        body: The answer's decoded JSON.
        headers: The answer's headers, by lower-case name.
        parameters: The request parameters that it answers; empty when an address of its own was asked for.
        records: Records in it.
        total: `NextPage.total` of the page before.
    """

    body: Any
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    records: int
    total: int | None = None


@dataclass(frozen=True, slots=True)
class NextPage:
    """Where the next page is: further parameters for the same path, or an address of its own.

    Attributes:
        parameters: Parameters beside those of the first request.
        url: Address, absolute or relative.
        total: Records that the source said there are, for comparison on the next page.
    """

    parameters: Mapping[str, str] | None = None
    url: str | None = None
    total: int | None = None


class Paginator(Protocol):
    """A way of paging. Instances hold no state, so that one declaration serves many requests at once.

    Attributes:
        resumable: Whether reading may go on later where it stopped, because the place of a page does not shift when
            records come or go before it.
        headers: Lower-case names of the headers that it looks at; landed with an answer, so that the next page can be
            found behind one that has not changed.
    """

    resumable: ClassVar[bool]
    headers: ClassVar[tuple[str, ...]]

    @property
    def page_size(self) -> int:
        """Rows asked for at a time."""
        ...

    def first_parameters(self, size: int | None = None) -> Mapping[str, str]:
        """Give the parameters that the first request needs for paging, such as the page's size.

        Args:
            size: Rows to ask for, where that is not `page_size`.
        """
        ...

    def next_page(self, page: AnsweredPage) -> NextPage | None:
        """Read the next page's place from an answer; None after the last page.

        Raises:
            PagingError: If the answer does not say. Taking that for the last page would cut a day short without a word.
        """
        ...


def size_parameters(name: str | None, size: int) -> dict[str, str]:
    """Give the parameter that asks for a page's size, if there is one."""
    return {name: str(size)} if name else {}


def check_page_size(size: int) -> None:
    """Refuse a page size that no source can serve.

    Raises:
        ConfigurationError: If it is below 1.
    """
    if size < 1:
        raise ConfigurationError(f"page_size={size} must be at least 1")
