"""The files of one staged partition while they are written: its rows, good and bad, and what is known of them.

What belongs here: writing chunks that were split already, and the counts. What does not: reading, transforming and
splitting them (`etl_assets.pipeline.staging`), and finding staged partitions again (`etl_assets.pipeline.staged`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from etl_assets.landing.checked import to_checked_json
from etl_assets.outcomes import Counts, FailedItem
from etl_assets.pipeline.decided import DecidedRow, DecidedRows
from etl_assets.pipeline.parquet_file import ParquetFile
from etl_assets.pipeline.staged import (
    DECIDED_FILE,
    MANIFEST_FILE,
    QUARANTINE_FILE,
    QUARANTINE_SCHEMA,
    ROW_COLUMN,
    ROWS_FILE,
    hash_of,
    payload_text,
    quarantine_table,
)
from etl_assets.quality.audits.statistics import Statistics, measure, measure_in_memory
from etl_assets.quality.children import Lists
from etl_assets.quality.frame import separate_objects
from etl_assets.quality.observed import EVOLVED_TYPE, FieldWatch
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.preview import preview
from etl_assets.quality.repeats import SeenValues
from etl_assets.quality.rules import compile_contract
from etl_assets.quality.split import Split
from etl_assets.streams.base import Stream
from etl_assets.streams.children import CHILDREN_COLUMN
from etl_assets.streams.observed import EVOLVED_COLUMN


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records on their way.

    Attributes:
        records: All of them.
        first_row: Position of the first one in the extraction.
        objects: Those that are JSON objects.
        positions: Their positions in the chunk.
        others: The positions of all others.
    """

    records: list[Any]
    first_row: int
    objects: list[dict[str, Any]]
    positions: list[int]
    others: list[int]

    @classmethod
    def of(cls, records: list[Any], first_row: int) -> Chunk:
        """Take records."""
        return cls(records, first_row, *separate_objects(records))


class StagingFiles:
    """The files of one partition while they are written."""

    def __init__(
        self,
        directory: Path,
        stream: Stream,
        pseudonymiser: Pseudonymiser,
        decided: DecidedRows | None = None,
    ) -> None:
        self.directory = directory
        self.stream = stream
        self.contract = contract = compile_contract(stream.contract)
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

    def write_split(self, chunk: Chunk, raw: pd.DataFrame, split: Split, lists: Lists | None = None) -> None:
        """Write the rows of a chunk, good and bad.

        Args:
            chunk: The chunk.
            raw: Its records as a frame.
            split: What its contract says of them.
            lists: The rows of child tables, where there are any.
        """
        row_numbers = np.asarray(chunk.positions, dtype=np.int64) + chunk.first_row
        evolved = self.fields.look(raw, chunk.objects, split.good_positions, row_numbers)
        # Rules and repeats were judged in clear; from here on nothing is.
        pseudonymiser = self.pseudonymiser
        good = split.good_positions
        self.write_rows(
            pseudonymiser.rows(split.good),
            row_numbers[good],
            None if lists is None else lists.of(good),
            evolved,
        )
        bad_positions = split.bad.column("position").to_numpy()
        payloads = [
            payload_text(pseudonymiser.payload(chunk.objects[position])) for position in bad_positions
        ]
        bad = quarantine_table(
            row_numbers[bad_positions], split.bad["rule_list"], split.bad["reason_list"], payloads
        )
        self.write_quarantine(self.claim_decided(bad, split, chunk.objects, bad_positions))
        if chunk.others:
            rules, reasons = (
                [["record.object"]] * len(chunk.others),
                [["the record is not a JSON object"]] * len(chunk.others),
            )
            payloads = [
                payload_text(pseudonymiser.payload(chunk.records[position])) for position in chunk.others
            ]
            self.write_quarantine(
                quarantine_table(
                    np.asarray(chunk.others, dtype=np.int64) + chunk.first_row, rules, reasons, payloads
                )
            )
            self.violations["record.object"] += len(chunk.others)
        self.violations.update(split.violations)
        self.warnings.update(split.warnings)
        self.warned += split.warned
        self.extracted += len(chunk.records)

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

    def finish(self, decided_rows: int = 0) -> None:
        """Complete the closed files by what is known of them.

        Args:
            decided_rows: Rows in the file of those that people decided on.
        """
        files = [self.rows.path, self.quarantine.path]
        if decided_rows:
            files.append(self.directory / DECIDED_FILE)
        manifest = {
            "counts": asdict(self.counts()),
            "violations": dict(sorted((+self.violations).items())),
            "warnings": dict(sorted((+self.warnings).items())),
            "content_hash": hash_of(*files),
            "preview": self.preview,
            "failed_items": self.failed_items,
            "decided_rows": decided_rows,
            "fields": self.fields.result().as_json(),
            "statistics": self._measured().as_json(),
        }
        (self.directory / MANIFEST_FILE).write_bytes(to_checked_json(manifest))

    def _measured(self) -> Statistics:
        stream, whole = self.stream, self.whole
        found = measure_in_memory(whole, stream.audits, stream.business_date) if whole is not None else None
        return found or measure(self.rows.path, stream.audits, self.staged, stream.business_date)
