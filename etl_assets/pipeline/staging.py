"""From landing to staged: landed answers, transformed and split by the contract, a chunk at a time.

Memory stays flat: one chunk is held at a time. What belongs here: filling a staged partition. What does not: its form
and place (`etl_assets.pipeline.staged`), and the rules (`etl_assets.quality`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from etl_assets.failures import EtlError, TransformError, describe_unexpected
from etl_assets.landing.checked import to_checked_json
from etl_assets.landing.store import LandedPartition
from etl_assets.outcomes import Counts, FailedItem
from etl_assets.pipeline.decided import DecidedRow, DecidedRows
from etl_assets.pipeline.documents import records_of
from etl_assets.pipeline.parquet_file import ParquetFile
from etl_assets.pipeline.pseudonyms import is_personal
from etl_assets.pipeline.staged import (
    DECIDED_FILE,
    MANIFEST_FILE,
    QUARANTINE_FILE,
    QUARANTINE_SCHEMA,
    ROW_COLUMN,
    ROWS_FILE,
    StagedPartition,
    StagedStore,
    hash_of,
    payload_text,
    quarantine_table,
)
from etl_assets.quality.audits.statistics import Statistics, measure, measure_in_memory
from etl_assets.quality.children import Lists, split_lists
from etl_assets.quality.frame import raw_frame, separate_objects
from etl_assets.quality.observed import EVOLVED_TYPE, FieldWatch
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.preview import preview
from etl_assets.quality.repeats import SeenValues
from etl_assets.quality.rules import CompiledContract, compile_contract
from etl_assets.quality.split import Split, split_rows
from etl_assets.streams.base import Extract, Stream, Window
from etl_assets.streams.children import CHILDREN_COLUMN
from etl_assets.streams.observed import EVOLVED_COLUMN
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


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Records on their way, with the position of the first one in the extraction."""

    records: list[Any]
    first_row: int


def _chunks(
    landed: LandedPartition, extract: Extract, note_failed: Callable[[FailedItem], None]
) -> Iterator[_Chunk]:
    """Read landed pages and hand them on in chunks of about `CHUNK_ROWS` records; an empty partition is one chunk."""
    waiting: list[Any] = []
    first_row = 0
    for records in records_of(landed, extract, note_failed):
        waiting.extend(records)
        while len(waiting) >= CHUNK_ROWS:
            yield _Chunk(waiting[:CHUNK_ROWS], first_row)
            first_row += CHUNK_ROWS
            waiting = waiting[CHUNK_ROWS:]
    if waiting or first_row == 0:
        yield _Chunk(waiting, first_row)


class _Staging:
    """The files of one partition while they are written."""

    def __init__(
        self,
        directory: Path,
        stream: Stream,
        contract: CompiledContract,
        pseudonymiser: Pseudonymiser,
        decided: DecidedRows | None,
    ) -> None:
        self.directory = directory
        self.contract = contract
        self.pseudonymiser = pseudonymiser
        self.decided = decided
        self.fields = FieldWatch(stream, pseudonymiser)
        self.schema = contract.schema.append(pa.field(ROW_COLUMN, pa.int64()))
        if stream.children:
            self.schema = self.schema.append(pa.field(CHILDREN_COLUMN, pa.string()))
        if self.fields.evolves:
            self.schema = self.schema.append(pa.field(EVOLVED_COLUMN, EVOLVED_TYPE))
        self.rows = ParquetFile(directory / ROWS_FILE, self.schema)
        self.quarantine = ParquetFile(directory / QUARANTINE_FILE, QUARANTINE_SCHEMA)
        self.violations: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.failed_items: list[FailedItem] = []
        self.seen = SeenValues()
        self.preview = ""
        self.written = 0
        self.whole: pa.Table | None = None
        """All good rows, as long as they were written at once."""
        self.extracted = self.staged = self.quarantined = self.warned = 0

    def write_rows(
        self,
        table: pa.Table,
        rows: np.ndarray[Any, Any],
        lists: Sequence[str | None] | None,
        evolved: pa.Array | None,
    ) -> None:
        written = table.append_column(self.schema.field(ROW_COLUMN), pa.array(rows, pa.int64()))
        if lists is not None:
            written = written.append_column(self.schema.field(CHILDREN_COLUMN), pa.array(lists, pa.string()))
        if evolved is not None:
            written = written.append_column(self.schema.field(EVOLVED_COLUMN), evolved)
        self.rows.write(written)
        self.written += 1
        self.whole = table if self.written == 1 else None
        self.preview = self.preview or preview(table, self.contract.personal_columns)
        self.staged += table.num_rows

    def write_quarantine(self, bad: pa.Table) -> None:
        self.quarantine.write(bad)
        self.quarantined += bad.num_rows

    def claim_decided(
        self, bad: pa.Table, split: Split, records: Sequence[dict[str, Any]], positions: np.ndarray[Any, Any]
    ) -> pa.Table:
        """Set the bad rows aside that somebody decided on; gives the others."""
        if self.decided is None:
            return bad
        keep = np.ones(bad.num_rows, dtype=bool)
        for place, row in enumerate(bad.to_pylist()):
            decision = self.decided.decision_on(row["row_number"], row["raw_payload"])
            if decision is None:
                continue
            keep[place], position = False, positions[place]
            warnings = split.warnings_of(position)
            self.count_warnings(warnings, -1)
            record, payload = records[position], row.pop("raw_payload")
            self.decided.rows.append(
                DecidedRow(record=record, payload=payload, warnings=warnings, decision=decision, **row)
            )
        return bad.filter(pa.array(keep))

    def count_warnings(self, rules: Sequence[str], number: int) -> None:
        """Count a row that broke warning rules, or take it back."""
        self.warnings.update(dict.fromkeys(rules, number))
        self.warned += number if rules else 0

    def close(self) -> None:
        try:
            self.rows.close()
        finally:
            self.quarantine.close()

    def counts(self) -> Counts:
        return Counts(
            extracted=self.extracted, staged=self.staged, quarantined=self.quarantined, warned=self.warned
        )


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
    staging = _Staging(directory, stream, compile_contract(stream.contract), pseudonymiser, decided)
    decided_rows = 0
    try:
        for chunk in _chunks(landed, stream.extract, staging.failed_items.append):
            _write_chunk(staging, stream, day, chunk)
        if staging.decided is not None:
            _write_decided(staging, stream, day, staging.decided)
            decided_rows = staging.decided.write(staging.directory / DECIDED_FILE)
    finally:
        staging.close()
    files = [staging.rows.path, staging.quarantine.path]
    if decided_rows:
        files.append(staging.directory / DECIDED_FILE)
    manifest = {
        "counts": asdict(staging.counts()),
        "violations": dict(sorted((+staging.violations).items())),
        "warnings": dict(sorted((+staging.warnings).items())),
        "content_hash": hash_of(*files),
        "preview": staging.preview,
        "failed_items": staging.failed_items,
        "decided_rows": decided_rows,
        "fields": staging.fields.result().as_json(),
        "statistics": _measured(staging, stream).as_json(),
    }
    (directory / MANIFEST_FILE).write_bytes(to_checked_json(manifest))


