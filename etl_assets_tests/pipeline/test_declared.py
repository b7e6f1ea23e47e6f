"""What is remembered of declarations holds exactly as long as the files that it came from."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import pytest

import etl_assets.streams
from etl_assets.pipeline.declared import DeclaredStream, recall, remember
from etl_assets.streams.base import Stream
from etl_assets.streams.discovery import discover_streams
from etl_assets.streams.selection import selected_ids

KNOWN = [
    DeclaredStream("shop/orders", "team:sales", None),
    DeclaredStream("eidc/datasets", "team:research", timedelta(days=1)),
]
DAY = date(2024, 2, 28)


@pytest.fixture
def streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of streams in place of the project's own, and a module beside it that one of them imports."""
    folder = tmp_path / "streams"
    (folder / "till" / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "till/__init__.py", "till/receipts.py", "till/identifiers.txt"):
        (folder / name).write_text(name)
    beside = ModuleType("till_tariffs")
    beside.__file__ = str(tmp_path / "till_tariffs.py")
    Path(beside.__file__).write_text("RATE = 1")
    monkeypatch.setitem(sys.modules, "till_tariffs", beside)
    monkeypatch.setattr(etl_assets.streams, "__path__", [str(folder)])
    return folder


@pytest.fixture
def kept(streams: Path, tmp_path: Path) -> Path:
    """What was remembered when all files had been there for a while."""
    path = tmp_path / "state" / "declared.json"
    remember(path, KNOWN, time.time_ns() + 10_000_000_000)
    return path


def rewrite(streams: Path) -> None:
    """Change a stream's file to another text of the same length."""
    (streams / "till" / "receipts.py").write_text("till/receipts.PY")


def replace(streams: Path) -> None:
    """Put another file in the place of a stream's, with its times."""
    file = streams / "till" / "receipts.py"
    before = file.stat()
    draft = streams.parent / "draft"
    draft.write_text("till/receipts.PY")
    os.utime(draft, ns=(before.st_atime_ns, before.st_mtime_ns))
    draft.replace(file)


def add(streams: Path) -> None:
    """Add a stream."""
    (streams / "till" / "refunds.py").touch()


def remove(streams: Path) -> None:
    """Take a stream away."""
    (streams / "till" / "receipts.py").unlink()


def rename(streams: Path) -> None:
    """Give a source's folder another name."""
    (streams / "till").rename(streams / "tills")


def change_list(streams: Path) -> None:
    """Change a file that a stream reads."""
    (streams / "till" / "identifiers.txt").write_text("another")


def change_beside(streams: Path) -> None:
    """Change what a stream imports from elsewhere."""
    (streams.parent / "till_tariffs.py").write_text("RATE = 2")


def remove_beside(streams: Path) -> None:
    """Take away what a stream imports from elsewhere."""
    (streams.parent / "till_tariffs.py").unlink()


CHANGES: list[Callable[[Path], None]] = [
    rewrite,
    replace,
    add,
    remove,
    rename,
    change_list,
    change_beside,
    remove_beside,
]


def test_what_is_remembered_comes_back(kept: Path) -> None:
    assert recall(kept) == KNOWN


def test_compiled_files_change_nothing(kept: Path, streams: Path) -> None:
    (streams / "till" / "__pycache__" / "receipts.cpython-311.pyc").touch()
    assert recall(kept) == KNOWN


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_any_change_ends_it(kept: Path, streams: Path, change: Callable[[Path], None]) -> None:
    change(streams)
    assert recall(kept) is None


def test_another_python_ends_it(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version", "3.99.0")
    assert recall(kept) is None


def test_files_that_may_still_be_changing_are_not_remembered(streams: Path, tmp_path: Path) -> None:
    remember(tmp_path / "declared.json", KNOWN, time.time_ns())
    assert not (tmp_path / "declared.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"digest": 1, "loaded": 2, "streams": 3}'])
def test_a_damaged_file_counts_as_none(kept: Path, text: str) -> None:
    kept.write_text(text)
    assert recall(kept) is None


def test_a_folder_that_cannot_be_written_is_no_failure(streams: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    remember(tmp_path / "state" / "declared.json", KNOWN, time.time_ns() + 10_000_000_000)
    assert recall(tmp_path / "state" / "declared.json") is None


@pytest.mark.parametrize("stream", discover_streams().values(), ids=lambda stream: stream.id)
def test_a_declaration_is_taken_down_as_it_is(stream: Stream) -> None:
    known = DeclaredStream.of(stream)
    assert (known.id, known.owner) == (stream.id, stream.owner)
    assert [known.askable(DAY + timedelta(days=n)) for n in range(3)] == [
        stream.askable(DAY + timedelta(days=n)) for n in range(3)
    ]


def test_streams_of_both_kinds_are_among_them() -> None:
    kinds = {DeclaredStream.of(stream).present_until is None for stream in discover_streams().values()}
    assert kinds == {True, False}


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([], ["shop/orders", "shop/lines", "erp/stock"]),
        (["erp/stock", "shop/orders"], ["shop/orders", "erp/stock"]),
        (["shop"], ["shop/orders", "shop/lines"]),
        (["warehouse/shop/lines", "erp/*", " erp "], ["shop/lines", "erp/stock"]),
    ],
)
def test_ids_are_picked_as_they_are_typed(names: list[str], chosen: list[str]) -> None:
    assert selected_ids(["shop/orders", "shop/lines", "erp/stock"], names) == chosen
