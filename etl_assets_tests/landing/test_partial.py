"""An extraction that was cut short: kept, taken up whole or not at all, and never mistaken for a landed version."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etl_assets.failures import StorageFullError
from etl_assets.landing.partial import TAKEN_UP_WITHIN, take_up
from etl_assets.landing.store import LandedPartition, Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets.streams.base import Window
from etl_assets_tests.landing.test_files import run_python

STREAM = "shop/order_lines"
DAY = date(2025, 1, 1)
WINDOW = Window.of_day(DAY)
BODIES = [b'[{"line_id": "%d"}]' % number * 3 for number in range(6)]
BEGUN = datetime(2025, 1, 2, 2, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that is set by hand."""

    time: datetime = field(default=BEGUN)

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.time


class PowerCutError(Exception):
    """What ends an extraction in these tests."""


def begin(landing: Landing, request: str | None = "q") -> LandingWriter:
    """Begin to write, or go on."""
    return LandingWriter(landing, STREAM, DAY, run_id="run", window=WINDOW, request=request)


def add(writer: LandingWriter, number: int) -> None:
    """Add a page; each but the last says where the next one is."""
    resume = f"after {number}" if number + 1 < len(BODIES) else None
    writer.add(BODIES[number], 1, request=f"r{number}", headers={"etag": str(number)}, resume=resume)


def cut_short(landing: Landing, pages: int, request: str | None = "q") -> LandingWriter:
    """Write until there are so many pages, and stop there."""
    with suppress(PowerCutError), begin(landing, request) as writer:
        for number in range(len(writer.pages), pages):
            add(writer, number)
        raise PowerCutError
    return writer


def complete(landing: Landing, request: str | None = "q") -> tuple[LandedPartition, int]:
    """Go on to the end; gives the number of pages that were there already as well."""
    with begin(landing, request) as writer:
        there = len(writer.pages)
        for number in range(there, len(BODIES)):
            add(writer, number)
        return writer.finish(), there


def names(landing: Landing) -> list[str]:
    """Names in the partition's folder."""
    path = landing.partition_path(STREAM, DAY)
    return sorted(os.listdir(path)) if path.exists() else []


def check_whole(landing: Landing, landed: LandedPartition) -> None:
    """What was landed is what an undisturbed extraction lands, and nothing else is there."""
    assert landing.latest(STREAM, DAY) == landed
    assert list(landed.pages()) == BODIES
    assert landed.sha256 == hashlib.sha256(b"".join(BODIES)).hexdigest()
    assert [page.request for page in landed.manifest.pages] == [f"r{number}" for number in range(len(BODIES))]
    assert [page.headers["etag"] for page in landed.manifest.pages] == list("012345")
    assert names(landing) == [landed.version]
    assert sorted(os.listdir(landed.path)) == ["manifest.json", "pages.zst"]


@pytest.mark.parametrize("pages", range(1, len(BODIES)))
def test_it_goes_on_where_it_stopped(tmp_path: Path, pages: int) -> None:
    clock = Clock()
    landing = Landing(tmp_path, now=clock)
    cut_short(landing, pages)
    assert names(landing) == [".partial"]
    assert landing.latest(STREAM, DAY) is None, "half a day is no landed day"
    clock.time += timedelta(hours=3)
    with begin(landing) as writer:
        assert writer.resume == f"after {pages - 1}"
    landed, there = complete(landing)
    assert there == pages
    assert (landed.requested_at, landed.manifest.finished_at) == (BEGUN, clock.time)
    check_whole(landing, landed)