def _measured(staging: _Staging, stream: Stream) -> Statistics:
    whole = staging.whole
    found = measure_in_memory(whole, stream.audits, stream.business_date) if whole is not None else None
    return found or measure(staging.rows.path, stream.audits, staging.staged, stream.business_date)


def _write_chunk(staging: _Staging, stream: Stream, day: date, chunk: _Chunk) -> None:
    objects, positions, others = separate_objects(chunk.records)
    raw = raw_frame(objects, staging.contract.raw_fields)
    window = stream.extract.window_of(day)
    cleaned = _guarded(stream, lambda: stream.transform(raw), personal=is_personal(stream))
    lists = _lists_of(staging, stream, window, objects)
    split = split_rows(
        staging.contract,
        raw,
        cleaned,
        window=window,
        window_column=stream.window_column,
        seen=staging.seen,
        further=lists.broken,
    )
    row_numbers = np.asarray(positions, dtype=np.int64) + chunk.first_row
    evolved = staging.fields.look(raw, objects, split.good_positions, row_numbers)
    # Rules and repeats were judged in clear; from here on nothing is.
    pseudonymiser = staging.pseudonymiser
    good = split.good_positions
    staging.write_rows(pseudonymiser.rows(split.good), row_numbers[good], lists.of(good), evolved)
    bad_positions = split.bad.column("position").to_numpy()
    payloads = [payload_text(pseudonymiser.payload(objects[position])) for position in bad_positions]
    bad = quarantine_table(
        row_numbers[bad_positions], split.bad["rule_list"], split.bad["reason_list"], payloads
    )
    staging.write_quarantine(staging.claim_decided(bad, split, objects, bad_positions))
    if others:
        rules, reasons = (
            [["record.object"]] * len(others),
            [["the record is not a JSON object"]] * len(others),
        )
        payloads = [payload_text(pseudonymiser.payload(chunk.records[position])) for position in others]
        staging.write_quarantine(
            quarantine_table(np.asarray(others, dtype=np.int64) + chunk.first_row, rules, reasons, payloads)
        )
        staging.violations["record.object"] += len(others)
    staging.violations.update(split.violations)
    staging.warnings.update(split.warnings)
    staging.warned += split.warned
    staging.extracted += len(chunk.records)


def _write_decided(staging: _Staging, stream: Stream, day: date, decided: DecidedRows) -> None:
    personal, window = is_personal(stream), stream.extract.window_of(day)
    for judgement in decided.judge(
        staging.contract,
        lambda raw: _guarded(stream, lambda: stream.transform(raw), personal=personal),
        lambda records, waived: _lists_of(staging, stream, window, records, waived),
        window=window,
        window_column=stream.window_column,
        seen=staging.seen,
        chunk_rows=CHUNK_ROWS,
    ):
        loaded, refused, split = judgement.loaded, judgement.refused, judgement.split
        rows = np.array([row.row_number for row in loaded], dtype=np.int64)
        evolved = staging.fields.look_again([row.decided for row in loaded])
        good = staging.pseudonymiser.rows(split.good)
        staging.write_rows(good, rows, judgement.lists.of(split.good_positions), evolved)
        staging.violations.subtract(rule for row in loaded for rule in row.rules)
        for position in split.good_positions:
            staging.count_warnings(split.warnings_of(position), 1)
        for row in refused:
            staging.count_warnings(row.warnings, 1)
        staging.write_quarantine(
            quarantine_table(
                [row.row_number for row in refused],
                [row.rules for row in refused],
                [row.reasons for row in refused],
                [row.payload for row in refused],
            )
        )


def _lists_of(
    staging: _Staging,
    stream: Stream,
    window: Window,
    records: Sequence[dict[str, Any]],
    waived: Sequence[Collection[str]] = (),
) -> Lists:
    pseudonymisers = staging.pseudonymiser.lists
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
