"""Declaring child tables and texts to be embedded: what makes no sense is refused at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.streams.base import Append, Children, Contract, Decimal2, Field, Merge
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.warehouse.papers import CHILDREN, MERGED, Authors


class Odd(Contract):
    """Columns that a child table cannot have."""

    position: int = Field()


class Keyed(Contract):
    """Columns that the record has already."""

    paper_id: str = Field()


class Unique(Contract):
    """A value that may occur once."""

    name: str = Field(unique=True)


class Emails(Contract):
    """Texts that are not in clear, and no texts."""

    paper_id: str = Field()
    email: str = Field(personal="mask", missing="allow")
    price: Decimal2 = Field()


class Contacts(Contract):
    """A list with personal data."""

    email: str = Field(personal="mask", missing="allow")


def children(**changes: Any) -> dict[str, Any]:
    """Declare one child table, changed."""
    return {"children": (replace(CHILDREN[0], **changes),)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (children(name="Authors"), "needs another name"),
        (children(name="history"), "needs another name"),
        ({"children": (CHILDREN[0], CHILDREN[0])}, "needs another name"),
        (children(contract=Odd), "'position' is a name that the table has already"),
        (children(contract=Keyed), "'paper_id' is a name that the table has already"),
        (children(contract=Unique), "'name' cannot be unique"),
        (
            {"schema_changes": "evolve", "children": (Children(name="emails", contract=Contacts),)},
            "personal data",
        ),
        ({"ignored_fields": ("authors",)}, "which the contract reads for the child table authors"),
        ({"write": Append()}, "child tables need records with a key"),
        ({"embed": ("nothing",)}, "embed names 'nothing'"),
        ({"embed": ("written_on",)}, "embed names 'written_on'"),
        (
            {"embed": ("title",), "write": Merge(key=("paper_id", "written_on"), version="changed_at")},
            "a key of one column",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        replace(MERGED, **changes)
    assert str(caught.value).startswith("shop/papers: ")


def test_a_declaration_that_makes_sense() -> None:
    stream = replace(MERGED, embed=("title",))
    assert [child.raw_field for child in stream.children] == ["authors", "cites"]
    assert Children(name="authors", contract=Authors, raw="people").raw_field == "people"


STREAM_FILE = """
from etl_assets.streams.base import DocumentFormat, Documents, Contract, Field, RestSource, Snapshot, Stream
from covered_parsers.first import read

class Rows(Contract):
    row_id: str = Field(raw="_identifier")

STREAM = Stream(
    source=RestSource(name="library"), name="rows", owner="team:x", contract=Rows, transform=lambda raw: raw,
    extract=Documents(path="/{identifier}", identifiers=("a",), formats=(DocumentFormat(name="x", parse=read),)),
    write=Snapshot(key="row_id"),
)
"""


def test_the_version_of_a_streams_code_covers_its_parsers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    parsers, folder = tmp_path / "covered_parsers", tmp_path / "covered" / "library"
    for place in (parsers, folder.parent, folder):
        place.mkdir()
        (place / "__init__.py").touch()
    (parsers / "first.py").write_text("def read(body):\n    return {}\n")
    (folder / "rows.py").write_text(STREAM_FILE)
    (tmp_path / "elsewhere.py").write_text("A = 1")
    versions = [discover_streams("covered").code_versions["library/rows"]]
    for changed in (tmp_path / "elsewhere.py", parsers / "second.py", parsers / "first.py"):
        with changed.open("a") as file:
            file.write("\nB = 1\n")
        versions.append(discover_streams("covered").code_versions["library/rows"])
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3