def test_it_may_be_cut_short_again_and_again(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    for pages in (1, 1, 2, 2, 4, 5):
        cut_short(landing, pages)
    landed, there = complete(landing)
    assert there == 5
    check_whole(landing, landed)


def test_the_last_page_is_asked_for_again_when_the_end_was_not_reached(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    cut_short(landing, len(BODIES))
    landed, there = complete(landing)
    assert there == len(BODIES) - 1
    check_whole(landing, landed)


def test_a_day_of_one_page_leaves_nothing_and_writes_nothing_more(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    with begin(landing) as writer:
        writer.add(b"[]", 0, resume=None)
        (folder,) = names(landing)
        assert folder.startswith(".tmp-")
        assert os.listdir(landing.partition_path(STREAM, DAY) / folder) == ["pages.zst"]
    assert names(landing) == []


@pytest.mark.parametrize(
    ("request_name", "later"),
    [("other", timedelta(0)), (None, timedelta(0)), ("q", TAKEN_UP_WITHIN), ("q", timedelta(seconds=-1))],
    ids=["another request", "no request", "too old", "clock set back"],
)
def test_what_cannot_be_gone_on_with_is_discarded(
    tmp_path: Path, request_name: str | None, later: timedelta
) -> None:
    clock = Clock()
    landing = Landing(tmp_path, now=clock)
    cut_short(landing, 3)
    clock.time += later
    with begin(landing, request_name) as writer:
        assert (writer.resume, writer.pages) == (None, ())
        assert ".partial" not in names(landing)
    landed, there = complete(landing, request_name)
    assert there == 0
    check_whole(landing, landed)


def test_younger_than_a_day_is_taken_up(tmp_path: Path) -> None:
    clock = Clock()
    landing = Landing(tmp_path, now=clock)
    cut_short(landing, 3)
    clock.time += TAKEN_UP_WITHIN - timedelta(seconds=1)
    assert complete(landing)[1] == 3


def test_without_a_request_nothing_is_kept(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    cut_short(landing, 3, request=None)
    assert names(landing) == []


def test_starting_again_forgets_all(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    cut_short(landing, 3)
    with begin(landing) as writer:
        writer.start_again()
        assert (writer.resume, writer.pages, [name[:5] for name in names(landing)]) == (None, (), [".tmp-"])
        for number in range(len(BODIES)):
            add(writer, number)
        landed = writer.finish()
    check_whole(landing, landed)


def test_equal_answers_take_no_space_after_a_cut_either(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    first, _ = complete(landing)
    cut_short(landing, 2)
    assert landing.latest(STREAM, DAY) == first
    again, there = complete(landing)
    assert (again, there) == (first, 2)
    check_whole(landing, first)


def tail_lengths(file: Path, lines: int) -> range:
    """Give every length of a file that is torn within its last lines."""
    content = file.read_bytes()
    return range(
        len(content) - sum(len(line) for line in content.splitlines(True)[-lines:]), len(content) + 1
    )


def test_a_journal_that_is_torn_anywhere_loses_no_whole_line(tmp_path: Path) -> None:
    original = Landing(tmp_path / "original")
    cut_short(original, 4)
    folder = original.partition_path(STREAM, DAY) / ".partial"
    content = (folder / "journal").read_bytes()
    for length in (*range(0, 20), *tail_lengths(folder / "journal", 3)):
        landing = Landing(tmp_path / str(length))
        torn = landing.partition_path(STREAM, DAY) / ".partial"
        shutil.copytree(folder, torn)
        os.truncate(torn / "journal", length)
        whole = max(content[:length].count(b"\n") - 1, 0)
        with begin(landing) as writer:
            assert len(writer.pages) == whole, length
            assert writer.resume == (f"after {whole - 1}" if whole else None)
        if length % 25 == 0:
            check_whole(landing, complete(landing)[0])


def test_pages_that_are_torn_anywhere_are_cut_off(tmp_path: Path) -> None:
    original = Landing(tmp_path / "original")
    writer = cut_short(original, 4)
    folder = original.partition_path(STREAM, DAY) / ".partial"
    ends = [page.offset + page.compressed_bytes for page in writer.pages]
    for length in range(ends[1], ends[3] + 1):
        landing = Landing(tmp_path / str(length))
        torn = landing.partition_path(STREAM, DAY) / ".partial"
        shutil.copytree(folder, torn)
        os.truncate(torn / "pages.zst", length)
        landed, there = complete(landing)
        assert there == sum(end <= length for end in ends)
        check_whole(landing, landed)


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: _flip(folder / "pages.zst", 8),
        lambda folder: _flip(folder / "journal", 12),
        lambda folder: (folder / "pages.zst").unlink(),
        lambda folder: (folder / "journal").unlink(),
        lambda folder: (folder / "journal").write_bytes(b"\0" * 500),
        lambda folder: (folder / "journal").write_bytes(b""),
    ],
    ids=["page", "line", "no pages", "no journal", "zeros", "empty"],
)
def test_damage_at_the_start_starts_again(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    landing = Landing(tmp_path)
    cut_short(landing, 3)
    damage(landing.partition_path(STREAM, DAY) / ".partial")
    landed, there = complete(landing)
    assert there == 0
    check_whole(landing, landed)


def test_a_page_without_a_way_on_is_kept_with_those_that_have_one(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    with suppress(PowerCutError), begin(landing) as writer:
        writer.add(BODIES[0], 1, request="r0", headers={"etag": "0"})
        add(writer, 1)
        writer.add(BODIES[2], 1)
        raise PowerCutError
    landed, there = complete(landing)
    assert there == 2
    check_whole(landing, landed)


def test_killed_between_manifest_and_name(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    cut_short(landing, len(BODIES))
    manifest = landing.partition_path(STREAM, DAY) / ".partial" / "manifest.json"
    manifest.write_text(json.dumps({"format": 1}))
    landed, there = complete(landing)
    assert there == len(BODIES) - 1
    check_whole(landing, landed)


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from etl_assets.landing.store import Landing
    from etl_assets_tests.landing.test_partial import add, begin

    with begin(Landing(Path(sys.argv[1]))) as writer:
        for number in range(len(writer.pages), int(sys.argv[2])):
            add(writer, number)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_all_its_pages(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    for pages in (2, 4):
        assert run_python(KILLED, str(tmp_path), str(pages)).returncode < 0
        found = take_up(landing.partition_path(STREAM, DAY) / ".partial", "q", datetime.now(UTC))
        assert found is not None
        assert len(found.pages) == pages
    landed, there = complete(landing)
    assert there == 4
    check_whole(landing, landed)


FULL = """
    import os, resource, sys
    from pathlib import Path
    from etl_assets.failures import StorageFullError
    from etl_assets.landing.store import Landing
    from etl_assets_tests.landing.test_partial import begin

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        with begin(Landing(Path(sys.argv[1]))) as writer:
            for number in range(100):
                writer.add(os.urandom(1_000), 1, resume=str(number))
    except StorageFullError:
        sys.exit(7)
"""


def test_a_full_disk_keeps_what_it_could(tmp_path: Path) -> None:
    assert run_python(FULL, str(tmp_path)).returncode == 7
    with begin(Landing(tmp_path)) as writer:
        assert 10 < len(writer.pages) < 20
        assert writer.resume == str(len(writer.pages) - 1)
    assert StorageFullError.failure_class.retryable
