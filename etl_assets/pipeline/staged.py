"""Staged partitions: cleaned rows as Parquet, audited but not yet visible to anyone.

A staged partition is a folder with `rows.parquet` (good rows), `quarantine.parquet` (bad rows with their raw payload)
and `manifest.json`. Its name is made from all that it depends on (landed answers, contract, code), so that the same
input is never staged twice and never mistaken for another.

What belongs here: the form of a staged partition, finding it and making it last. What does not: filling it
(`etl_assets.pipeline.staging`) and judging it (`etl_assets.quality.verdict`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa

from etl_assets.failures import EtlError
from etl_assets.landing.files import atomic_directory
from etl_assets.outcomes import Counts, FailedItem
from etl_assets.quality.audits.statistics import Statistics
from etl_assets.streams.base import Stream

ROW_COLUMN = "_row"
ROWS_FILE = "rows.parquet"
QUARANTINE_FILE = "quarantine.parquet"
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
        content_hash: SHA-256 over both files; equal input gives equal hashes.
        preview: First good rows as a Markdown table, personal data masked; empty when there are none.
        failed_items: Landed documents that could not be read, in order.
        statistics: What audits want to know of the good rows.
    """

    directory: Path
    counts: Counts
    violations: dict[str, int]
    warnings: dict[str, int]
    content_hash: str
    preview: str
    failed_items: tuple[FailedItem, ...] = ()
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def rows(self) -> Path:
        """Parquet file of the good rows: the contract's columns and `_row`, the position in the extraction."""
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
        """
        target = self.partition_dir(stream, day) / version
        found = _load(target)
        if found is None:
            with atomic_directory(target, replace=True) as temporary:
                fill(temporary)
            found = _load(target)
            if found is None:
                raise EtlError(f"{stream.id} {day}: the staged files vanished while they were written")
        self._forget_others(target)
        return found

    def _forget_others(self, keep: Path) -> None:
        """Remove older versions: whatever they held can be made again from landing."""
        for other in keep.parent.iterdir():
            if other != keep and other.is_dir():
                shutil.rmtree(other, ignore_errors=True)


def _load(directory: Path) -> StagedPartition | None:
    """Read a staged partition; a damaged one counts as absent, because it can be made again."""
    try:
        manifest = json.loads((directory / MANIFEST_FILE).read_bytes())
        staged = StagedPartition(
            directory=directory,
            counts=Counts(**manifest["counts"]),
            violations=dict(manifest["violations"]),
            warnings=dict(manifest["warnings"]),
            content_hash=manifest["content_hash"],
            preview=manifest["preview"],
            failed_items=tuple(FailedItem.from_json(item) for item in manifest.get("failed_items", ())),
            statistics=Statistics.from_json(manifest["statistics"]),
        )
        intact = hash_of(staged.rows, staged.quarantine) == staged.content_hash
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
