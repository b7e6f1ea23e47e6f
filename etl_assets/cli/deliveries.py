"""Where the demo's finance files and ERP postings go.

What belongs here: telling from the settings which of these systems the demo stands in for. What does not: delivering
(`etl_assets.demo.deliveries`), which knows nothing of settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etl_assets.demo.deliveries import Deliveries
    from etl_assets.settings import Settings

SQLITE_FILE = "sqlite:///"


def demo_deliveries(settings: Settings, *, seed: int = 0) -> Deliveries:
    """Give what the demo delivers: nothing to a system that has an address of its own.

    Args:
        settings: Where everything is.
        seed: Another seed makes other days.
    """
    from etl_assets.demo.deliveries import Deliveries

    finance, erp = (
        Path(settings.source(name).url.removeprefix(SQLITE_FILE)) if settings.has_demo_address(name) else None
        for name in ("finance", "erp")
    )
    return Deliveries(finance, erp, seed)
