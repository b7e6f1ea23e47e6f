"""Papers with authors and references: a stream with child tables, and its staged rows.

What belongs here: the stream and its rows. What does not: assertions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from etl_assets.streams.base import Audit, Children, Contract, Date, Field, Merge, Snapshot, Stream, Timestamp
from etl_assets.streams.children import CHILDREN_COLUMN
from etl_assets_tests.warehouse.samples import EXTRACT, FIRST_DAY, SOURCE, Row, at, select, unchanged

Lists = Mapping[str, Sequence[Mapping[str, Any]]]


class Papers(Contract):
    """Papers."""

    paper_id: str = Field()
    title: str = Field(missing="allow")
    written_on: Date = Field()
    changed_at: Timestamp = Field()


class Authors(Contract):
    """Authors of a paper."""

    name: str = Field()
    born: Date = Field(missing="allow")
    cited: int = Field(missing="allow")


class References(Contract):
    """Papers that a paper cites."""

    target: str = Field()


CHILDREN = (
    Children(name="authors", contract=Authors),
    Children(name="cites", contract=References),
)


def papers(write: Merge | Snapshot, children: tuple[Children, ...] = CHILDREN, *audits: Audit) -> Stream:
    """Declare the papers."""
    return Stream(
        source=SOURCE,
        name="papers",
        owner="team:library",
        extract=EXTRACT,
        contract=Papers,
        transform=unchanged,
        write=write,
        window_column="changed_at",
        business_date="written_on",
        children=children,
        audits=audits,
    )


MERGED = papers(Merge(key="paper_id", version="changed_at"))
MARKED = papers(Snapshot(key="paper_id", removed="mark", history=True, guard=1.0))
DELETED = papers(Snapshot(key="paper_id", removed="delete", guard=1.0))


def paper(paper_id: str, number: int = 0, lists: Lists | None = None, **changes: Any) -> Row:
    """Make a paper as of a day, with its lists."""
    row: Row = {
        "paper_id": paper_id,
        "title": "t",
        "written_on": FIRST_DAY,
        "changed_at": at(number),
        CHILDREN_COLUMN: json.dumps(lists) if lists else None,
    }
    return row | changes


def authors(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """Give the authors' table."""
    return select(
        connection, "SELECT paper_id, position, name, born, cited FROM shop.papers_authors ORDER BY 1, 2"
    )


def derived(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[Any, ...]]]:
    """Give what the child tables ought to hold, from the stream's own table alone, by plain Python."""
    expected: dict[str, list[tuple[Any, ...]]] = {"authors": [], "cites": []}
    rows = select(connection, f"SELECT paper_id, _partition, {CHILDREN_COLUMN} FROM shop.papers ORDER BY 1")
    for paper_id, partition, text in rows:
        lists = json.loads(text) if text else {}
        for place, author in enumerate(lists.get("authors", ()), start=1):
            expected["authors"].append((paper_id, place, author.get("name"), partition))
        for place, cited in enumerate(lists.get("cites", ()), start=1):
            expected["cites"].append((paper_id, place, cited["target"], partition))
    return expected


def found(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[Any, ...]]]:
    """Give what the child tables hold."""
    return {
        child: select(
            connection,
            f"SELECT paper_id, position, {column}, _partition FROM shop.papers_{child} ORDER BY 1, 2",
        )
        for child, column in (("authors", "name"), ("cites", "target"))
    }
