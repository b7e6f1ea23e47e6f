"""Paging by addresses: the source says where the next page is.

What belongs here: reading that address from an answer. What does not: checking that it stays on the source's own host
(`etl_assets.sources.client`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from etl_assets.streams.fields import field_at
from etl_assets.streams.paging import AnsweredPage, NextPage, PagingError, check_page_size, size_parameters

_VALUE = r'"(?:[^"\\]|\\.)*"|[^\s;,"]*'
_PARAMETER = rf"\s*;\s*([^\s=;,\"]*)\s*(?:=\s*({_VALUE}))?"
_LINK = re.compile(rf"[\s,]*<([^>]*)>((?:{_PARAMETER})*)\s*(?=,|$)")
_PARAMETERS = re.compile(_PARAMETER)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkHeader:
    """A `Link: <...>; rel="next"` header, as in RFC 8288.

    Args:
        size_parameter: Request parameter for the page's size.
        page_size: Rows asked for at a time.
    """

    size_parameter: str | None = "per_page"
    page_size: int = 100
    resumable: ClassVar[bool] = False
    headers: ClassVar[tuple[str, ...]] = ("link",)

    def __post_init__(self) -> None:
        check_page_size(self.page_size)

    def first_parameters(self, size: int | None = None) -> Mapping[str, str]:
        """See `Paginator`."""
        return size_parameters(self.size_parameter, size or self.page_size)

    def next_page(self, page: AnsweredPage) -> NextPage | None:
        """See `Paginator`."""
        for address, relations in _links(page.headers.get("link", "")):
            if "next" in relations:
                return NextPage(url=address)
        return None


def _links(header: str) -> Iterator[tuple[str, list[str]]]:
    """Read a Link header: addresses with their relations. A quoted parameter may hold commas and semicolons."""
    place = 0
    while header[place:].strip(" ,\t"):
        link = _LINK.match(header, place)
        if link is None:
            raise PagingError(
                "the answer's Link header cannot be read, so that a next page cannot be told from the last"
            )
        place = link.end()
        # Of several `rel` of one link only the first counts.
        relations = [value for name, value in _PARAMETERS.findall(link[2]) if name.lower() == "rel"][:1]
        yield link[1], " ".join(relations).strip('"').lower().split()


@dataclass(frozen=True, slots=True, kw_only=True)
class NextUrl:
    """The next page's address in the body.

    Args:
        field: Dotted path of the field that holds it, such as `links.next`; null or empty on the last page.
        may_be_missing: Whether the last page is the one that lacks the field, as in OData. A page that lacks it for
            any other reason then ends the day as well, so leave it off where the source sends null.
        size_parameter: Request parameter for the page's size.
        page_size: Rows asked for at a time.
    """

    field: str = "next"
    may_be_missing: bool = False
    size_parameter: str | None = "limit"
    page_size: int = 1000
    resumable: ClassVar[bool] = False
    headers: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_page_size(self.page_size)

    def first_parameters(self, size: int | None = None) -> Mapping[str, str]:
        """See `Paginator`."""
        return size_parameters(self.size_parameter, size or self.page_size)

    def next_page(self, page: AnsweredPage) -> NextPage | None:
        """See `Paginator`."""
        try:
            address = field_at(page.body, self.field)
        except LookupError:
            if self.may_be_missing:
                return None
            raise PagingError(
                f"the answer has no field {self.field!r}, so that a next page cannot be told from the last"
            ) from None
        if address in (None, ""):
            return None
        if not isinstance(address, str):
            raise PagingError(f"the answer's field {self.field!r} should be an address or null")
        return NextPage(url=address)
