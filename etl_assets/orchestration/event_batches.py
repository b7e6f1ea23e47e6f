"""How many events Dagster's storage is handed at once.

What belongs here: the size, and having Dagster hand over batches at all. Imports nothing of Dagster, since it is said
before that is imported. What does not: storing them (`event_log`).
"""

from __future__ import annotations

import os

DEFAULT_EVENT_BATCH_SIZE = 500
"""Most events in one transaction; other processes wait that long with their own events."""

EVENT_BATCH_SIZE_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
"""Dagster's own switch, read again at every event; without it Dagster never hands over a batch."""


def enable_event_batches(size: int = DEFAULT_EVENT_BATCH_SIZE) -> None:
    """Have Dagster hand over planned events and a range run's materializations in batches.

    Dagster takes this from the environment only, in every process that has an instance; so the process that
    loads a batching storage sets it, for itself and for the runs that it launches. A value that the user has
    set stays.

    Args:
        size: Most events in a batch; 0 turns batches off.
    """
    os.environ.setdefault(EVENT_BATCH_SIZE_VARIABLE, str(size))
