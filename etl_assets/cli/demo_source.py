"""Pointing this process, and those that it starts, at a running demo source.

What belongs here: which settings that takes. What does not: running the source (`etl_assets.demo.server`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etl_assets.demo.server import SpawnedSource

DATASET_RATE = "1000"
"""Requests a second to the demo's catalogue of datasets: one's own machine need not be asked politely."""


def point_at_shop(source: SpawnedSource) -> None:
    """Let the shop be the demo's."""
    os.environ["ETL_SHOP_URL"], os.environ["ETL_SHOP_TOKEN"] = source.url, source.token


def point_at_datasets(source: SpawnedSource) -> None:
    """Let the catalogue of datasets be the demo's, with the project's own list of identifiers."""
    os.environ["ETL_EIDC_URL"], os.environ["ETL_EIDC_RATE"] = source.url, DATASET_RATE
    os.environ.pop("ETL_EIDC_IDENTIFIERS", None)
