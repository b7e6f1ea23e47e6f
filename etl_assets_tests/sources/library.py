"""A library that gives papers by identifier, each as it is told, and streams that read it.

What belongs here: the library, its papers and how they are declared. What does not: assertions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pandas as pd

from etl_assets.streams import parse
from etl_assets.streams.base import (
    Breaker,
    Contract,
    Date,
    Documents,
    ErrorBudget,
    Field,
    Merge,
    RestSource,
    RetryBudget,
    Snapshot,
    Stream,
    Timestamp,
)
from etl_assets_tests.sources.scripted import Asked, Reply, ScriptedServer, scripted_server

PATH = "/papers/{identifier}"
NAMES = ("a", "b", "c", "d", "e")
NOT_FOUND, GONE, DOWN, BUSY = (Reply(status=status) for status in (404, 410, 503, 429))
HTML = Reply(b"<html>maintenance</html>", headers={"Content-Type": "text/html"})
ARRAY = Reply(b'["no", "object"]')


def paper(name: str, **changes: Any) -> dict[str, Any]:
    """Make a paper."""
    fields = {
        "title": f"On {name}",
        "pages": 7,
        "published": "2024-05-06T07:08:09Z",
        "changed": "2025-01-02T03:04:05Z",
    }
    return fields | changes


def good(name: str, **changes: Any) -> Reply:
    """Answer with a paper."""
    return Reply(json.dumps(paper(name, **changes)).encode())


class Library:
    """Answers with the paper that is asked for, unless told otherwise."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.server: ScriptedServer

    def __call__(self, asked: Asked, number: int) -> Reply:
        """See `Script`."""
        name = unquote(asked.path.rpartition("/")[2])
        return self.replies.get(name) or good(name)

    @property
    def asked(self) -> list[str]:
        """Identifiers in the order of the requests."""
        return [unquote(asked.path.rpartition("/")[2]) for asked in self.server.asked]

    def forget(self) -> None:
        """Begin to count requests anew."""
        self.server.asked.clear()

    def tell(self, replies: Mapping[str, Reply]) -> None:
        """Let some papers be answered otherwise, and all others well; begin to count requests anew."""
        self.replies = dict(replies)
        self.forget()


@contextmanager
def running_library() -> Iterator[Library]:
    """Run a library for the time of a ``with`` block."""
    library = Library()
    with scripted_server(library) as server:
        library.server = server
        yield library


class Papers(Contract):
    """Papers as they are."""

    paper_id: str = Field(description="The library's own identifier")
    title: str = Field(description="Title")
    pages: int = Field(ge=1, description="Pages")
    published: Date = Field(description="Day of publication")
    changed: Timestamp = Field(description="Last change, UTC")


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields."""
    return pd.DataFrame(
        {
            "paper_id": parse.text(raw["_identifier"]),
            "title": parse.text(raw["title"]),
            "pages": parse.integers(raw["pages"]),
            "published": parse.days_of(parse.timestamps(raw["published"])),
            "changed": parse.timestamps(raw["changed"]),
        }
    )


def papers(
    identifiers: Sequence[str] = NAMES,
    *,
    write: Merge | Snapshot | None = None,
    budget: ErrorBudget | None = None,
    **documents: Any,
) -> Stream:
    """Declare the papers as a stream that tolerates many failed items and hardly waits."""
    return Stream(
        source=RestSource(
            name="library",
            retry=RetryBudget(attempts=2, first_delay=0.001, maximum_delay=0.01, total=20.0),
            # Some papers are down in a test, not the library: however they follow each other.
            breaker=Breaker(failures=100),
            timeout=10.0,
        ),
        name="papers",
        owner="team:library",
        extract=Documents(
            path=PATH, identifiers=tuple(identifiers), present_until=timedelta(days=7), **documents
        ),
        contract=Papers,
        transform=clean,
        write=write or Merge(key="paper_id", version="changed"),
        business_date="published",
        budget=budget or ErrorBudget(warn=0.5, fail=0.5),
    )
