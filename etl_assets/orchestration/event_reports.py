"""Reporting many events of a running step at once.

What belongs here: handing events over. What does not: what they say (`outcome_events`), and how they are stored
(`event_log`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from dagster._core.events import DagsterEvent
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.context.metadata_logging import (
    AssetMetadataHandle,
    OutputMetadataAccumulator,
    OutputMetadataHandle,
)
from dagster._core.instance.types import _EventListenerLogHandler

from etl_assets.orchestration.event_batches import DEFAULT_EVENT_BATCH_SIZE

if TYPE_CHECKING:
    from etl_assets.orchestration.event_log import BatchingSqliteEventLogStorage

ReportedEvent = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation
Context = dg.OpExecutionContext | dg.AssetExecutionContext


def log_events(
    context: Context, events: Sequence[ReportedEvent], *, batch_size: int = DEFAULT_EVENT_BATCH_SIZE
) -> None:
    """Report events as ``context.log_event`` does for each, but stored in batches where the storage can.

    When it returns, all events are stored. When the process is killed meanwhile, whole batches are stored or
    missing. With a storage other than `BatchingSqliteEventLogStorage` every event is stored by itself.

    There, and where no log for people takes such events, the results of checks go to the storage alone: what is said of
    them in the log, and in the result of ``execute_in_process``, nobody asks for.

    Args:
        context: The context of the running op or asset.
        events: Events in the order in which they are to appear; an `AssetCheckEvaluation` may carry
            ``partition``, and should exactly when its check has partitions.
        batch_size: Most events in one transaction.
    """
    storage, step = _batching_storage(context.instance), None
    if storage is not None and _is_unheard(context):
        step = _UnheardStep(context, storage)
    for start in range(0, len(events), batch_size):
        with stored_together(context.instance):
            for event in events[start : start + batch_size]:
                if step is not None and isinstance(event, dg.AssetCheckEvaluation):
                    DagsterEvent.asset_check_evaluation(cast("Any", step), event)
                else:
                    # The annotation leaves out check evaluations, which the method handles all the same
                    context.log_event(cast("dg.AssetMaterialization", event))


def stored_together(instance: dg.DagsterInstance) -> AbstractContextManager[None]:
    """Give a block whose events are stored at its end in one batch, where the storage can.

    Args:
        instance: Where they are recorded.
    """
    storage = _batching_storage(instance)
    return storage.collecting() if storage is not None else nullcontext()


def add_partition_metadata(
    context: dg.AssetExecutionContext, found: Mapping[tuple[dg.AssetKey, str], Mapping[str, Any]]
) -> None:
    """Attach metadata to the materializations of many partitions.

    It comes to what ``context.add_asset_metadata`` does for each of them, which copies and checks all that was attached
    before, so that it takes the square of their number.

    Args:
        context: The context of the running asset.
        found: Metadata by asset and partition of this run; none of them has any yet.
    """
    step = context.get_step_execution_context()
    handles: dict[OutputMetadataHandle | AssetMetadataHandle, Mapping[str, Any]] = {
        AssetMetadataHandle(asset_key=key, partition_key=partition): metadata
        for (key, partition), metadata in found.items()
    }
    before = step._metadata_accumulator.per_output_metadata
    step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata={**before, **handles})


def _batching_storage(instance: dg.DagsterInstance) -> BatchingSqliteEventLogStorage | None:
    # Imported on use: what is behind it takes longer to import than all of our own modules.
    from etl_assets.orchestration.event_log import BatchingSqliteEventLogStorage

    storage = instance.event_log_storage
    return storage if isinstance(storage, BatchingSqliteEventLogStorage) else None


def _is_unheard(context: Context) -> bool:
    """Whether the event log alone takes what Dagster says about events, as with `etl-assets backfill`."""
    handler = context.log._dagster_handler
    return (
        not any(logger.isEnabledFor(logging.DEBUG) for logger in handler._loggers)
        and all(isinstance(each, _EventListenerLogHandler) for each in handler._handlers)
        and not context.instance._subscribers.get(context.run.run_id)
    )


class _UnheardStep:
    """Stands for a step where Dagster makes events of it, and hands them over without a record of Python's logging.

    Args:
        context: The context of the running op or asset.
        storage: What takes the events.
    """

    def __init__(self, context: Context, storage: BatchingSqliteEventLogStorage) -> None:
        step_context = context.get_step_execution_context()
        self.job_name: str = step_context.job_name
        self.step = step_context.step
        self.event_tags: Mapping[str, str] = step_context.event_tags
        self._storage = storage
        self._run_id = context.run.run_id

    @property
    def log(self) -> _UnheardStep:
        """What events are told to."""
        return self

    def log_dagster_event(
        self, *, level: int, msg: str, dagster_event: DagsterEvent, batch_metadata: Any
    ) -> None:
        """Take an event, as Dagster's log manager does."""
        self._storage.store_event(
            EventLogEntry(  # type: ignore[no-untyped-call] # Dagster leaves its constructor untyped
                error_info=None,
                level=level,
                user_message=msg,
                run_id=self._run_id,
                timestamp=time.time(),
                step_key=dagster_event.step_key,
                job_name=self.job_name,
                dagster_event=dagster_event,
            )
        )
