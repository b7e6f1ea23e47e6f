"""The landing store: what a source answered for a partition, kept so that a load can be replayed from it.

Layout: `<root>/<source>/<stream>/<YYYY-MM-DD>/<version>/` with `pages.zst`, one zstd frame per answer
(`zstd -dc` gives the bodies back, one after the other), and `manifest.json`. What belongs here: writing and
reading versions. What does not: asking the source, or understanding the answers.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
import structlog

from etl_assets.failures import ConfigurationError, LandingError
from etl_assets.landing.files import (
    discard,
    flush_directory,
    make_temporary,
    publish,
    raise_if_full,
    write_flushed,
)
from etl_assets.landing.manifest import Manifest, PageEntry
from etl_assets.outcomes import FailedItem
from etl_assets.streams.base import Window

log = structlog.get_logger(__name__)

PAGES_FILE = "pages.zst"
MANIFEST_FILE = "manifest.json"

COMPRESSION_LEVEL = 1
"""JSON shrinks 10- to 25-fold already at the fastest level; higher ones cost time and save little."""

_STREAM_ID = re.compile(r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")
_VERSION = re.compile(r"^(\d{8}T\d{6}\.\d{6})Z-[0-9A-Za-z]{1,8}$")
_VERSION_TIME = "%Y%m%dT%H%M%S.%f"


@dataclass(frozen=True, slots=True)
class LandedPartition:
    """One version of a partition's raw answers.

    Attributes:
        path: Directory that holds it.
        manifest: What is known about it.
    """

    path: Path
    manifest: Manifest

    @property
    def stream_id(self) -> str:
        """`<source>/<name>`."""
        return self.manifest.stream_id

    @property
    def day(self) -> date:
        """The partition."""
        return self.manifest.day

    @property
    def version(self) -> str:
        """Name of this version; later ones sort after earlier ones."""
        return self.manifest.version

    @property
    def window(self) -> Window:
        """The span of time that the source was asked for."""
        return self.manifest.window

    @property
    def requested_at(self) -> datetime:
        """When extraction began, in UTC: the answers show the source as of then or later."""
        return self.manifest.requested_at

    @property
    def records(self) -> int:
        """Records in all pages."""
        return self.manifest.records

    @property
    def raw_bytes(self) -> int:
        """Bytes of all bodies, as they came."""
        return self.manifest.raw_bytes

    @property
    def sha256(self) -> str:
        """Digest over the bodies of all pages in order."""
        return self.manifest.sha256

    def pages(self) -> Iterator[bytes]:
        """Read the bodies in order, one at a time.

        Raises:
            LandingError: If they are missing or damaged; a damaged page is never handed out.
        """
        codec = _codec()
        digest = hashlib.sha256()
        try:
            with (self.path / PAGES_FILE).open("rb") as file:
                if os.fstat(file.fileno()).st_size != self.manifest.compressed_bytes:
                    raise self._damaged()
                for page in self.manifest.pages:
                    file.seek(page.offset)
                    body = codec.decompress(file.read(page.compressed_bytes), page.raw_bytes, asbytes=True)
                    if len(body) != page.raw_bytes or zlib.crc32(body) != page.crc32:
                        raise self._damaged()
                    digest.update(body)
                    yield body
        except (OSError, ValueError, OverflowError) as error:
            raise self._damaged() from error
        if digest.hexdigest() != self.manifest.sha256:
            raise self._damaged()

    def is_intact(self) -> bool:
        """Whether all bodies can be read back as they came."""
        try:
            for _ in self.pages():
                pass
        except LandingError:
            return False
        return True

    def _damaged(self) -> LandingError:
        what = f"landed answers of {self.stream_id} {self.day}"
        return LandingError(f"{what} are damaged; extract the day again")


class Landing:
    """All landed partitions below one directory.

    Args:
        root: The directory; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def writer(self, stream_id: str, day: date, *, run_id: str, window: Window) -> LandingWriter:
        """Begin a new version of a partition; use it as a context manager.

        Args:
            stream_id: `<source>/<name>`.
            day: The partition.
            run_id: The run that extracts it.
            window: The span of time that the source is asked for.

        Raises:
            StorageFullError: If the disk is full.
            LandingError: If nothing can be written there.
        """
        return LandingWriter(self, stream_id, day, run_id=run_id, window=window)

    def latest(self, stream_id: str, day: date) -> LandedPartition | None:
        """Give the newest complete version of a partition; None where nothing has been landed yet.

        Raises:
            LandingError: If its manifest is missing or damaged.
        """
        newest = self.latest_version(stream_id, day)
        if newest is None:
            return None
        path = self.partition_path(stream_id, day) / newest
        try:
            manifest = Manifest.from_json((path / MANIFEST_FILE).read_bytes())
            if (manifest.stream_id, manifest.day, manifest.version) != (stream_id, day, newest):
                raise ValueError("it belongs to another place")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise LandingError(
                f"landed answers of {stream_id} {day} cannot be used, their manifest is damaged: {reason}",
                hint="extract the day again",
            ) from error
        return LandedPartition(path, manifest)

    def latest_version(self, stream_id: str, day: date) -> str | None:
        """Give the name of the newest version of a partition without reading it."""
        try:
            names = os.listdir(self.partition_path(stream_id, day))
        except FileNotFoundError:
            return None
        return max((name for name in names if _VERSION.match(name)), default=None)

    def partition_path(self, stream_id: str, day: date) -> Path:
        """Give the directory that holds the versions of a partition."""
        if not _STREAM_ID.match(stream_id):
            raise ConfigurationError(f"stream {stream_id!r} must read <source>/<name>, lower-case")
        return self.root / stream_id / day.isoformat()


