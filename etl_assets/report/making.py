"""Making a report: from the warehouse to a file.

What belongs here: the steps in their order, for whoever wants a report. What does not: the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etl_assets.marts.catalogue import Mart
from etl_assets.report.page import check_place, render, write
from etl_assets.report.reading import Period, read_facts
from etl_assets.settings import Settings
from etl_assets.streams.base import Stream
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.opening import open_warehouse

FILE_NAME = "report.html"
"""Name of the report in the data folder."""


def make_report(
    settings: Settings,
    streams: Sequence[Stream],
    marts: Sequence[Mart],
    path: Path,
    period: Period | None = None,
    *,
    warehouse: Warehouse | None = None,
) -> int:
    """Read what the warehouse knows, and write the page; loads wait while it is read, and not while it is made.

    Args:
        settings: Where everything is.
        streams: The streams that it tells of.
        marts: All marts.
        path: The file; one that is there is replaced.
        period: The days; by default those of `etl-assets status`, two years at most.
        warehouse: The warehouse, if it is another one than the settings name.

    Returns:
        The size in bytes.

    Raises:
        ConfigurationError: If the file cannot be written.
        WarehouseError: If there is no warehouse yet, or it cannot be read.
    """
    check_place(path)
    opened = warehouse or open_warehouse(settings)
    return write(render(read_facts(settings, opened, streams, marts, period or Period())), path)
