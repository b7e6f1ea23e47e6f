"""An extraction that was cut short: the pages that came, kept beside the landed versions until they are taken up.

Layout: `<partition>/.partial/` with the pages file and a journal. Each line of the journal has a check sum and is
written after its page, so that whatever a killed process leaves torn at the end of either file is cut off. Nothing is
flushed to disk: pages that a power failure costs are asked for again. What belongs here: keeping and taking up.
What does not: landed versions (`etl_assets.landing.store`), and understanding where the next page is.
"""

from __future__ import annotations

import hashlib
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from etl_assets.landing.manifest import PageEntry
from etl_assets.landing.pages import PAGES_FILE, DamagedPageError, codec, read_page

PARTIAL_FOLDER = ".partial"
JOURNAL_FILE = "journal"

TAKEN_UP_WITHIN = timedelta(days=1)
"""Age of an extraction up to which it is gone on with: a source need not know its cursors for ever, and answers that
are put together should be of about one time."""


@dataclass(frozen=True, slots=True)
class Partial:
    """A cut-short extraction that has been taken up.

    Attributes:
        requested_at: When it began, in UTC.
        pages: Its pages, all of them intact.
        resume: Where the next page is, in the words of the source's reader.
        digest: Over the bodies so far.
    """

    requested_at: datetime
    pages: tuple[PageEntry, ...]
    resume: str
    digest: Any


class Journal:
    """Notes the pages of an extraction as they come.

    Args:
        folder: Where the pages file is.
        append: Whether to go on with the journal that is there, rather than to begin one.
    """

    def __init__(self, folder: Path, *, append: bool = False) -> None:
        # Unbuffered: a line that is written is there when the process is killed.
        self._file = (folder / JOURNAL_FILE).open("ab" if append else "xb", buffering=0)

    def begin(self, request: str, requested_at: datetime) -> None:
        """Note what is asked for.

        Args:
            request: Names all that must be the same for the extraction to be taken up.
            requested_at: When it began, in UTC.
        """
        self._write({"request": request, "requested_at": requested_at.isoformat()})

    def add(self, page: PageEntry, resume: str | None) -> None:
        """Note a page that is in the pages file, and where the next one is."""
        self._write({"page": page, "resume": resume})

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def _write(self, value: dict[str, Any]) -> None:
        content = orjson.dumps(value)
        self._file.write(b"%08x %b\n" % (zlib.crc32(content), content))


def take_up(folder: Path, request: str, now: datetime) -> Partial | None:
    """Take up the extraction that a folder holds; what is torn at its end is cut off.

    Args:
        folder: The folder; need not exist.
        request: What would be asked for now.
        now: The time, in UTC.

    Returns:
        None if there is nothing that can be gone on with.
    """
    try:
        with (folder / JOURNAL_FILE).open("r+b") as journal, (folder / PAGES_FILE).open("r+b") as pages:
            return _read(journal, pages, request, now)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def discard_partial(folder: Path) -> None:
    """Remove an extraction that was cut short, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(journal: BinaryIO, pages: BinaryIO, request: str, now: datetime) -> Partial | None:
    lines = _lines(journal)
    end, head = next(lines, (0, {}))
    if head.get("request") != request:
        return None
    requested_at = datetime.fromisoformat(head["requested_at"]).astimezone(UTC)
    if not timedelta(0) <= now - requested_at < TAKEN_UP_WITHIN:
        return None
    found: list[PageEntry] = []
    count, resume = 0, ""
    running, decompressor = hashlib.sha256(), codec()
    digest = running
    for line_end, line in lines:
        page = PageEntry(**line["page"])
        try:
            running.update(read_page(pages, page, decompressor))
        except DamagedPageError:
            break
        found.append(page)
        if line["resume"] is not None:
            count, resume, digest, end = len(found), line["resume"], running.copy(), line_end
    if not count:
        return None
    last = found[count - 1]
    journal.truncate(end)
    pages.truncate(last.offset + last.compressed_bytes)
    return Partial(requested_at, tuple(found[:count]), resume, digest)


def _lines(journal: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the journal's lines up to the first that is torn, each with where it ends."""
    end = 0
    for line in journal:
        end += len(line)
        check, _, content = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(content):
            return
        yield end, orjson.loads(content)
