"""All watchers together, and the scene that they look at.

What belongs here: the list. One more kind of condition is one more line in it, or in `alerts.watchers.warehouse.LOOKS`
if it is read from the warehouse. What does not: any single watcher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg

from etl_assets.alerts.engine import Scene, Watcher
from etl_assets.alerts.outbox import Outbox
from etl_assets.alerts.rules import Rules
from etl_assets.alerts.watchers import circuits, warehouse
from etl_assets.orchestration.alerts.backfills import backfill_watcher
from etl_assets.orchestration.alerts.events import event_watcher
from etl_assets.orchestration.alerts.instigators import Declared, instigator_watcher
from etl_assets.settings import Settings
from etl_assets.streams.base import Stream


def all_watchers(instance: dg.DagsterInstance, declared: Sequence[Declared]) -> list[Watcher]:
    """Give every watcher, in the order in which they look.

    Args:
        instance: Dagster's.
        declared: Schedules and sensors that there should be.
    """
    return [
        # Before the events: a day's own outcome says more than the failure of the run that it happened in.
        Watcher(warehouse.NAME, warehouse.warehouse_conditions),
        Watcher(circuits.NAME, circuits.open_circuits),
        event_watcher(instance),
        backfill_watcher(instance),
        instigator_watcher(instance, list(declared)),
    ]


def scene_of(
    instance: dg.DagsterInstance,
    settings: Settings,
    rules: Rules,
    streams: Mapping[str, Stream],
    owners: Mapping[str, str],
    outbox: Outbox,
    now: datetime,
) -> Scene:
    """Give the scene that watchers look at."""

    def is_over(run_id: str) -> bool:
        run = instance.get_run_by_id(run_id)
        return run is None or (run.is_finished and not run.is_complete_and_waiting_to_retry)

    return Scene(settings, rules, streams, outbox, now, owners=owners, is_over=is_over)
