"""Text files: from the bytes of one file, cut anywhere, to its lines.

What belongs here: encodings, and what all formats share. What does not: records.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from etl_assets.failures import EtlError

BATCH_RECORDS = 5_000
MAXIMUM_LINE = 16 * 1024 * 1024
"""Characters of one line at most: a file without line ends must not fill the memory."""


class FileFormatError(EtlError):
    """A file is not what it is declared to be."""


class _PageStream(io.RawIOBase):
    """Pages as a stream of bytes."""

    def __init__(self, pages: Iterator[bytes]) -> None:
        self._pages = pages
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            page = next(self._pages, None)
            if page is None:
                return 0
            self._rest = memoryview(page)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class Lines:
    """The lines of a text file with their ends, and a memory of those that make up the record at hand.

    Args:
        pages: The bytes of the file.
        encoding: Its encoding; a byte order mark is dropped.

    Attributes:
        number: Number of the line that was read last, from 1.
        ended: Whether there is no further line.
        held: The lines since the last `let_go`.
        is_damaged: Whether any of those holds bytes that the encoding does not have.
    """

    def __init__(self, pages: Iterator[bytes], encoding: str) -> None:
        stream = io.BufferedReader(_PageStream(pages), 256 * 1024)
        name = encoding.lower().replace("_", "-")
        encoding = "utf-8-sig" if name in ("utf-8", "utf8") else encoding
        self._text = io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")
        self.number = 0
        self.ended = False
        self.held: list[str] = []
        self.is_damaged = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAXIMUM_LINE)
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        if len(line) == MAXIMUM_LINE:
            raise FileFormatError(f"line {self.number} is longer than {MAXIMUM_LINE:,} characters")
        self.held.append(line)
        if not line.isascii() and _has_surrogates(line):
            self.is_damaged = True
        return line

    def let_go(self) -> None:
        """Forget the lines of a record that is done."""
        self.held.clear()
        self.is_damaged = False

    def held_text(self) -> str:
        """Give the record at hand as it stands in the file, bytes that are no text as visible escapes."""
        return "".join(self.held).rstrip("\r\n").encode("utf-8", "backslashreplace").decode()


def _has_surrogates(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return True
    return False


def batches(records: Iterator[Any]) -> Iterator[list[Any]]:
    """Give records in lists of `BATCH_RECORDS`."""
    batch: list[Any] = []
    for record in records:
        batch.append(record)
        if len(batch) >= BATCH_RECORDS:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def temporary_file(pages: Iterator[bytes]) -> Iterator[BinaryIO]:
    """Put the pages into a temporary file, for formats that cannot be read from front to back."""
    with tempfile.TemporaryFile(prefix="etl-assets-") as file:
        shutil.copyfileobj(io.BufferedReader(_PageStream(pages)), file, 1024 * 1024)
        file.seek(0, os.SEEK_SET)
        yield file
