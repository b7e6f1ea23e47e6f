"""Asking again for failed documents alone, as a choice in a load's run configuration.

What belongs here: the choice, and what it means for a run. What does not: the account of failed items
(`etl_assets.warehouse.failed_items`), and asking (`etl_assets.pipeline.documents`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg

from etl_assets.pipeline.environment import Environment
from etl_assets.streams.base import Documents, Stream
from etl_assets.warehouse.failed_items import Retry, known_items

RETRY_FAILED = "retry_failed"


def retry_config(stream: Stream) -> dict[str, dg.Field]:
    """Give the choice as a field of the op's configuration; streams without documents have none."""
    if not isinstance(stream.extract, Documents):
        return {}
    return {
        RETRY_FAILED: dg.Field(
            dg.Enum("Retry", [dg.EnumValue(choice.value) for choice in Retry]),
            default_value=Retry.NONE.value,
            description="Ask only for documents that failed, and take the others from landing: `transient` for those "
            "that failed for a reason that may have passed, `all` for whichever reason.",
        )
    }


def to_retry(
    config: dict[str, Any], environment: Environment, stream: Stream, days: Sequence[date]
) -> dict[date, set[str]] | None:
    """Give the failed documents to ask for again, by day; None when days are to be extracted as usual.

    Args:
        config: The op's configuration.
        environment: With the warehouse of the run.
        stream: The stream.
        days: The days of the run.
    """
    choice = Retry(config.get(RETRY_FAILED, Retry.NONE))
    if choice is Retry.NONE:
        return None
    wanted: dict[date, set[str]] = {}
    with environment.warehouse.session(f"find failed items of {stream.id}") as session:
        for item in known_items(session.connection, stream.id, days):
            if choice.takes(item):
                wanted.setdefault(item.partition, set()).add(item.identifier)
    return wanted
