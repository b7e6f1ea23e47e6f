"""Writing one version of a landed partition, page by page.

What belongs here: what lies on disk until a version is whole, and when there is nothing new to write. What does not:
finding versions (`etl_assets.landing.store`), and asking the source.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from etl_assets.failures import LandingError
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
from etl_assets.landing.manifest import MANIFEST_FILE, Manifest, PageEntry
from etl_assets.landing.pages import PAGES_FILE, codec
from etl_assets.landing.partial import JOURNAL_FILE, PARTIAL_FOLDER, Journal, discard_partial, take_up
from etl_assets.landing.store import Landing
from etl_assets.landing.versions import name_version
from etl_assets.observability.loggers import LazyLogger
from etl_assets.outcomes import FailedItem
from etl_assets.streams.windows import Window

log = LazyLogger(__name__)


class LandingWriter:
    """Writes one version of a partition. Nothing can be seen of it before `finish`, or after an exception.

    Begins a new version, or goes on with one that was cut short; to be used as a context manager. Pages after which
    the source can be asked to go on outlive it, see `etl_assets.landing.partial`.

    Pages that the source says have not changed are not written again: where all of a version are still right, nothing
    is written at all.

    Only who has the partition to itself may give a request.

    Args:
        landing: The store.
        stream_id: `<source>/<name>`.
        day: The partition.
        run_id: The run that extracts it.
        window: The span of time that the source is asked for.
        request: Names all that must be the same for an extraction to be gone on with after it was cut short, and for
            landed answers to be those that would come now. With none, one is neither taken up nor kept.

    Raises:
        StorageFullError: If the disk is full.
        LandingError: If nothing can be written there.

    Attributes:
        older: The newest version so far, for what has not changed since; None where there is none in good order.
        resume: Where an extraction that was cut short stopped; None where there is nothing to go on with.
    """

    older: LandedPartition | None
    resume: str | None
    _pages: list[PageEntry]
    _file: BinaryIO | None
    _temporary: Path
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
            self.older = self._latest()
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

    @property
    def repeats(self) -> bool:
        """Whether all that the newest version's answers depend on, beside the source, is the same now."""
        return (
            self._request is not None
            and self.older is not None
            and self.older.manifest.request == self._request
        )

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
        unchanged: bool = False,
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
            unchanged: Whether the source said that the newest version's answer to this request is still right, and the
                body is that one, read intact.

        Raises:
            StorageFullError: If the disk ran full.
            LandingError: If it cannot be written, or what has not changed cannot be read any more.
        """
        if unchanged and (entry := self._next_kept(request)) is not None:
            self._pages.append(replace(entry, headers=dict(headers or {})))
            return
        file = self._opened()
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
            file.write(compressed)
            self._pages.append(page)
            if resume is not None and self._request is not None:
                self._note(file, page, resume, self._request)
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
            landed = self._publish(self._opened())
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
        """Begin with nothing; where there is no older version, see at once whether one can be written."""
        self._requested_at = self._landing.now()
        self._digest = hashlib.sha256()
        self._pages, self.resume = [], None
        self._journal = self._file = None
        if self.older is None:
            self._open()

    def _open(self) -> BinaryIO:
        self._temporary = make_temporary(self._home)
        self._file = (self._temporary / PAGES_FILE).open("xb")
        return self._file

    def _opened(self) -> BinaryIO:
        """Give the pages file; when it is needed first, what has not changed is written into it."""
        if self._file is not None:
            return self._file
        kept, self._pages = self._pages, []
        try:
            file = self._open()
        except OSError as error:
            raise self._failure(error) from error
        for page in kept:
            assert self.older is not None
            self.add(self.older.body(page), page.records, request=page.request, headers=page.headers)
        return file

    def _next_kept(self, request: str) -> PageEntry | None:
        """Give the older version's entry of a page that has not changed; None where it has to be written."""
        if self._file is not None or self.older is None:
            return None
        entry = next(iter(self.older.manifest.pages[len(self._pages) :]), None)
        return entry if entry is not None and entry.request == request else None

    def _note(self, file: BinaryIO, page: PageEntry, resume: str, request: str) -> None:
        """Make sure that a page outlives this process; a partition of one page never comes here."""
        file.flush()
        if self._journal is None:
            journal = Journal(self._temporary)
            journal.begin(request, self._requested_at)
            for earlier in self._pages[:-1]:
                journal.add(earlier, None)
            folder = self._home / PARTIAL_FOLDER
            self._temporary.rename(folder)
            self._temporary, self._journal = folder, journal
        self._journal.add(page, resume)

    def _publish(self, file: BinaryIO) -> LandedPartition:
        finished_at = self._landing.now()
        newest = self._landing.latest_version(self._stream_id, self._day)
        version = name_version(newest, finished_at, self._run_id)
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
            request=self._request,
        )
        file.flush()
        os.fsync(file.fileno())
        file.close()
        write_flushed(self._temporary / MANIFEST_FILE, manifest.to_json())
        flush_directory(self._temporary)
        if self._journal is not None:
            self._journal.close()
            (self._temporary / JOURNAL_FILE).unlink()
        target = self._home / version
        publish(self._temporary, target)
        self._done = True
        return LandedPartition(target, manifest)

    def _latest(self) -> LandedPartition | None:
        try:
            return self._landing.latest(self._stream_id, self._day)
        except LandingError:
            return None  # a damaged version is what a new extraction is there to heal

    def _latest_equal(self) -> LandedPartition | None:
        older = self._latest() if self._file is not None else self.older
        if older is None or older.window != self._window:
            return None
        if self._failed_items or older.manifest.failed_items:
            return None  # each attempt at an item counts
        if self._file is None:
            # Each page was read when it was kept.
            is_whole = len(self._pages) == len(older.manifest.pages) and older.has_its_length()
            return older if self._pages and is_whole else None
        if older.sha256 != self._digest.hexdigest():
            return None
        if _contents(older.manifest.pages) != _contents(self._pages) or not older.is_intact():
            return None
        return older

    def _abandon(self) -> None:
        self._done = True
        if self._journal is None:
            self._drop()
        else:
            self._close()

    def _drop(self) -> None:
        self._close()
        if self._file is not None:
            discard(self._temporary)

    def _close(self) -> None:
        # A full disk makes closing fail as well, as it writes what is still buffered.
        with suppress(OSError):
            if self._file is not None:
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
