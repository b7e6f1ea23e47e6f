"""Reading a folder of files: which files hold a day, when they may be read, and their bytes as pages.

The bytes are handed on as they are in the file, unpacked; nothing in the folder is changed. What belongs here:
waiting for a day's files, and cutting them into pages. What does not: the folder itself
(`etl_assets.sources.folders`) and what is in the bytes (`etl_assets.sources.formats`).
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import structlog

from etl_assets.failures import FailureClass, SourceError
from etl_assets.settings import SourceSettings
from etl_assets.sources.base import FIRST_TIME, Earlier, Page, Reader, expect
from etl_assets.sources.comparison import Comparison, Held
from etl_assets.sources.compression import compression_of, unpacked
from etl_assets.sources.decode import END_OF_FILE
from etl_assets.sources.file_facts import compare_files
from etl_assets.sources.folders import Folder, FoundFile
from etl_assets.sources.formats.registry import STREAMED, WHOLE
from etl_assets.sources.formats.text import FileFormatError
from etl_assets.streams.base import Extract, Files, FileSource

log = structlog.get_logger(__name__)

PAGE_BYTES = 1024 * 1024
MAXIMUM_FILE_BYTES = 64 * 1024**3
"""Unpacked bytes of one file at most: a small packed file can unpack to any size, and landing keeps them."""


def _now() -> datetime:
    return datetime.now(UTC)


class FileReader(Reader):
    """Reads a folder of files; safe to use from many threads.

    Args:
        source: The source.
        settings: Where its folder is.
        now: The clock, for deadlines and for how long a file has been left alone.
        page_bytes: Bytes of a page, about.
        maximum_file_bytes: Unpacked bytes of one file at most.

    Raises:
        ConfigurationError: If the address cannot be used.
    """

    def __init__(
        self,
        source: FileSource,
        settings: SourceSettings,
        *,
        now: Callable[[], datetime] = _now,
        page_bytes: int = PAGE_BYTES,
        maximum_file_bytes: int = MAXIMUM_FILE_BYTES,
    ) -> None:
        self.source = source
        self._folder = Folder(source.name, settings.url, settings.url_variable)
        self._now = now
        self._page_bytes = page_bytes
        self._maximum_file_bytes = maximum_file_bytes

    def close(self) -> None:
        """See `Reader`; there is nothing to let go of between two files."""

    @property
    def address(self) -> str:
        """See `Reader`."""
        return self._folder.address

    def pages(self, extract: Extract, day: date, earlier: Earlier = FIRST_TIME) -> Iterator[Page]:
        """See `Reader`: files are always read from their beginning."""
        files = expect(extract, Files)
        for found in self._ready(files, day):
            try:
                with self._folder.open(found) as opened:
                    compression = compression_of(found.name, files.compression)
                    chunks = self._bounded(unpacked(opened, compression, chunk=self._page_bytes))
                    yield from _pages(chunks, files, found.name)
            except FileFormatError as error:
                raise self._unusable(files, day, found, error) from error
            if self._folder.look_again(found) != found:
                raise self._unready(f"{found.name} was changed while it was read")

    def compare(self, extract: Extract, day: date, held: Held) -> Comparison:
        """See `Reader`: by number, size and time of the day's files; they are not opened."""
        files = expect(extract, Files)
        marker = files.marker_of(day)
        found = [file for file in self._folder.find(files.path_of(day)) if file.name != marker]
        if not found:
            return Comparison.unknown("its files are there no more")
        return compare_files(found, files, held)

    def _ready(self, files: Files, day: date) -> list[FoundFile]:
        """Find the files of a day, and make sure that nobody is still writing to them."""
        marker = files.marker_of(day)
        if marker is not None and not self._folder.find(marker):
            raise self._missing(files, day, marker)
        found = [file for file in self._folder.find(files.path_of(day)) if file.name != marker]
        if not found:
            raise self._missing(files, day, files.path_of(day))
        if marker is None:
            for file in found:
                self._check_settled(files, file)
        log.info("files_found", source=self.source.name, files=[file.name for file in found])
        return found

    def _check_settled(self, files: Files, file: FoundFile) -> None:
        settle = files.settle.total_seconds()
        age = (self._now() - file.modified_at).total_seconds() if file.modified_at is not None else -1.0
        if age >= settle:
            return
        if age >= 0:
            raise self._unready(f"{file.name} was written to {age:.0f} s ago, and may still be")
        # Without a time, or with one by a clock ahead of ours, only a second look can tell.
        time.sleep(settle)
        if self._folder.look_again(file) != file:
            raise self._unready(f"{file.name} is still being written to")

    def _bounded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > self._maximum_file_bytes:
                raise FileFormatError(f"it holds more than {self._maximum_file_bytes:,} bytes, unpacked")
            yield chunk

    def _missing(self, files: Files, day: date, path: str) -> SourceError:
        late = self._is_late(files, day)
        return SourceError(
            f"{self.source.name}: {path} is not there"
            + (", and its deadline has passed" if late else " yet"),
            source=self.source.name,
            failure_class=FailureClass.PERMANENT if late else FailureClass.TRANSIENT,
            hint="have it delivered, then run the day again" if late else "run the day again later",
        )

    def _unusable(self, files: Files, day: date, file: FoundFile, error: FileFormatError) -> SourceError:
        late = self._is_late(files, day)
        return SourceError(
            f"{self.source.name}: {file.name} cannot be used: {error.message}",
            source=self.source.name,
            failure_class=FailureClass.PERMANENT if late else FailureClass.TRANSIENT,
            hint=error.hint or "have it delivered again, or correct the stream's declaration",
        )

    def _unready(self, what: str) -> SourceError:
        return SourceError(
            f"{self.source.name}: {what}", source=self.source.name, hint="run the day again later"
        )

    def _is_late(self, files: Files, day: date) -> bool:
        return self._now() >= files.window_of(day).end + files.deadline


def _pages(chunks: Iterator[bytes], files: Files, name: str) -> Iterator[Page]:
    """Cut a file into pages, with an empty one at its end, and count the records that end in each."""
    return _streamed(chunks, files, name) if files.format in STREAMED else _whole(chunks, files, name)


def _streamed(chunks: Iterator[bytes], files: Files, name: str) -> Iterator[Page]:
    read: deque[bytes] = deque()

    def feed() -> Iterator[bytes]:
        for body in _cut_at_line_ends(chunks):
            yield body
            read.append(body)

    records = 0
    for batch in STREAMED[files.format](feed(), files):
        records += len(batch)
        while read:
            yield Page(read.popleft(), records, name)
            records = 0
    for body in read:
        yield Page(body, records, name)
        records = 0
    yield Page(END_OF_FILE, records, name)


def _whole(chunks: Iterator[bytes], files: Files, name: str) -> Iterator[Page]:
    with tempfile.TemporaryFile(prefix="etl-assets-") as copy:
        for body in chunks:
            copy.write(body)
            yield Page(body, 0, name)
        copy.seek(0)
        yield Page(END_OF_FILE, WHOLE[files.format].count(copy, files), name)


def _cut_at_line_ends(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Move the cuts to line ends, where there are any; decoding does not depend on it, people may."""
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        end = data.rfind(b"\n") + 1 or len(data)
        yield data[:end]
        rest = data[end:]
    if rest:
        yield rest
