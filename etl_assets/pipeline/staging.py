"""From landing to staged: landed answers, transformed and split by the contract, a chunk at a time.

Memory stays flat: one chunk is held at a time. What belongs here: filling a staged partition. What does not: its form
and place (`etl_assets.pipeline.staged`), and the rules (`etl_assets.quality`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from etl_assets.failures import EtlError, TransformError, describe_unexpected
from etl_assets.landing.store import LandedPartition
from etl_assets.outcomes import Counts, FailedItem
from etl_assets.pipeline.documents import records_of
from etl_assets.pipeline.pseudonyms import is_personal
from etl_assets.pipeline.staged import (
    MANIFEST_FILE,
    QUARANTINE_FILE,
    QUARANTINE_SCHEMA,
    ROW_COLUMN,
    ROWS_FILE,
    StagedPartition,
    StagedStore,
    hash_of,
)
from etl_assets.quality.children import split_lists
from etl_assets.quality.frame import raw_frame, separate_objects
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.preview import preview
from etl_assets.quality.repeats import SeenValues
from etl_assets.quality.rules import CompiledContract, compile_contract
from etl_assets.quality.split import split_rows
from etl_assets.streams.base import Extract, Stream
from etl_assets.streams.children import CHILDREN_COLUMN

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
) -> StagedPartition:
    """Stage landed answers, or find them staged already.

    Args:
        store: Where staged partitions are.
        stream: The stream.
        day: The partition.
        landed: Its landed answers.
        code_version: Version of the stream's file.
        pseudonymiser: Takes the stream's personal data away before anything is written.

    Raises:
        TransformError: If the stream's transform or a rule fails.
        LandingError: If the landed answers are damaged.
        StorageFullError: If the disk is full.
    """
    contract = compile_contract(stream.contract)
    version = f"{landed.version}-{pseudonymiser.contract_version}-{code_version}"

    def fill(directory: Path) -> None:
        _write(directory, stream, day, landed, contract, pseudonymiser)

    return store.ensure(stream, day, version, fill)


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
        self, directory: Path, contract: CompiledContract, pseudonymiser: Pseudonymiser, *, with_lists: bool
    ) -> None:
        self.contract = contract
        self.pseudonymiser = pseudonymiser
        self.with_lists = with_lists
        lists = [pa.field(CHILDREN_COLUMN, pa.string())] if with_lists else []
        self.schema = pa.schema([*contract.schema, pa.field(ROW_COLUMN, pa.int64()), *lists])
        self.rows_path = directory / ROWS_FILE
        self.quarantine_path = directory / QUARANTINE_FILE
        self.rows = pq.ParquetWriter(self.rows_path, self.schema, compression="zstd", compression_level=1)
        self.quarantine = pq.ParquetWriter(self.quarantine_path, QUARANTINE_SCHEMA, compression="zstd")
        self.violations: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.failed_items: list[FailedItem] = []
        self.seen = SeenValues()
        self.preview = ""
        self.extracted = self.staged = self.quarantined = self.warned = self.chunks = 0

    def write_rows(self, table: pa.Table, rows: np.ndarray[Any, Any], lists: Sequence[str | None]) -> None:
        if table.num_rows or self.chunks == 0:
            whole = table.append_column(self.schema.field(ROW_COLUMN), pa.array(rows, pa.int64()))
            if self.with_lists:
                whole = whole.append_column(self.schema.field(CHILDREN_COLUMN), pa.array(lists, pa.string()))
            self.rows.write_table(whole)
        self.preview = self.preview or preview(table, self.contract.personal_columns)
        self.staged += table.num_rows

    def write_quarantine(self, bad: pa.Table) -> None:
        if bad.num_rows:
            self.quarantine.write_table(bad)
        self.quarantined += bad.num_rows

    def close(self) -> None:
        self.rows.close()
        self.quarantine.close()

    def counts(self) -> Counts:
        return Counts(
            extracted=self.extracted, staged=self.staged, quarantined=self.quarantined, warned=self.warned
        )


def _write(
    directory: Path,
    stream: Stream,
    day: date,
    landed: LandedPartition,
    contract: CompiledContract,
    pseudonymiser: Pseudonymiser,
) -> None:
    staging = _Staging(directory, contract, pseudonymiser, with_lists=bool(stream.children))
    try:
        for chunk in _chunks(landed, stream.extract, staging.failed_items.append):
            _write_chunk(staging, stream, day, chunk)
            staging.chunks += 1
    finally:
        staging.close()
    files = (staging.rows_path, staging.quarantine_path)
    manifest = {
        "counts": asdict(staging.counts()),
        "violations": dict(sorted(staging.violations.items())),
        "warnings": dict(sorted(staging.warnings.items())),
        "content_hash": hash_of(*files),
        "preview": staging.preview,
        "failed_items": staging.failed_items,
    }
    (directory / MANIFEST_FILE).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def _write_chunk(staging: _Staging, stream: Stream, day: date, chunk: _Chunk) -> None:
    objects, positions, others = separate_objects(chunk.records)
    raw = raw_frame(objects, staging.contract.raw_fields)
    window = stream.extract.window_of(day)
    personal = is_personal(stream)
    cleaned = _guarded(stream, lambda: stream.transform(raw), personal=personal)
    lists = _guarded(
        stream,
        lambda: split_lists(stream.children, objects, staging.pseudonymiser.lists, window),
        personal=personal,
    )
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
    # Rules and repeats were judged in clear; from here on nothing is.
    pseudonymiser = staging.pseudonymiser
    kept = [lists.texts[position] for position in split.good_positions]
    staging.write_rows(pseudonymiser.rows(split.good), row_numbers[split.good_positions], kept)
    bad_positions = split.bad.column("position").to_numpy()
    payloads = [_payload(pseudonymiser.payload(objects[position])) for position in bad_positions]
    staging.write_quarantine(
        _quarantine_table(
            row_numbers[bad_positions], split.bad["rule_list"], split.bad["reason_list"], payloads
        )
    )
    if others:
        rules, reasons = (
            [["record.object"]] * len(others),
            [["the record is not a JSON object"]] * len(others),
        )
        payloads = [_payload(pseudonymiser.payload(chunk.records[position])) for position in others]
        staging.write_quarantine(
            _quarantine_table(np.asarray(others, dtype=np.int64) + chunk.first_row, rules, reasons, payloads)
        )
        staging.violations["record.object"] += len(others)
    staging.violations.update(split.violations)
    staging.warnings.update(split.warnings)
    staging.warned += split.warned
    staging.extracted += len(chunk.records)


def _guarded(stream: Stream, make: Callable[[], Made], *, personal: bool) -> Made:
    try:
        return make()
    except EtlError:
        raise
    except Exception as error:
        reason = describe_unexpected(error, may_tell_data=personal)
        raise TransformError(f"{stream.id}: the transform failed: {reason}") from error


def _quarantine_table(row_numbers: Any, rules: Any, reasons: Any, payloads: list[str]) -> pa.Table:
    columns = [row_numbers, rules, reasons, payloads]
    arrays = [
        column.cast(kind) if isinstance(column, pa.ChunkedArray) else pa.array(column, kind)
        for column, kind in zip(columns, QUARANTINE_SCHEMA.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=QUARANTINE_SCHEMA)


def _payload(record: Any) -> str:
    try:
        return orjson.dumps(record).decode()
    except (TypeError, ValueError):
        pass
    try:
        # Integers beyond 64 bits and lone surrogates, which orjson does not write.
        return json.dumps(record)
    except RecursionError:
        return '"nested too deeply to be kept here; see the landed answer"'
