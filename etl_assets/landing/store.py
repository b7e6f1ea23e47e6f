"""The landing store: what a source answered for a partition, kept so that a load can be replayed from it.

Layout: `<root>/<source>/<stream>/<YYYY-MM-DD>/<version>/` with `pages.zst`, one zstd frame per answer
(`zstd -dc` gives the bodies back, one after the other), and `manifest.json`. An extraction that was cut short waits
beside the versions, in `.partial/`. What belongs here: writing and finding versions. What does not: asking the source,
or understanding the answers.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from etl_assets.failures import ConfigurationError, LandingError
from etl_assets.landing.files import (
    discard,
    flush_directory,
    make_private,
    make_temporary,
    publish,
    raise_if_full,
    write_flushed,
)
from etl_assets.landing.landed import LandedPartition
from etl_assets.landing.manifest import Manifest, PageEntry
from etl_assets.landing.pages import PAGES_FILE, codec
from etl_assets.landing.partial import JOURNAL_FILE, PARTIAL_FOLDER, Journal, discard_partial, take_up
from etl_assets.observability.loggers import LazyLogger
from etl_assets.outcomes import FailedItem
from etl_assets.streams.windows import Window

__all__ = ["PAGES_FILE", "LandedPartition", "Landing", "LandingWriter"]

log = LazyLogger(__name__)

MANIFEST_FILE = "manifest.json"

_STREAM_ID = re.compile(r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")
_VERSION = re.compile(r"^(\d{8}T\d{6}\.\d{6})Z-[0-9A-Za-z]{1,8}$")
_VERSION_TIME = "%Y%m%dT%H%M%S.%f"


def utc_now() -> datetime:
    """Give the time, in UTC."""
    return datetime.now(UTC)


class Landing:
    """All landed partitions below one directory.

    Args:
        root: The directory; made on the first write, with access for its owner alone.
        now: The clock.
    """

    def __init__(self, root: Path, *, now: Callable[[], datetime] = utc_now) -> None:
        self.root = root
        self.now = now

    def writer(
        self, stream_id: str, day: date, *, run_id: str, window: Window, request: str | None = None
    ) -> LandingWriter:
        """Begin a new version of a partition, or go on with one that was cut short; use it as a context manager.

        Only who has the partition to itself may give a request.

        Args:
            stream_id: `<source>/<name>`.
            day: The partition.
            run_id: The run that extracts it.
            window: The span of time that the source is asked for.
            request: Names all that must be the same for an extraction to be gone on with after it was cut short. With
                none, it is neither taken up nor kept.

        Raises:
            StorageFullError: If the disk is full.
            LandingError: If nothing can be written there.
        """
        return LandingWriter(self, stream_id, day, run_id=run_id, window=window, request=request)

    def latest(self, stream_id: str, day: date) -> LandedPartition | None:
        """Give the newest complete version of a partition; None where nothing has been landed yet.

        Raises:
            LandingError: If its manifest is missing or damaged.
        """
        newest = self.latest_version(stream_id, day)
        return None if newest is None else self.find(stream_id, day, newest)

    def find(self, stream_id: str, day: date, version: str) -> LandedPartition:
        """Give a version of a partition.

        Raises:
            LandingError: If it is not there, or its manifest is missing or damaged.
        """
        path = self.partition_path(stream_id, day) / version
        try:
            manifest = Manifest.from_json((path / MANIFEST_FILE).read_bytes())
            if (manifest.stream_id, manifest.day, manifest.version) != (stream_id, day, version):
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
    """Writes one version of a partition. Nothing can be seen of it before `finish`, or after an exception.

    Pages after which the source can be asked to go on outlive the writer, see `etl_assets.landing.partial`.

    Attributes:
        resume: Where an extraction that was cut short stopped; None where there is nothing to go on with.
    """

    resume: str | None
    _pages: list[PageEntry]
    _file: BinaryIO
    _journal: Journal | None

    def __init__(
        self,
        landing: Landing,
        stream_id: str,
        day: date,
        *,
        run_id: str,
        window: Window,
        request: str | None = None,
    ) -> None:
        self._landing = landing
        self._stream_id = stream_id
        self._day = day
        self._run_id = run_id
        self._window = window
        self._request = request
        self._codec = codec()
        self._failed_items: list[FailedItem] = []
        self._done = False
        self._home = landing.partition_path(stream_id, day)
        try:
            # Answers lie here as they came, with all personal data in clear.
            make_private(landing.root)
            if not self._go_on():
                self._start()
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._abandon()

    @property
    def day(self) -> date:
        """The partition."""
        return self._day

    @property
    def pages(self) -> tuple[PageEntry, ...]:
        """The answers so far, those of an extraction that was cut short included."""
        return tuple(self._pages)

    def add(
        self,
        body: bytes,
        records: int,
        *,
        request: str = "",
        headers: Mapping[str, str] | None = None,
        resume: str | None = None,
        identifier: str | None = None,
        format: str | None = None,
    ) -> None:
        """Append one answer.

        Args:
            body: Its body, byte for byte.
            records: Records in it.
            request: Name of the request that it answers, without secrets.
            headers: Headers of the answer that are needed to ask for it again.
            resume: Where the next one is, if the source can be asked to go on there another time.
            identifier: What a document was asked for by.
            format: Name of the format that a document came in.

        Raises:
            StorageFullError: If the disk ran full.
        """
        compressed = self._codec.compress(body, asbytes=True)
        offset = self._pages[-1].offset + self._pages[-1].compressed_bytes if self._pages else 0
        page = PageEntry(
            offset=offset,
            compressed_bytes=len(compressed),
            raw_bytes=len(body),
            records=records,
            crc32=zlib.crc32(body),
            request=request,
            headers=dict(headers or {}),
            identifier=identifier,
            format=format,
        )
        try:
            self._file.write(compressed)
            self._pages.append(page)
            if resume is not None and self._request is not None:
                self._note(page, resume, self._request)
        except OSError as error:
            raise self._failure(error) from error
        self._digest.update(body)

    def start_again(self) -> None:
        """Forget all that came so far, that of an extraction that was cut short included."""
        self._drop()
        self._failed_items.clear()
        try:
            self._start()
        except OSError as error:
            raise self._failure(error) from error

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
                self._done = True
                self._drop()
                log.debug("landing_unchanged", **self._place(), version=older.version)
                return older
            landed = self._publish()
        except OSError as error:
            raise self._failure(error) from error
        log.debug("landed", **self._place(), version=landed.version, records=landed.records)
        return landed

    def _go_on(self) -> bool:
        """Take up an extraction that was cut short; one that cannot be gone on with is discarded."""
        folder = self._home / PARTIAL_FOLDER
        partial = take_up(folder, self._request, self._landing.now()) if self._request else None
        if partial is None:
            discard_partial(folder)
            return False
        # There if the process was killed on the very last steps.
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        self._temporary = folder
        self._requested_at, self._digest = partial.requested_at, partial.digest
        self._pages, self.resume = list(partial.pages), partial.resume
        self._file = (folder / PAGES_FILE).open("ab")
        self._journal = Journal(folder, append=True)
        log.info("extraction_taken_up", **self._place(), pages=len(self._pages))
        return True

    def _start(self) -> None:
        self._requested_at = self._landing.now()
        self._digest = hashlib.sha256()
        self._pages, self.resume = [], None
        self._journal = None
        self._temporary = make_temporary(self._home)
        self._file = (self._temporary / PAGES_FILE).open("xb")

    def _note(self, page: PageEntry, resume: str, request: str) -> None:
        """Make sure that a page outlives this process; a partition of one page never comes here."""
        self._file.flush()
        if self._journal is None:
            journal = Journal(self._temporary)
            journal.begin(request, self._requested_at)
            for earlier in self._pages[:-1]:
                journal.add(earlier, None)
            folder = self._home / PARTIAL_FOLDER
            self._temporary.rename(folder)
            self._temporary, self._journal = folder, journal
        self._journal.add(page, resume)

    def _publish(self) -> LandedPartition:
        finished_at = self._landing.now()
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
        if self._journal is not None:
            self._journal.close()
            (self._temporary / JOURNAL_FILE).unlink()
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
        if self._journal is None:
            self._drop()
        else:
            self._close()

    def _drop(self) -> None:
        self._close()
        discard(self._temporary)

    def _close(self) -> None:
        # A full disk makes closing fail as well, as it writes what is still buffered.
        with suppress(OSError):
            self._file.close()
        if self._journal is not None:
            self._journal.close()

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
