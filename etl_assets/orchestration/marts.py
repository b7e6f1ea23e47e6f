"""Marts as Dagster assets: each rebuilds exactly the business dates that commits touched since its last build.

A mart is not partitioned, because which dates a commit touches is known only after it. What belongs here: the assets
and when they run by themselves. What does not: rebuilding (`etl_assets.warehouse.marts`).
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from etl_assets.failures import EtlError, classify
from etl_assets.marts.catalogue import Mart
from etl_assets.orchestration.keys import DAILY_TAG, DAILY_TAG_VALUE, MARTS_GROUP, Layer, mart_key, stream_key
from etl_assets.resources.warehouse import WAREHOUSE


def build_mart_asset(mart: Mart, retry_policy: dg.RetryPolicy) -> dg.AssetsDefinition:
    """Make the asset of a mart.

    Args:
        mart: The mart.
        retry_policy: For a busy warehouse.
    """

    @dg.asset(
        key=mart_key(mart.name),
        deps=[stream_key(Layer.WAREHOUSE, stream_id) for stream_id in mart.reads],
        description=mart.description,
        group_name=MARTS_GROUP,
        owners=[mart.owner],
        kinds={"sql", "duckdb"},
        tags={DAILY_TAG: DAILY_TAG_VALUE},
        metadata={"dagster/table_name": f"warehouse.marts.{mart.name}"},
        automation_condition=mart_condition(),
        retry_policy=retry_policy,
        required_resource_keys={WAREHOUSE},
    )
    def rebuild(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        resources: Any = context.resources
        try:
            with resources.warehouse.open().session(f"rebuild mart {mart.name}") as session:
                result = session.rebuild_mart(mart, run_id=context.run.run_id, at=datetime.now(UTC))
        except EtlError as error:
            raise dg.Failure(str(error), allow_retries=classify(error).retryable) from error
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": dg.IntMetadataValue(result.table_rows),
                "dates_rebuilt": dg.IntMetadataValue(len(result.dates)),
                "dates": dg.TextMetadataValue(_span(result.dates)),
                "rows_written": dg.IntMetadataValue(result.rows),
            }
        )

    return rebuild


def _span(dates: Sequence[date]) -> str:
    if not dates:
        return "none: nothing changed"
    first, last = min(dates), max(dates)
    return first.isoformat() if first == last else f"{len(dates)} dates from {first} to {last}"


def mart_condition() -> dg.AutomationCondition[Any]:
    """Rebuild when a table that the mart reads was loaded, but not while it is being rebuilt already.

    The usual `eager` condition would wait until no partition of the table is missing, which never comes.
    """
    updated = dg.AutomationCondition.any_deps_updated()
    handled = dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()
    return (updated.since(handled) & ~dg.AutomationCondition.in_progress()).with_label("tables_loaded")
