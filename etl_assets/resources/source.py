"""A source as a resource. Secrets are looked up on use, so that neither the UI nor a log ever holds one."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
from pydantic import Field

from etl_assets.settings import load_settings
from etl_assets.sources.base import Reader
from etl_assets.sources.registry import open_reader
from etl_assets.streams.base import Source


class SourceResource(dg.ConfigurableResource[Reader]):
    """Opens a source that the environment describes: `ETL_<NAME>_URL` and `ETL_<NAME>_TOKEN`."""

    url: str | None = Field(
        default=None, description="Address to use instead of the one that the environment variable names."
    )

    def open(self, source: Source) -> Reader:
        """Open a reader; use it as a context manager.

        Args:
            source: The source's declaration.

        Raises:
            ConfigurationError: If address or token cannot be used; names the variable.
        """
        found = load_settings().source(source.name)
        return open_reader(source, replace(found, url=self.url) if self.url else found)
