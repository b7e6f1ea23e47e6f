"""Staged partitions: cleaned rows as Parquet, audited but not yet visible to anyone.

A staged partition is a folder with `rows.parquet` (good rows), `quarantine.parquet` (bad rows with their raw payload)
and `manifest.json`; where people decided on bad rows, also `decided.parquet`. Its name is made from all that it depends
on (landed answers, contract, code, decisions), so that the same input is never staged twice and never mistaken for
another.

What belongs here: the form of a staged partition, finding it and making it last. What does not: filling it
(`etl_assets.pipeline.staging`) and judging it (`etl_assets.quality.verdict`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from etl_assets.failures import EtlError
from etl_assets.landing.checked import from_checked_json
from etl_assets.landing.files import atomic_directory, raise_if_full
from etl_assets.outcomes import Counts, FailedItem
from etl_assets.quality.audits.statistics import Statistics
from etl_assets.streams.base import Stream
from etl_assets.streams.observed import ObservedFields

ROW_COLUMN = "_row"
ROWS_FILE = "rows.parquet"
QUARANTINE_FILE = "quarantine.parquet"
DECIDED_FILE = "decided.parquet"
MANIFEST_FILE = "manifest.json"

QUARANTINE_SCHEMA = pa.schema(
    [
        ("row_number", pa.int64()),
        ("rules", pa.list_(pa.string())),
        ("reasons", pa.list_(pa.string())),
        ("raw_payload", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class StagedPartition:
    """A staged partition and what is known of it.

    Attributes:
        directory: Its folder.
        counts: Extracted, staged, quarantined and warned are filled.
        violations: Quarantined rows per rule.
        warnings: Warned rows per rule.
        content_hash: SHA-256 over the files; equal input gives equal hashes.
        preview: First good rows as a Markdown table, personal data masked; empty when there are none.
        failed_items: Landed documents that could not be read, in order.
        fields: What the records have beside the contract, and lack of it.
        decided_rows: Rows that people decided on.
        statistics: What audits want to know of the good rows.
    """

    directory: Path
    counts: Counts
    violations: dict[str, int]
    warnings: dict[str, int]
    content_hash: str
    preview: str
    failed_items: tuple[FailedItem, ...] = ()
    fields: ObservedFields = field(default_factory=ObservedFields)
    decided_rows: int = 0
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def decided(self) -> Path | None:
        """Parquet file of the rows that people decided on (see `etl_assets.pipeline.decided`), if there are any."""
        return self.directory / DECIDED_FILE if self.decided_rows else None

    @property
    def files(self) -> tuple[Path, ...]:
        """All that the content consists of."""
        return (self.rows, self.quarantine, *([self.decided] if self.decided else []))

    @property
    def rows(self) -> Path:
        """Parquet file of the good rows: the contract's columns and `_row`, the position in the extraction.

        Where the stream evolves, `_evolved` has the values of new columns.
        """
        return self.directory / ROWS_FILE

    @property
    def quarantine(self) -> Path:
        """Parquet file of the quarantined rows, as `QUARANTINE_SCHEMA`."""
        return self.directory / QUARANTINE_FILE


class StagedStore:
    """All staged partitions below one folder.

    Args:
        root: The folder; made when first needed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def partition_dir(self, stream: Stream, day: date) -> Path:
        """Folder of one partition, whatever its version."""
        return self.root / stream.source.name / stream.name / day.isoformat()

    def ensure(
        self, stream: Stream, day: date, version: str, fill: Callable[[Path], None]
    ) -> StagedPartition:
        """Find a staged partition, or make it.

        Args:
            stream: The stream.
            day: The partition.
            version: Made from all that the content depends on.
            fill: Writes the three files into the folder that it is given.

        Raises:
            StorageFullError: If the disk is full.
            EtlError: If nothing can be written there.
        """
        target = self.partition_dir(stream, day) / version
        found = _load(target)
        if found is None:
            try:
                # What is damaged counts as absent (see `_load`), so that flushing would save nothing but time.
                with atomic_directory(target, replace=True, durable=False) as temporary:
                    fill(temporary)
            except OSError as error:
                raise cannot_be_written(stream, day, error) from error
            found = _load(target)
            if found is None:
                raise EtlError(f"{stream.id} {day}: the staged files vanished while they were written")
        self._forget_others(target)
        return found

    def has_any(self, stream: Stream, day: date, made_by: str) -> bool:
        """Tell at a glance whether a partition was staged, of whichever landed answers.

        Args:
            stream: The stream.
            day: The partition.
            made_by: All that its content depends on beside the answers.
        """
        try:
            versions = os.listdir(self.partition_dir(stream, day))
        except OSError:
            return False
        return any(made_by in version for version in versions)

    def _forget_others(self, keep: Path) -> None:
        """Remove older versions: whatever they held can be made again from landing."""
        for other in keep.parent.iterdir():
            if other != keep and other.is_dir():
                shutil.rmtree(other, ignore_errors=True)


