"""Jobs, schedules and the automation sensor. They select by tag and group, never by a list of names."""

from __future__ import annotations

from typing import cast

import dagster as dg

from etl_assets.orchestration.keys import (
    DAILY_JOB,
    DAILY_TAG,
    DAILY_TAG_VALUE,
    DATA_QUALITY_JOB,
    EMBEDDINGS_GROUP,
    MARTS_GROUP,
    REPORTS_GROUP,
)

DAILY_HOUR_UTC = 2
DATA_QUALITY_HOUR_UTC = 6


def daily_job(left_out: dg.AssetChecksDefinition | None = None) -> dg.UnresolvedAssetJobDefinition:
    """Load one day of every stream and rebuild the marts; partitioned as the streams are.

    Args:
        left_out: Checks that are not about the day that is loaded, and have a job of their own.
    """
    selection = dg.AssetSelection.tag(DAILY_TAG, DAILY_TAG_VALUE)
    if left_out is not None:
        selection = selection - dg.AssetSelection.checks(left_out)
    return dg.define_asset_job(
        DAILY_JOB,
        selection=selection,
        description="Loads one day of every stream and rebuilds the marts.",
    )


def daily_schedule(job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Run the daily job at 02:00 UTC for yesterday."""
    schedule = dg.build_schedule_from_partitioned_job(
        job,
        name="daily_at_0200_utc",
        hour_of_day=DAILY_HOUR_UTC,
        minute_of_hour=0,
        description="02:00 UTC, for yesterday.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    # Dagster's own name for a schedule whose job is not resolved yet is not public; Definitions take both.
    return cast("dg.ScheduleDefinition", schedule)


def data_quality_job(checks: dg.AssetChecksDefinition | None) -> dg.UnresolvedAssetJobDefinition:
    """Look at yesterday: freshness of all streams, and the report."""
    selection: dg.AssetSelection = dg.AssetSelection.groups(REPORTS_GROUP)
    if checks is not None:
        selection = selection | dg.AssetSelection.checks(checks)
    return dg.define_asset_job(
        DATA_QUALITY_JOB,
        selection=selection,
        description="Tells how yesterday's data is, and whether every stream is as fresh as it should be.",
    )


def data_quality_schedule(job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Run the job at 06:00 UTC for yesterday, when the daily load is over."""
    schedule = dg.build_schedule_from_partitioned_job(
        job,
        name="data_quality_at_0600_utc",
        hour_of_day=DATA_QUALITY_HOUR_UTC,
        minute_of_hour=0,
        description="06:00 UTC, for yesterday.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    return cast("dg.ScheduleDefinition", schedule)


def mart_automation() -> dg.AutomationConditionSensorDefinition:
    """Rebuild marts, and embed, after loads that did not include them, such as a backfill from the UI."""
    return dg.AutomationConditionSensorDefinition(
        "mart_automation",
        target=dg.AssetSelection.groups(MARTS_GROUP, EMBEDDINGS_GROUP),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Rebuilds marts, and embeds, when a table that they read was loaded.",
    )
