"""Declaring documents: what makes sense is taken, what does not is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.failures import ConfigurationError
from etl_assets.streams.base import (
    Append,
    Cdc,
    DocumentFormat,
    Documents,
    FileSource,
    Merge,
    ReplacePartition,
    Snapshot,
    Window,
    listed_in,
)
from etl_assets.streams.write import WriteDisposition
from etl_assets_tests.sources.library import papers

JSON = DocumentFormat(name="json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": "papers/{identifier}"}, "must start with one slash"),
        ({"path": "//host/{identifier}"}, "must start with one slash"),
        ({"path": "/papers?id={identifier}"}, "hold no parameters"),
        ({"path": "/papers#{identifier}"}, "hold no parameters"),
        ({"path": "/papers"}, "must hold {identifier} once"),
        ({"path": "/{identifier}/{identifier}"}, "must hold {identifier} once"),
        ({"path": "/{day}/{identifier}"}, "must hold {identifier} once"),
        ({"formats": ()}, "need formats"),
        ({"formats": (JSON, JSON)}, "different names"),
        ({"formats": (DocumentFormat(name="xml", path="/xml"),)}, "must hold {identifier} once"),
        ({"concurrency": 0}, "concurrency and maximum_bytes must be at least 1"),
        ({"maximum_bytes": 0}, "concurrency and maximum_bytes must be at least 1"),
        ({"present_until": timedelta(hours=-1)}, "present_until must not be negative"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Documents(**({"path": "/papers/{identifier}", "identifiers": ("a",)} | changes))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "write", [Append(), ReplacePartition(), Cdc(key="paper_id", sequence="pages", operation="title")]
)
def test_the_present_is_merged_or_compared(write: WriteDisposition) -> None:
    with pytest.raises(
        ConfigurationError, match=r"library/papers: documents show the present.*Merge or Snap"
    ):
        replace(papers(), write=write)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"write": Snapshot(key=("paper_id", "title"))}, "must be one column that holds `_identifier`"),
        ({"window_column": "changed"}, "leave window_column out"),
        (
            {"write": Merge(key="paper_id", version="changed"), "business_date": None},
            "business_date is missing",
        ),
        ({"source": FileSource(name="library")}, "is read with Files, not with Documents"),
    ],
)
def test_parts_must_fit_together(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        replace(papers(), **changes)
    assert words in str(caught.value)


def test_a_list_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    assert listed_in("papers.txt").path == Path(__file__).with_name("papers.txt")
    assert listed_in(tmp_path / "papers.txt").path == tmp_path / "papers.txt"


def test_a_day_may_be_asked_for_until_a_day_after_it() -> None:
    documents = Documents(path="/{identifier}", identifiers=())
    assert documents.askable(date(2025, 1, 1)) == Window(
        datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 3, tzinfo=UTC)
    )


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_an_identifier_stays_within_its_segment(identifier: str) -> None:
    form = DocumentFormat(name="xml", path="/x/{identifier}/full")
    path = Documents(path="/papers/{identifier}", identifiers=(), formats=(form,)).path_of(identifier, form)
    assert path.isascii()
    assert path.count("/") == 3
    assert not set(path) & set("?#\\;@: ")
    assert unquote(path.removeprefix("/x/").removesuffix("/full")) == identifier
