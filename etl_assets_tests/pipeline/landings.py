"""Landed answers made by hand, and streams that misbehave, for the tests of staging.

What belongs here: making what staging reads. What does not: assertions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow.parquet as pq

from etl_assets.landing.store import LandedPartition, Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets.pipeline.staged import StagedPartition, StagedStore
from etl_assets.pipeline.staging import stage_partition
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.rules import compile_contract
from etl_assets.settings import Secret
from etl_assets.streams.base import Rest, Stream
from etl_assets_tests.quality.samples import DAY, ORDER_LINES

Transform = Callable[[pd.DataFrame], pd.DataFrame]


def land(
    folder: Path, pages: Sequence[Sequence[Any]], stream: Stream = ORDER_LINES, day: date = DAY
) -> LandedPartition:
    """Land pages of records as the stream's source would answer them."""
    field = stream.extract.records if isinstance(stream.extract, Rest) else None
    bodies = [orjson.dumps({field: records} if field else records) for records in pages]
    return land_bodies(folder, list(zip(bodies, map(len, pages), strict=True)), stream, day)


def land_body(folder: Path, body: bytes, records: int) -> LandedPartition:
    """Land one answer with order lines as it is."""
    return land_bodies(folder, [(body, records)], ORDER_LINES, DAY)


def land_bodies(
    folder: Path, bodies: Sequence[tuple[bytes, int]], stream: Stream, day: date
) -> LandedPartition:
    """Land answers, each with the number of its records."""
    window = stream.extract.window_of(day)
    with LandingWriter(Landing(folder / "landing"), stream.id, day, run_id="run", window=window) as writer:
        for body, records in bodies:
            writer.add(body, records)
        return writer.finish()


def stage(
    folder: Path,
    landed: LandedPartition,
    stream: Stream = ORDER_LINES,
    code_version: str = "v1",
    key: Secret | None = None,
) -> StagedPartition:
    """Stage landed answers below the same folder."""
    pseudonymiser = Pseudonymiser(compile_contract(stream.contract), key)
    store = StagedStore(folder / "staged")
    return stage_partition(store, stream, landed.manifest.day, landed, code_version, pseudonymiser)


def with_transform(transform: Transform, stream: Stream = ORDER_LINES) -> Stream:
    """Give the stream another transform."""
    return replace(stream, transform=transform)


def rows_of(staged: StagedPartition) -> list[dict[str, Any]]:
    """Read the good rows."""
    rows: list[dict[str, Any]] = pq.read_table(staged.rows).to_pylist()
    return rows


def quarantine_of(staged: StagedPartition) -> list[dict[str, Any]]:
    """Read the quarantined rows, in the order of the extraction."""
    rows: list[dict[str, Any]] = pq.read_table(staged.quarantine).to_pylist()
    return sorted(rows, key=lambda row: row["row_number"])
