"""Quarantined rows that people decided on, on their way through staging.

A decision changes nothing about which rows are bad. When all rows of a partition were judged, the bad ones that
somebody decided on are judged once more: a waived one without the rules that were waived for it, a mended one with its
new values. They come last, so that none takes the place of a good row with the same unique value. What passes is among
the good rows; what does not stays in quarantine as it was.

What belongs here: finding these rows and judging them again. What does not: the decisions themselves
(`etl_assets.warehouse.decisions`), and writing files (`etl_assets.pipeline.staging`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from etl_assets.quality.children import Lists
from etl_assets.quality.frame import raw_frame
from etl_assets.quality.repeats import SeenValues
from etl_assets.quality.rules import CompiledContract
from etl_assets.quality.split import Split, split_rows
from etl_assets.streams.base import Window
from etl_assets.warehouse.decisions import Action, Decision

DECIDED_SCHEMA = pa.schema(
    [
        ("row_number", pa.int64()),
        ("rules", pa.list_(pa.string())),
        ("reasons", pa.list_(pa.string())),
        ("raw_payload", pa.string()),
        ("decision_id", pa.int64()),
        ("action", pa.string()),
        ("loaded", pa.bool_()),
        ("refusal", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class DecidedRow:
    """A bad row that somebody decided on.

    Attributes:
        row_number: Its position in the extraction.
        record: The raw record, as it was landed.
        payload: What the quarantine keeps of it.
        rules: Rules that it breaks.
        reasons: What is said of it, in the order of the rules.
        warnings: Warning rules that it breaks as well.
        decision: The decision.
    """

    row_number: int
    record: dict[str, Any]
    payload: str
    rules: list[str]
    reasons: list[str]
    warnings: list[str]
    decision: Decision

    @property
    def decided(self) -> dict[str, Any]:
        """The record as it is to be judged."""
        return self.record | self.decision.changes if self.decision.action is Action.MEND else self.record


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Some decided rows, judged again.

    Attributes:
        split: What became of them.
        lists: Their lists, in the order of the rows that were judged.
        loaded: Those that pass, in the order of the split's good rows.
        refused: Those that do not.
    """

    split: Split
    lists: Lists
    loaded: list[DecidedRow]
    refused: list[DecidedRow]


class DecidedRows:
    """The decisions on one partition's rows, and the rows that were found to them.

    Args:
        decisions: The decisions; there is at least one.
        landing_version: The landed version that rows are read from.
    """

    def __init__(self, decisions: Collection[Decision], landing_version: str) -> None:
        self._by_row: dict[int | None, Decision] = {}
        self._by_payload: dict[tuple[str, int], Decision] = {}
        self._seen: Counter[str] = Counter()
        self._outcomes: list[dict[str, Any]] = []
        self.rows: list[DecidedRow] = []
        for decision in decisions:
            if decision.landing_version == landing_version:
                self._by_row[decision.row_number] = decision
            else:
                self._by_payload[decision.payload_hash, decision.occurrence] = decision

    def decision_on(self, row_number: int, payload: str) -> Decision | None:
        """Find the decision on a bad row; to be asked once for each, in their order.

        Args:
            row_number: Its position in the extraction.
            payload: What the quarantine keeps of it.
        """
        key = hashlib.sha256(payload.encode()).hexdigest()
        self._seen[key] += 1
        return self._by_row.get(row_number) or self._by_payload.get((key, self._seen[key]))

    def judge(
        self,
        contract: CompiledContract,
        transform: Callable[[pd.DataFrame], pd.DataFrame],
        split_lists: Callable[[Sequence[dict[str, Any]], Sequence[Collection[str]]], Lists],
        *,
        window: Window,
        window_column: str | None,
        seen: SeenValues,
        chunk_rows: int,
    ) -> Iterator[Judgement]:
        """Judge the rows that were found once more, a chunk at a time.

        Args:
            contract: The compiled contract.
            transform: The stream's transform.
            split_lists: Judges the lists of records, without the rules that are waived for each.
            window: The window that the source was asked for.
            window_column: See `split_rows`.
            seen: Unique values of all good rows; those of the rows that pass are added.
            chunk_rows: Rows of a chunk.
        """
        self.rows.sort(key=lambda row: row.row_number)
        for first in range(0, len(self.rows), chunk_rows):
            rows = self.rows[first : first + chunk_rows]
            records, waived = [row.decided for row in rows], [_waived(row.decision) for row in rows]
            raw = raw_frame(records, contract.raw_fields)
            lists = split_lists(records, waived)
            split = split_rows(
                contract,
                raw,
                transform(raw),
                window=window,
                window_column=window_column,
                seen=seen,
                waived=waived,
                further=lists.broken,
            )
            refusals = dict(
                zip(
                    split.bad.column("position").to_pylist(),
                    split.bad.column("reason_list").to_pylist(),
                    strict=True,
                )
            )
            for position, row in enumerate(rows):
                self._note(row, refusals.get(position))
            yield Judgement(
                split=split,
                lists=lists,
                loaded=[rows[position] for position in split.good_positions],
                refused=[rows[position] for position in sorted(refusals)],
            )

    def write(self, path: Path) -> int:
        """Write what became of the decisions, as `DECIDED_SCHEMA`; nothing where no row was found.

        Returns:
            Number of rows.
        """
        if self._outcomes:
            pq.write_table(
                pa.Table.from_pylist(self._outcomes, schema=DECIDED_SCHEMA), path, compression="zstd"
            )
        return len(self._outcomes)

    def _note(self, row: DecidedRow, reasons: Sequence[str] | None) -> None:
        what = "waiver" if row.decision.action is Action.WAIVE else "mended row"
        self._outcomes.append(
            {
                "row_number": row.row_number,
                "rules": row.rules,
                "reasons": row.reasons,
                "raw_payload": row.payload,
                "decision_id": row.decision.decision_id,
                "action": row.decision.action.value,
                "loaded": reasons is None,
                "refusal": f"the {what} was not accepted: {'; '.join(reasons)}" if reasons else None,
            }
        )


def _waived(decision: Decision) -> frozenset[str]:
    return frozenset(decision.rules) if decision.action is Action.WAIVE else frozenset()