def cannot_be_written(stream: Stream, day: date, error: OSError) -> EtlError:
    """Say why a partition cannot be staged.

    Raises:
        StorageFullError: If the disk is full.
    """
    what = f"staged rows of {stream.id} {day}"
    raise_if_full(error, what)
    return EtlError(
        f"{what} cannot be written: {error.strerror or type(error).__name__}",
        hint="check ETL_DATA_DIR and its permissions",
    )


class KeepingStore(StagedStore):
    """Staged partitions of which several versions are kept, and which are taken from another store where that has them.

    Args:
        root: The folder; made when first needed.
        lender: The other store. What it gives is linked, so that it may forget it at any time.
    """

    def __init__(self, root: Path, lender: StagedStore) -> None:
        super().__init__(root)
        self._lender = lender

    def ensure(
        self, stream: Stream, day: date, version: str, fill: Callable[[Path], None]
    ) -> StagedPartition:
        """See `StagedStore`."""
        lent = self._lender.partition_dir(stream, day) / version

        def borrow(directory: Path) -> None:
            if not _borrow(lent, directory):
                fill(directory)

        return super().ensure(stream, day, version, borrow)

    def _forget_others(self, keep: Path) -> None:
        """Keep them: the next step needs several versions of a partition."""


def _borrow(lent: Path, directory: Path) -> bool:
    """Link the files of a staged partition into a folder; tells whether they are all there, and intact."""
    found = _load(lent)
    if found is None:
        return False
    try:
        for file in (*found.files, lent / MANIFEST_FILE):
            os.link(file, directory / file.name)
    except OSError:  # forgotten at this moment, or links are not to be had here
        for file in directory.iterdir():
            file.unlink()
        return False
    return True


def _load(directory: Path) -> StagedPartition | None:
    """Read a staged partition; a damaged one counts as absent, because it can be made again."""
    try:
        manifest = from_checked_json((directory / MANIFEST_FILE).read_bytes())
        staged = StagedPartition(
            directory=directory,
            counts=Counts(**manifest["counts"]),
            violations=dict(manifest["violations"]),
            warnings=dict(manifest["warnings"]),
            content_hash=manifest["content_hash"],
            preview=manifest["preview"],
            failed_items=tuple(FailedItem.from_json(item) for item in manifest.get("failed_items", ())),
            fields=ObservedFields.from_json(manifest["fields"]),
            decided_rows=manifest.get("decided_rows", 0),
            statistics=Statistics.from_json(manifest["statistics"]),
        )
        intact = hash_of(*staged.files) == staged.content_hash
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return staged if intact else None


def hash_of(*paths: Path) -> str:
    """Give the SHA-256 over files, each by its own digest."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def quarantine_table(row_numbers: Any, rules: Any, reasons: Any, payloads: list[str]) -> pa.Table:
    """Give bad rows as `QUARANTINE_SCHEMA`, a column each."""
    columns = [row_numbers, rules, reasons, payloads]
    arrays = [
        column.cast(kind) if isinstance(column, pa.ChunkedArray) else pa.array(column, kind)
        for column, kind in zip(columns, QUARANTINE_SCHEMA.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=QUARANTINE_SCHEMA)


def payload_text(record: Any) -> str:
    """Write a raw record as the quarantine keeps it, as JSON."""
    try:
        return orjson.dumps(record).decode()
    except (TypeError, ValueError):
        pass
    try:
        # Integers beyond 64 bits and lone surrogates, which orjson does not write.
        return json.dumps(record)
    except RecursionError:
        return '"nested too deeply to be kept here; see the landed answer"'
