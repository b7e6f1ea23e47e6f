"""Documents on their way through the pipeline: landed one by one, landed again, and read.

What belongs here: what keeps documents that failed from costing the others. What does not: asking for documents
(`etl_assets.sources.documents`) and the account of those that failed (`etl_assets.warehouse.failed_items`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl_assets.failures import EtlError, TransformError
from etl_assets.landing.store import LandedPartition, Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets.observability.progress import ProgressReporter, SilentReporter
from etl_assets.outcomes import FailedItem, Harvest
from etl_assets.pipeline.staged import StagedPartition
from etl_assets.sources.base import FIRST_TIME, Earlier, Reader
from etl_assets.sources.decode import decode
from etl_assets.sources.documents import (
    Document,
    DocumentReader,
    UnreadableDocumentError,
    failed_item,
    read_record,
)
from etl_assets.streams.base import Documents, Extract, Snapshot, Stream

SILENT = SilentReporter()


@dataclass(slots=True)
class Tally:
    """What happened to the documents of a partition on their way to landing, by identifier.

    Attributes:
        unchanged: Those that were not transferred, because the landed ones are still right.
        skipped: Those that were not asked for.
    """

    unchanged: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)


def add_documents(
    writer: LandingWriter,
    reader: Reader,
    stream: Stream,
    earlier: Earlier = FIRST_TIME,
    tally: Tally | None = None,
    progress: ProgressReporter = SILENT,
) -> None:
    """Put the documents of the present into a landed version: those that came, and an account of the others.

    Args:
        writer: Writes the version.
        reader: Reads the opened source.
        stream: The stream.
        earlier: What was landed of them: documents that have not changed are taken from there.
        tally: Told of those.
        progress: Told of every document.

    Raises:
        SourceError: If something is wrong that every document would share.
        ConfigurationError: If the list of identifiers cannot be used.
    """
    extract, asking = _asking(reader, stream)
    identifiers = asking.identifiers(extract)
    work = f"{stream.id} {writer.day} documents"
    progress.start(work, ["extract"], len(identifiers))
    try:
        with closing(asking.documents(extract, enumerate(identifiers), earlier)) as results:
            for result in results:
                _keep(writer, result)
                if isinstance(result, FailedItem):
                    progress.item_failed(work, result.identifier, result.message)
                    continue
                if result.unchanged and tally is not None:
                    tally.unchanged.add(result.identifier)
                progress.item_stage(work, result.identifier, "extract")
                progress.item_done(work, result.identifier)
    finally:
        progress.end(work)


def land_again(
    reader: Reader,
    landing: Landing,
    earlier: LandedPartition,
    stream: Stream,
    run_id: str,
    identifiers: Collection[str],
    tally: Tally | None = None,
) -> LandedPartition:
    """Land a new version of a day, for which some documents alone are asked for again.

    All others are those of the earlier version; so is a document that was there, but cannot be had this time.

    Args:
        reader: Reads the opened source.
        landing: Where to land them.
        earlier: The newest landed version.
        stream: The stream.
        run_id: The run.
        identifiers: Documents to ask for; those that the earlier version does not know are left out.
        tally: Told of the documents that are not asked for.

    Raises:
        SourceError: If something is wrong that every document would share; the earlier version stays.
    """
    extract, asking = _asking(reader, stream)
    places = asked_of(earlier)
    wanted = [(position, name) for position, name in enumerate(places) if name in identifiers]
    if tally is not None:
        tally.skipped |= set(places) - set(identifiers)
    if not wanted:
        return earlier
    with (
        LandingWriter(landing, stream.id, earlier.day, run_id=run_id, window=earlier.window) as writer,
        closing(asking.documents(extract, wanted)) as fresh,
    ):
        for name, part in zip(places, _parts(earlier), strict=True):
            result = next(fresh) if name in identifiers else part
            had_it = isinstance(part, Document)
            _keep(writer, part if had_it and isinstance(result, FailedItem) else result)
        return writer.finish()


def records_of(
    landed: LandedPartition, extract: Extract, note_failed: Callable[[FailedItem], None]
) -> Iterator[list[Any]]:
    """Make records of what was landed, whatever kind of extraction it came by.

    Args:
        landed: The landed partition.
        extract: How it was asked for.
        note_failed: Told of each document that cannot be read.

    Yields:
        Records in order, a bounded number at a time.

    Raises:
        EtlError: If the landed answers are damaged, or, where they are no documents, cannot be read.
    """
    if not isinstance(extract, Documents):
        yield from decode(landed.pages(), extract)
        return
    for part in _parts(landed):
        if isinstance(part, FailedItem):
            continue
        try:
            yield [read_record(extract, part.identifier, part.format, part.body)]
        except UnreadableDocumentError as error:
            # Of the landing's time, so that staging it anew does not count as another attempt.
            at = landed.manifest.finished_at
            note_failed(failed_item(part.identifier, "stage", error, str(error), at, part.position))


def failed_items_of(landed: LandedPartition | None, staged: StagedPartition | None) -> tuple[FailedItem, ...]:
    """Give the documents of a partition that could not be had or read, in order."""
    items = (*(landed.manifest.failed_items if landed else ()), *(staged.failed_items if staged else ()))
    return tuple(sorted(items, key=lambda item: item.position))


def asked_of(landed: LandedPartition | None) -> tuple[str, ...]:
    """Give the identifiers of the documents that were asked for, in order; none for other kinds of extraction."""
    if landed is None:
        return ()
    names = [page.identifier for page in landed.manifest.pages if page.identifier is not None]
    for item in landed.manifest.failed_items:
        names.insert(item.position, item.identifier)
    return tuple(names)


def harvest_of(landed: LandedPartition | None, failed: Sequence[FailedItem], tally: Tally) -> Harvest:
    """Add up what became of the documents of a partition.

    Args:
        landed: What was landed.
        failed: Documents that could not be had or read.
        tally: What happened to the others on their way.
    """
    documents = set(asked_of(landed))
    bad = {item.identifier for item in failed}
    unchanged, skipped = len(tally.unchanged & documents - bad), len(tally.skipped & documents - bad)
    return Harvest(len(documents - bad) - unchanged - skipped, unchanged, skipped, len(bad))


def ensure_known_by_identifier(stream: Stream, staged: StagedPartition, landed: LandedPartition) -> None:
    """Make sure that a snapshot's key is the identifier, by which a document that could not be had is known.

    Raises:
        TransformError: If it is something else: rows of documents that failed would be taken for removed.
    """
    if not (isinstance(stream.extract, Documents) and isinstance(stream.write, Snapshot)):
        return
    (key,) = stream.write.key_columns
    found = pc.unique(pq.read_table(staged.rows, columns=[key])[key]).to_pylist()
    if not {str(value) for value in found} <= {page.identifier for page in landed.manifest.pages}:
        raise TransformError(
            f"{stream.id}: the snapshot's key {key!r} does not hold the identifiers of the documents",
            hint="fill it from the raw field `_identifier`, unchanged",
        )


def _asking(reader: Reader, stream: Stream) -> tuple[Documents, DocumentReader]:
    if not (isinstance(stream.extract, Documents) and isinstance(reader, DocumentReader)):
        raise EtlError(f"{stream.id} has no documents that could be asked for one by one")
    return stream.extract, reader


def _keep(writer: LandingWriter, result: Document | FailedItem) -> None:
    if isinstance(result, FailedItem):
        writer.note_failed(result)
    else:
        writer.add(
            result.body,
            1,
            request=result.request,
            headers=result.headers,
            identifier=result.identifier,
            format=result.format,
        )


def _parts(landed: LandedPartition) -> Iterator[Document | FailedItem]:
    """Give documents and failures of a landed partition in the order in which they were asked for."""
    failed = {item.position: item for item in landed.manifest.failed_items}
    position = 0
    for page, body in zip(landed.manifest.pages, landed.pages(), strict=True):
        while position in failed:
            yield failed[position]
            position += 1
        yield Document(page.identifier or "", page.format or "", body, position, page.request, page.headers)
        position += 1
    while position in failed:
        yield failed[position]
        position += 1
