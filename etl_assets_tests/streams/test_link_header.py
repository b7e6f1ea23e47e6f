"""The Link header: a next page is found however it is written, and nothing else is taken for one."""

from __future__ import annotations

from contextlib import suppress

import pytest

from etl_assets.streams.base import LinkHeader
from etl_assets.streams.paging import AnsweredPage, PagingError


def following(header: str | None) -> str | None:
    """Give the address of the next page."""
    headers = {} if header is None else {"link": header}
    found = LinkHeader().next_page(AnsweredPage(body=[], headers=headers, parameters={}, records=1))
    return found.url if found else None


@pytest.mark.parametrize(
    "header",
    [
        '</next>; rel="next"',
        "</next>; rel=next",
        '</next>;rel="next"',
        '</next> ; REL = "Next"',
        '</next>; rel="last next"',
        '</next>; rel="next prev"; title="x"',
        '</next>; title="a, b; rel=\\"prev\\""; rel="next"',
        '</next>; title="a, b"; rel="next", </last>; rel="last"',
        '</first>; rel="first", </next>; rel="next"',
        '</a,b;c>; rel="prev",</next>; rel="next"',
        ", ,</next>; rel=next,",
        '</next>; rel="next"; rel="prev"',
        "</next>; crossorigin; rel=next",
        '\t</next>;\t rel="next" ',
    ],
)
def test_next_page_is_found(header: str) -> None:
    assert following(header) == "/next"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        " , ",
        "</a>",
        '</a>; rel="prev"',
        '</a>; rel="nextish"',
        '</a>; rel="next-archive"',
        '</a>; rel="https://example.com/rels/next"',
        '</a>; title="rel=next"',
        '</a>; title="; rel=next"',
        '</a>; title="</b>; rel=next"',
        '</a;rel=next>; rel="prev"',
        '</a>; rev="next"',
        '</a>; xrel="next"',
        '</a>; rel="prev"; rel="next"',
        '</a>; rel=""',
    ],
)
def test_nothing_else_is_a_next_page(header: str | None) -> None:
    assert following(header) is None


@pytest.mark.parametrize(
    "header",
    [
        '</next>; rel="next',
        '</next; rel="next"',
        'next; rel="next"',
        '</a> rel="next"',
        '</a>; rel="prev" </next>; rel="next"',
        "garbage",
    ],
)
def test_header_that_cannot_be_read_is_not_the_last_page(header: str) -> None:
    with pytest.raises(PagingError, match="Link header cannot be read"):
        following(header)


@pytest.mark.parametrize(
    "header",
    [
        '</a>; rel="' + "x " * 50_000 + '"',
        "</a>" + "; x" * 50_000,
        "</a>" + ";" * 50_000 + "<",
        "<" * 50_000,
        "</a>;" + " " * 50_000 + "x",
        '</a>; t="' + "\\" * 50_001,
        "</a>, " * 20_000,
        "," * 50_000 + "x",
    ],
)
def test_hostile_header_is_read_in_one_go(header: str) -> None:
    # A pattern that backtracks would not come back from these within hours.
    with suppress(PagingError):
        assert following(header) is None