class LandingWriter:
    """Writes one version of a partition. Nothing can be seen of it before `finish`, or after an exception."""

    def __init__(self, landing: Landing, stream_id: str, day: date, *, run_id: str, window: Window) -> None:
        self._landing = landing
        self._stream_id = stream_id
        self._day = day
        self._run_id = run_id
        self._window = window
        self._requested_at = datetime.now(UTC)
        self._codec = _codec()
        self._digest = hashlib.sha256()
        self._pages: list[PageEntry] = []
        self._failed_items: list[FailedItem] = []
        self._offset = 0
        self._done = False
        self._home = landing.partition_path(stream_id, day)
        try:
            self._temporary = make_temporary(self._home)
            self._file: BinaryIO = (self._temporary / PAGES_FILE).open("xb")
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._abandon()

    def add(
        self, body: bytes, records: int, *, identifier: str | None = None, format: str | None = None
    ) -> None:
        """Append one answer.

        Args:
            body: Its body, byte for byte.
            records: Records in it.
            identifier: What a document was asked for by.
            format: Name of the format that a document came in.

        Raises:
            StorageFullError: If the disk ran full.
        """
        compressed = self._codec.compress(body, asbytes=True)
        try:
            self._file.write(compressed)
        except OSError as error:
            raise self._failure(error) from error
        self._digest.update(body)
        self._pages.append(
            PageEntry(self._offset, len(compressed), len(body), records, zlib.crc32(body), identifier, format)
        )
        self._offset += len(compressed)

    def note_failed(self, item: FailedItem) -> None:
        """Put on record that a document could not be had."""
        self._failed_items.append(item)

    def finish(self) -> LandedPartition:
        """Make the version visible, flushed to disk.

        Returns:
            The new version, or the latest one if that holds the very same answers to the same question.

        Raises:
            StorageFullError: If the disk ran full.
        """
        try:
            older = self._latest_equal()
            if older is not None:
                self._abandon()
                log.debug("landing_unchanged", **self._place(), version=older.version)
                return older
            landed = self._publish()
        except OSError as error:
            raise self._failure(error) from error
        log.debug("landed", **self._place(), version=landed.version, records=landed.records)
        return landed

    def _publish(self) -> LandedPartition:
        finished_at = datetime.now(UTC)
        version = self._next_version(finished_at)
        manifest = Manifest(
            stream_id=self._stream_id,
            day=self._day,
            version=version,
            run_id=self._run_id,
            window=self._window,
            requested_at=self._requested_at,
            finished_at=finished_at,
            sha256=self._digest.hexdigest(),
            pages=tuple(self._pages),
            failed_items=tuple(self._failed_items),
        )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        write_flushed(self._temporary / MANIFEST_FILE, manifest.to_json())
        flush_directory(self._temporary)
        target = self._home / version
        publish(self._temporary, target)
        self._done = True
        return LandedPartition(target, manifest)

    def _latest_equal(self) -> LandedPartition | None:
        try:
            older = self._landing.latest(self._stream_id, self._day)
        except LandingError:
            return None  # a damaged version is what a new extraction is there to heal
        if older is None or older.sha256 != self._digest.hexdigest() or older.window != self._window:
            return None
        if self._failed_items or older.manifest.failed_items:
            return None  # each attempt at an item counts
        if _contents(older.manifest.pages) != _contents(self._pages) or not older.is_intact():
            return None
        return older

    def _next_version(self, now: datetime) -> str:
        """Name a version so that it sorts last, even if the clock was set back meanwhile."""
        older = self._landing.latest_version(self._stream_id, self._day)
        match = _VERSION.match(older) if older else None
        if match:
            last = datetime.strptime(match[1], _VERSION_TIME).replace(tzinfo=UTC)
            now = max(now, last + timedelta(microseconds=1))
        suffix = re.sub(r"[^0-9A-Za-z]", "", self._run_id)[:8] or "run"
        return f"{now.strftime(_VERSION_TIME)}Z-{suffix}"

    def _abandon(self) -> None:
        self._done = True
        # A full disk makes closing fail as well, as it writes what is still buffered.
        with suppress(OSError):
            self._file.close()
        discard(self._temporary)

    def _failure(self, error: OSError) -> LandingError:
        what = f"landed answers of {self._stream_id} {self._day}"
        raise_if_full(error, what)
        return LandingError(
            f"{what} cannot be written: {error.strerror or type(error).__name__}",
            hint="check ETL_DATA_DIR and its permissions",
        )

    def _place(self) -> dict[str, str]:
        source = self._stream_id.partition("/")[0]
        return {"source": source, "stream": self._stream_id, "partition": self._day.isoformat()}


def _contents(pages: Sequence[PageEntry]) -> list[tuple[int, str | None, str | None]]:
    """What tells pages apart whose bytes, one after the other, are the same."""
    return [(page.raw_bytes, page.identifier, page.format) for page in pages]


def _codec() -> Any:
    return pa.Codec("zstd", compression_level=COMPRESSION_LEVEL)
