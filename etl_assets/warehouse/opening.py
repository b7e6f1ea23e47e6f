"""The warehouse that the settings name.

What belongs here: its place and its limits. What does not: opening the file (`database`).
"""

from __future__ import annotations

from etl_assets.settings import Settings
from etl_assets.warehouse.database import Warehouse


def open_warehouse(settings: Settings) -> Warehouse:
    """Describe the warehouse that the settings name; nothing is opened yet."""
    return Warehouse(
        settings.warehouse_path, lock_timeout=settings.lock_timeout, memory_limit=settings.memory_limit
    )
