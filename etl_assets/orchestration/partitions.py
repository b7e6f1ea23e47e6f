"""The partitions: UTC days, from the configured first day on."""

from __future__ import annotations

from datetime import date

import dagster as dg


def daily_partitions(start: date) -> dg.DailyPartitionsDefinition:
    """Give the partitions that every stream shares.

    Args:
        start: First day.
    """
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC")
