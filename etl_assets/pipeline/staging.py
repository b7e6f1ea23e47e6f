"""From landing to staged: landed answers, transformed and split by the contract, a chunk at a time.

Memory stays flat: one chunk is held at a time. What belongs here: filling a staged partition. What does not: its form
and place (`etl_assets.pipeline.staged`), and the rules (`etl_assets.quality`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from etl_assets.failures import EtlError, TransformError, describe_unexpected
from etl_assets.landing.store import LandedPartition
from etl_assets.outcomes import FailedItem
from etl_assets.pipeline.decided import DecidedRows
from etl_assets.pipeline.documents import records_of
from etl_assets.pipeline.pseudonyms import is_personal
from etl_assets.pipeline.staged import (
    DECIDED_FILE,
    StagedPartition,
    StagedStore,
    quarantine_table,
)
from etl_assets.pipeline.staging_files import Chunk, StagingFiles
from etl_assets.quality.children import Lists, split_lists
from etl_assets.quality.frame import field_names, raw_frame
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.rules import compile_contract
from etl_assets.quality.split import split_days, split_rows
from etl_assets.streams.base import Extract, Rest, Stream, Window
from etl_assets.streams.schema_policy import schema_policy_version
from etl_assets.warehouse.decisions import Decision, decisions_version

FillStaged = Callable[[Path, Stream, date, LandedPartition, Pseudonymiser, Sequence[Decision]], None]
"""As `fill_staged`, here or in another process."""

Made = TypeVar("Made")

CHUNK_ROWS = 20_000
"""Rows that are held in memory at once; pandas' cost per call is spread well enough from a few thousand on."""


def stage_partition(
    store: StagedStore,
    stream: Stream,
    day: date,
    landed: LandedPartition,
    code_version: str,
    pseudonymiser: Pseudonymiser,
    decisions: Sequence[Decision] = (),
    fill: FillStaged | None = None,
) -> StagedPartition:
    """Stage landed answers, or find them staged already.

    Args:
        store: Where staged partitions are.
        stream: The stream.
        day: The partition.
        landed: Its landed answers.
        code_version: Version of the stream's file.
        pseudonymiser: Takes the stream's personal data away before anything is written.
        decisions: What people decided on bad rows of the partition.
        fill: Writes the files, here or in another process; `fill_staged` unless another is given.

    Raises:
        TransformError: If the stream's transform or a rule fails.
        LandingError: If the landed answers are damaged.
        StorageFullError: If the disk is full.
    """
    version = f"{landed.version}-{staged_by(stream, code_version, pseudonymiser)}"
    if decisions:
        version += f"-{decisions_version(decisions)}"

    def write(directory: Path) -> None:
        (fill or fill_staged)(directory, stream, day, landed, pseudonymiser, decisions)

    return store.ensure(stream, day, version, write)


def staged_by(stream: Stream, code_version: str, pseudonymiser: Pseudonymiser) -> str:
    """Name all that a staged partition depends on beside its landed answers and decisions."""
    return f"{pseudonymiser.contract_version}-{code_version}{schema_policy_version(stream)}"


def _chunks(
    landed: LandedPartition, extract: Extract, note_failed: Callable[[FailedItem], None]
) -> Iterator[Chunk]:
    """Read landed pages and hand them on in chunks of about `CHUNK_ROWS` records; an empty partition is one chunk."""
    waiting: list[Any] = []
    first_row = 0
    for records in records_of(landed, extract, note_failed):
        waiting.extend(records)
        while len(waiting) >= CHUNK_ROWS:
            yield Chunk.of(waiting[:CHUNK_ROWS], first_row)
            first_row += CHUNK_ROWS
            waiting = waiting[CHUNK_ROWS:]
    if waiting or first_row == 0:
        yield Chunk.of(waiting, first_row)


def fill_staged(
    directory: Path,
    stream: Stream,
    day: date,
    landed: LandedPartition,
    pseudonymiser: Pseudonymiser,
    decisions: Sequence[Decision] = (),
) -> None:
    """Write the files of a staged partition.

    Args:
        directory: Where to; it exists and is empty.
        stream: The stream.
        day: The partition.
        landed: Its landed answers.
        pseudonymiser: Takes the stream's personal data away before anything is written.
        decisions: What people decided on bad rows of the partition.

    Raises:
        TransformError: If the stream's transform or a rule fails.
        LandingError: If the landed answers are damaged.
    """
    decided = DecidedRows(decisions, landed.version) if decisions else None
    files = StagingFiles(directory, stream, pseudonymiser, decided)
    decided_rows = 0
    try:
        for chunk in _chunks(landed, stream.extract, files.failed_items.append):
            _write_chunk(files, day, chunk)
        if decided is not None:
            _write_decided(files, day, decided)
            decided_rows = decided.write(directory / DECIDED_FILE)
    finally:
        files.close()
    files.finish(decided_rows)


@dataclass(frozen=True, slots=True)
class StagingJob:
    """One partition to stage.

    Attributes:
        directory: Where to; it exists and is empty.
        day: The partition.
        landed: Its landed answers.
        decisions: What people decided on bad rows of the partition.
    """

    directory: Path
    day: date
    landed: LandedPartition
    decisions: tuple[Decision, ...] = ()

    @property
    def is_small(self) -> bool:
        """Whether it may be staged together with others."""
        return not self.decisions and self.landed.records <= CHUNK_ROWS


