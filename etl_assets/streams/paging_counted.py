"""Paging by counting: page numbers and offsets.

A record that the source removes while pages are read moves all later ones forward, and one of them slips between two
pages. Where the source tells a total, a total that shrinks gives this away, and the day is read again; where it does
not, nobody can know, so prefer another way of paging if the source offers one.

What belongs here: ways of paging whose places shift. What does not: cursors (`paging_cursors`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from etl_assets.streams.fields import field_at
from etl_assets.streams.paging import (
    AnsweredPage,
    NextPage,
    PagingError,
    ShiftedPagesError,
    check_page_size,
    size_parameters,
)

LastPage = Literal["empty", "short"]
"""Which page is the last where the source tells no total: an empty one, or one with fewer records than asked for.

`empty` costs one more request and is always right. `short` cuts days short without a word as soon as the source serves
smaller pages than it is asked for, so it is only for sources that are known not to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageNumber:
    """A page number as a parameter.

    Args:
        parameter: Request parameter that takes the number.
        first: Number of the first page.
        size_parameter: Request parameter for the page's size.
        page_size: Rows asked for at a time.
        total_pages: Dotted path of the field that holds the number of pages, where the source tells it.
        last: Which page is the last where it does not.
    """

    parameter: str = "page"
    first: int = 1
    size_parameter: str | None = "per_page"
    page_size: int = 100
    total_pages: str | None = None
    last: LastPage = "empty"
    resumable: ClassVar[bool] = False
    headers: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_page_size(self.page_size)

    def first_parameters(self, size: int | None = None) -> Mapping[str, str]:
        """See `Paginator`."""
        return {
            self.parameter: str(self.first),
            **size_parameters(self.size_parameter, size or self.page_size),
        }

    def next_page(self, page: AnsweredPage) -> NextPage | None:
        """See `Paginator`."""
        number = int(page.parameters[self.parameter])
        following = {self.parameter: str(number + 1)}
        if self.total_pages is None:
            return None if _is_last(page.records, self.page_size, self.last) else NextPage(following)
        pages = _total(page, self.total_pages)
        if number - self.first + 1 >= pages:
            return None
        return NextPage(following, total=pages)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetLimit:
    """The number of records to skip, as a parameter. It goes on by the records that came, however many were asked for.

    Args:
        offset_parameter: Request parameter that takes the number of records to skip.
        limit_parameter: Request parameter for the page's size.
        page_size: Rows asked for at a time.
        total: Dotted path of the field that holds the number of records, where the source tells it.
        last: Which page is the last where it does not.
    """

    offset_parameter: str = "offset"
    limit_parameter: str = "limit"
    page_size: int = 1000
    total: str | None = None
    last: LastPage = "empty"
    resumable: ClassVar[bool] = False
    headers: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_page_size(self.page_size)

    def first_parameters(self, size: int | None = None) -> Mapping[str, str]:
        """See `Paginator`."""
        return {self.offset_parameter: "0", self.limit_parameter: str(size or self.page_size)}

    def next_page(self, page: AnsweredPage) -> NextPage | None:
        """See `Paginator`."""
        offset = int(page.parameters[self.offset_parameter]) + page.records
        following = {self.offset_parameter: str(offset)}
        if self.total is None:
            return None if _is_last(page.records, self.page_size, self.last) else NextPage(following)
        total = _total(page, self.total)
        if offset >= total:
            return None
        if not page.records:
            raise ShiftedPagesError(
                f"there are no records after {offset:,}, though there should be {total:,}"
            )
        return NextPage(following, total=total)


def _is_last(records: int, page_size: int, last: LastPage) -> bool:
    return records == 0 or (last == "short" and records < page_size)


def _total(page: AnsweredPage, path: str) -> int:
    total = _whole_number(page.body, path)
    if page.total is not None and total < page.total:
        raise ShiftedPagesError(
            f"{path} went from {page.total:,} to {total:,} between two pages, so that records may have been missed"
        )
    return total


def _whole_number(body: Any, path: str) -> int:
    try:
        value = field_at(body, path)
    except LookupError:
        raise PagingError(
            f"the answer has no field {path!r}, so that a next page cannot be told from the last"
        ) from None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PagingError(f"the answer's field {path!r} should be a whole number")
    return value
