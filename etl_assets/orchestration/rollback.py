"""Telling Dagster of a rollback: partitions that were taken out read as missing, restored ones as materialized anew.

What belongs here: events outside of any run. What does not: the rollback itself (`etl_assets.pipeline.rollback`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from dagster import DagsterInstance

from etl_assets.orchestration.event_log import BatchingSqliteEventLogStorage
from etl_assets.orchestration.keys import Layer, asset_key
from etl_assets.streams.base import Stream


@dataclass(frozen=True, slots=True)
class Told:
    """What Dagster is to be told of a stream.

    Attributes:
        stream: The stream.
        taken_out: Partitions that hold nothing since a rollback, be it an earlier one.
        restored: Rows of the partitions that this rollback restored.
        run_id: The rollback.
        time: The time that was gone back to, in words.
    """

    stream: Stream
    taken_out: Collection[date]
    restored: Mapping[date, int]
    run_id: str
    time: str


def tell(instance: DagsterInstance, told: Told) -> bool:
    """Tell Dagster; doing so again changes nothing for partitions that are taken out.

    Returns:
        Whether partitions that were taken out read as missing now; a storage other than the project's on SQLite may be
        unable to forget them, and then a note is all that they get.
    """
    key = asset_key(Layer.WAREHOUSE, told.stream)
    known = instance.get_materialized_partitions(key)
    gone = sorted(day for day in map(date.isoformat, told.taken_out) if day in known)
    forgotten = not gone or _forget(instance, key, gone)
    events = list(_events(key, told, gone))
    storage = instance.event_log_storage
    if isinstance(storage, BatchingSqliteEventLogStorage):
        with storage.collecting():
            for event in events:
                instance.report_runless_asset_event(event)
    else:
        for event in events:
            instance.report_runless_asset_event(event)
    return forgotten


def _forget(instance: DagsterInstance, key: dg.AssetKey, days: list[str]) -> bool:
    try:
        instance.wipe_asset_partitions(key, days)
    except NotImplementedError:
        return False
    return True


def _events(
    key: dg.AssetKey, told: Told, gone: list[str]
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    metadata: dict[str, Any] = {
        "rolled_back_to": dg.TextMetadataValue(told.time),
        "rollback": dg.TextMetadataValue(told.run_id),
    }
    for day in gone:
        yield dg.AssetObservation(
            key, partition=day, description=f"Taken out: not loaded at {told.time}.", metadata=metadata
        )
    for restored, rows in sorted(told.restored.items()):
        yield dg.AssetMaterialization(
            key,
            partition=restored.isoformat(),
            description=f"Restored to what it was at {told.time}.",
            metadata={**metadata, "dagster/partition_row_count": dg.IntMetadataValue(rows)},
        )
