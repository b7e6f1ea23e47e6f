"""Dagster's scheduler, which also tells its daemon how often to look for new backfills.

Dagster looks every 30 seconds and has no setting for it, though its loops for sensors and automation take five: who
asks for a backfill in the UI would wait that long for nothing. The scheduler is what an instance is configured with
that each daemon has, however it was started and wherever it keeps its events. What belongs here: the interval. What
does not: what becomes of a backfill.
"""

from __future__ import annotations

import sys
from typing import Any

import dagster as dg
from dagster._core.scheduler import DagsterDaemonScheduler
from dagster._serdes import ConfigurableClassData

BACKFILL_INTERVAL_SECONDS = 5
"""As often as Dagster's daemon looks for sensors to evaluate."""

_CONTROLLER = "dagster._daemon.controller"
"""The module of a daemon whose constant the loop of backfills reads whenever it starts."""


class PromptScheduler(DagsterDaemonScheduler):
    """Dagster's own scheduler, in whose daemon a backfill is begun soon after it was asked for.

    Args:
        backfill_interval_seconds: Seconds between two looks for new backfills.
        inst_data: Dagster's record of how this was configured.
        options: What Dagster's own scheduler takes.
    """

    def __init__(
        self,
        backfill_interval_seconds: int = BACKFILL_INTERVAL_SECONDS,
        inst_data: ConfigurableClassData | None = None,
        **options: int,
    ) -> None:
        super().__init__(inst_data=inst_data, **options)
        self.backfill_interval_seconds = backfill_interval_seconds
        # Only a daemon has imported its controller before it opens the instance; no other process should.
        if controller := sys.modules.get(_CONTROLLER):
            controller.DEFAULT_DAEMON_INTERVAL_SECONDS = backfill_interval_seconds  # type: ignore[attr-defined]

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        interval = dg.Field(
            dg.IntSource,
            is_required=False,
            default_value=BACKFILL_INTERVAL_SECONDS,
            description="Seconds between two looks of the daemon for new backfills.",
        )
        options = super().config_type()  # type: ignore[no-untyped-call]
        return {**options, "backfill_interval_seconds": interval}
