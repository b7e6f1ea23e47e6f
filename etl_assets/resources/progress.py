"""The progress reporter as a resource, so that the command line can show bars for a run in its own process."""

from __future__ import annotations

import dagster as dg

from etl_assets.observability.progress import ProgressReporter

PROGRESS = "progress"


def progress_resource(reporter: ProgressReporter) -> dg.ResourceDefinition:
    """Wrap a reporter."""
    return dg.ResourceDefinition.hardcoded_resource(reporter, description="Told of every step of a load.")