def may_be_together(stream: Stream) -> bool:
    """Whether small days of a stream may be staged together."""
    # Of other extractions landing does not know how many rows there are.
    return stream.row_by_row and not stream.children and isinstance(stream.extract, Rest)


def fill_staged_together(
    stream: Stream, jobs: Sequence[StagingJob], pseudonymiser: Pseudonymiser
) -> list[EtlError | OSError | None]:
    """Write the files of several staged partitions; one that cannot be staged costs no other.

    Small days of a stream whose rows are looked at one by one are made into frames, transformed and split together:
    for a thousand rows that takes less time than pandas takes to begin with each of them.

    Returns:
        For each what failed, if anything did.
    """
    together = [job for job in jobs if job.is_small] if may_be_together(stream) else []
    filled: list[StagingJob] = []
    if len(together) > 1:
        # If that fails, whose fault it is shows when each is staged by itself.
        with suppress(EtlError, OSError):
            _fill_together(stream, together, pseudonymiser)
            filled = together
    return [None if job in filled else _tried(stream, job, pseudonymiser) for job in jobs]


def _tried(stream: Stream, job: StagingJob, pseudonymiser: Pseudonymiser) -> EtlError | OSError | None:
    try:
        fill_staged(job.directory, stream, job.day, job.landed, pseudonymiser, job.decisions)
    except (EtlError, OSError) as error:
        return error
    return None


def _fill_together(stream: Stream, jobs: Sequence[StagingJob], pseudonymiser: Pseudonymiser) -> None:
    filled = []
    with ExitStack() as closing:
        alike: dict[tuple[str, ...], list[tuple[StagingFiles, Window, Chunk]]] = {}
        for job in jobs:
            files = StagingFiles(job.directory, stream, pseudonymiser)
            closing.callback(files.close)
            filled.append(files)
            window = stream.extract.window_of(job.day)
            # Days with other fields would see columns that they do not have.
            for chunk in _chunks(job.landed, stream.extract, files.failed_items.append):
                alike.setdefault(field_names(chunk.objects), []).append((files, window, chunk))
        for parts in alike.values():
            _write_together(stream, parts)
    for files in filled:
        files.finish()


def _write_together(stream: Stream, parts: Sequence[tuple[StagingFiles, Window, Chunk]]) -> None:
    contract = compile_contract(stream.contract)
    ends = accumulate(len(chunk.objects) for _, _, chunk in parts)
    days = [
        (slice(end - len(chunk.objects), end), window)
        for end, (_, window, chunk) in zip(ends, parts, strict=True)
    ]
    raw = raw_frame([record for _, _, chunk in parts for record in chunk.objects], contract.raw_fields)
    cleaned = _guarded(stream, lambda: stream.transform(raw), personal=is_personal(stream))
    splits = split_days(contract, raw, cleaned, days, window_column=stream.window_column)
    for (files, _, chunk), (rows, _), split in zip(parts, days, splits, strict=True):
        files.write_split(chunk, raw.iloc[rows], split)


def _write_chunk(files: StagingFiles, day: date, chunk: Chunk) -> None:
    stream = files.stream
    raw = raw_frame(chunk.objects, files.contract.raw_fields)
    window = stream.extract.window_of(day)
    cleaned = _guarded(stream, lambda: stream.transform(raw), personal=is_personal(stream))
    lists = _lists_of(files, window, chunk.objects)
    split = split_rows(
        files.contract,
        raw,
        cleaned,
        window=window,
        window_column=stream.window_column,
        seen=files.seen,
        further=lists.broken,
    )
    files.write_split(chunk, raw, split, lists)


def _write_decided(files: StagingFiles, day: date, decided: DecidedRows) -> None:
    stream = files.stream
    personal, window = is_personal(stream), stream.extract.window_of(day)
    for judgement in decided.judge(
        files.contract,
        lambda raw: _guarded(stream, lambda: stream.transform(raw), personal=personal),
        lambda records, waived: _lists_of(files, window, records, waived),
        window=window,
        window_column=stream.window_column,
        seen=files.seen,
        chunk_rows=CHUNK_ROWS,
    ):
        loaded, refused, split = judgement.loaded, judgement.refused, judgement.split
        rows = np.array([row.row_number for row in loaded], dtype=np.int64)
        evolved = files.fields.look_again([row.decided for row in loaded])
        good = files.pseudonymiser.rows(split.good)
        files.write_rows(good, rows, judgement.lists.of(split.good_positions), evolved)
        files.violations.subtract(rule for row in loaded for rule in row.rules)
        for position in split.good_positions:
            files.count_warnings(split.warnings_of(position), 1)
        for row in refused:
            files.count_warnings(row.warnings, 1)
        files.write_quarantine(
            quarantine_table(
                [row.row_number for row in refused],
                [row.rules for row in refused],
                [row.reasons for row in refused],
                [row.payload for row in refused],
            )
        )


def _lists_of(
    files: StagingFiles,
    window: Window,
    records: Sequence[dict[str, Any]],
    waived: Sequence[Collection[str]] = (),
) -> Lists:
    stream, pseudonymisers = files.stream, files.pseudonymiser.lists
    return _guarded(
        stream,
        lambda: split_lists(stream.children, records, pseudonymisers, window, waived),
        personal=is_personal(stream),
    )


def _guarded(stream: Stream, make: Callable[[], Made], *, personal: bool) -> Made:
    try:
        return make()
    except EtlError:
        raise
    except Exception as error:
        reason = describe_unexpected(error, may_tell_data=personal)
        raise TransformError(f"{stream.id}: the transform failed: {reason}") from error
