"""Paging by places in the source's own order: an opaque cursor, or the last sequence number seen.

What belongs here: ways of paging whose places stay put when records come or go. What does not: page numbers and
offsets (`paging_counted`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from etl_assets.streams.fields import field_at
from etl_assets.streams.paging import AnsweredPage, NextPage, PagingError, check_page_size, size_parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """An opaque cursor in the body, sent back as a parameter.

    Args:
        parameter: Request parameter that takes the cursor.
        field: Dotted path of the field that holds the next cursor; null on the last page.
        size_parameter: Request parameter for the page's size.
        page_size: Rows asked for at a time.
    """

    parameter: str = "cursor"
    field: str = "next_cursor"
    size_parameter: str | None = "limit"
    page_size: int = 1000
    resumable: ClassVar[bool] = True
    headers: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_page_size(self.page_size)

    def first_parameters(self, size: int | None = None) -> Mapping[str, str]:
        """See `Paginator`."""
        return size_parameters(self.size_parameter, size or self.page_size)

    def next_page(self, page: AnsweredPage) -> NextPage | None:
        """See `Paginator`."""
        cursor = _field(page.body, self.field)
        return None if cursor in (None, "") else NextPage(parameters={self.parameter: str(cursor)})


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterSequence:
    """The last sequence number seen, sent back as a parameter, as change feeds have it.

    Args:
        parameter: Request parameter that takes the number after which to go on.
        field: Dotted path of the field that holds the page's last number.
        more: Dotted path of the field that says whether there are more: true or false.
        size_parameter: Request parameter for the page's size.
        page_size: Rows asked for at a time.
    """

    parameter: str = "after_lsn"
    field: str = "last_lsn"
    more: str = "has_more"
    size_parameter: str | None = "limit"
    page_size: int = 1000
    resumable: ClassVar[bool] = True
    headers: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_page_size(self.page_size)

    def first_parameters(self, size: int | None = None) -> Mapping[str, str]:
        """See `Paginator`."""
        return size_parameters(self.size_parameter, size or self.page_size)

    def next_page(self, page: AnsweredPage) -> NextPage | None:
        """See `Paginator`."""
        more = _field(page.body, self.more)
        if not isinstance(more, bool):
            raise PagingError(f"the answer's field {self.more!r} should be true or false")
        if not more:
            return None
        last = _field(page.body, self.field)
        if not isinstance(last, int) or isinstance(last, bool):
            raise PagingError(f"the answer's field {self.field!r} should be a whole number")
        before = page.parameters.get(self.parameter)
        if before is not None and last <= int(before):
            raise PagingError(f"the answer's field {self.field!r} does not go forward: {last} after {before}")
        return NextPage(parameters={self.parameter: str(last)})


def _field(body: Any, path: str) -> Any:
    try:
        return field_at(body, path)
    except LookupError:
        raise PagingError(
            f"the answer has no field {path!r}, so that a next page cannot be told from the last"
        ) from None
