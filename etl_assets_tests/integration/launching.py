"""Asking Dagster for a backfill, as its UI does.

What belongs here: asking. What does not: the daemon that carries it out (`daemons`), and what became of it
(`instances`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from time import time as unix_time

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from etl_assets.build import build_definitions
from etl_assets.orchestration.keys import Layer, stream_key
from etl_assets.settings import Settings


def launch_backfill(
    settings: Settings, instance: dg.DagsterInstance, name: str, streams: Iterable[str], days: Iterable[date]
) -> None:
    """Ask for a backfill of all assets of some streams.

    Args:
        settings: Of the project.
        instance: Whom to ask.
        name: The backfill's identifier.
        streams: Stream ids.
        days: The partitions.
    """
    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id=name,
            asset_graph=build_definitions(settings).resolve_asset_graph(),
            partition_names=[str(day) for day in days],
            asset_selection=[stream_key(layer, stream) for stream in streams for layer in Layer],
            backfill_timestamp=unix_time(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
