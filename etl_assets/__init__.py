"""Daily-partitioned extract, transform and load with Dagster.

The package's front door. What belongs here: the version, looked up when asked for. What does not: imports of
the rooms below, which would make every ``import etl_assets.something`` pay for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """Look up ``__version__`` in the installed package's metadata, the one place that states it."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("etl_assets")
        except PackageNotFoundError:
            return "unknown"
