"""From the source to landing: one partition, with what earlier extractions of it know.

What belongs here: whether a day can still be asked for, going on where an extraction was cut short, and landing the
pages. What does not: asking the source (`etl_assets.sources`) and keeping the answers (`etl_assets.landing`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime

import structlog

from etl_assets.failures import FailureClass, SourceError
from etl_assets.landing.earlier import EarlierAnswers, landed_elsewhere
from etl_assets.landing.store import LandedPartition, Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets.observability.progress import ProgressReporter
from etl_assets.pipeline.documents import SILENT, Tally, add_documents
from etl_assets.sources.base import Page, Reader
from etl_assets.streams.base import Documents, Stream

log = structlog.get_logger(__name__)


def log_extracted(landed: LandedPartition) -> None:
    """Tell of a landed partition."""
    failed = len(landed.manifest.failed_items)
    more = {"failed_items": failed} if failed else {}
    log.info("extracted", records=landed.records, bytes=landed.raw_bytes, **more)


def add_pages(writer: LandingWriter, pages: Iterable[Page]) -> None:
    """Land what a reader gives, one page at a time."""
    for page in pages:
        writer.add(
            page.body,
            page.records,
            request=page.request,
            headers=page.headers,
            resume=page.resume,
            unchanged=page.unchanged,
        )


@dataclass(frozen=True)
class Extraction:
    """Extracts partitions of one stream.

    Args:
        landing: Where answers are kept.
        stream: The stream.
        reader: Reads its source.
        code_version: Version of the stream's file.
        run_id: The run that this happens in.
        now: The clock, for days that can be asked for only for a while.
        progress: Told of every document.
    """

    landing: Landing
    stream: Stream
    reader: Reader
    code_version: str
    run_id: str
    now: Callable[[], datetime]
    progress: ProgressReporter = SILENT

    def land(self, day: date, tally: Tally | None = None) -> LandedPartition:
        """Extract a partition, or give what was landed of it where it cannot be asked for any more.

        The caller has the partition to itself.

        Args:
            day: The partition.
            tally: Told of documents that are not transferred again.

        Raises:
            SourceError: If the day cannot be had.
            LandingError: If it cannot be kept, or cannot be read back.
        """
        if not self._can_be_asked(day):
            return self._replay(day)
        window = self.stream.extract.window_of(day)
        # While a day goes on, records may still come before the place where reading stopped.
        request = self._request(day) if self.now() >= window.end else None
        with LandingWriter(
            self.landing, self.stream.id, day, run_id=self.run_id, window=window, request=request
        ) as writer:
            if isinstance(self.stream.extract, Documents):
                elsewhere = landed_elsewhere(self.landing, self.stream.id, day)
                earlier = EarlierAnswers(writer.older, elsewhere=elsewhere)
                add_documents(writer, self.reader, self.stream, earlier, tally, self.progress)
            else:
                self._read(day, writer)
            landed = writer.finish()
        log_extracted(landed)
        return landed

    def _read(self, day: date, writer: LandingWriter) -> None:
        before = len(writer.pages)
        earlier = EarlierAnswers(writer.older, writer.pages, writer.resume, repeats=writer.repeats)
        try:
            add_pages(writer, self.reader.pages(self.stream.extract, day, earlier))
        except SourceError as error:
            # Sources forget their cursors; what they say of an old one must not stand in the way of the day.
            old_place = earlier.used or (before > 0 and len(writer.pages) == before)
            if not old_place or error.affects_all or error.failure_class is not FailureClass.PERMANENT:
                raise
            log.warning("extraction_started_again", pages=len(writer.pages), reason=error.message)
            writer.start_again()
            add_pages(writer, self.reader.pages(self.stream.extract, day))

    def _request(self, day: date) -> str:
        """Name all that must be the same for a cut-short extraction to be gone on with."""
        extract = self.stream.extract
        parts = (self.reader.address, self.code_version, repr(extract), repr(extract.window_of(day)))
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    def _can_be_asked(self, day: date) -> bool:
        askable = self.stream.extract.askable(day)
        now = self.now()
        if askable is not None and now < askable.start:
            raise SourceError(
                f"{self.stream.source.name} shows only the present: {self.stream.name} of {day} cannot be had yet",
                source=self.stream.source.name,
                hint="run it again on that day",
            )
        return askable is None or now < askable.end

    def _replay(self, day: date) -> LandedPartition:
        landed = self.landing.latest(self.stream.id, day)
        if landed is None:
            raise SourceError(
                f"{self.stream.source.name} shows only the present: {self.stream.name} of {day} cannot be had any more",
                source=self.stream.source.name,
                failure_class=FailureClass.PERMANENT,
                hint="such a day can be loaded while it lasts and shortly after, later only from landing",
            )
        log.info(
            "replayed_from_landing", version=landed.version, requested_at=landed.requested_at.isoformat()
        )
        return landed
