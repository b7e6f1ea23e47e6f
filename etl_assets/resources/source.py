"""A source as a resource. Secrets are looked up on use, so that neither the UI nor a log ever holds one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr

from etl_assets.settings import load_settings
from etl_assets.sources.base import Reader
from etl_assets.sources.registry import open_reader, open_watch
from etl_assets.streams.base import Source

if TYPE_CHECKING:
    from etl_assets.sources.watch import SourceWatch


class SourceResource(dg.ConfigurableResource[Reader]):
    """Opens a source that the environment describes: `ETL_<NAME>_URL` and `ETL_<NAME>_TOKEN`."""

    url: str | None = Field(
        default=None, description="Address to use instead of the one that the environment variable names."
    )

    # Dagster makes one resource a run, so that streams and step retries of a run share what they know of the source.
    _watch: SourceWatch | None = PrivateAttr(default=None)

    def open(self, source: Source) -> Reader:
        """Open a reader; use it as a context manager. A source that is left alone for a while is waited for.

        Args:
            source: The source's declaration.

        Raises:
            ConfigurationError: If address or token cannot be used; names the variable.
        """
        found = load_settings().source(source.name)
        if self.url:
            found = replace(found, url=self.url)
        if self._watch is None:
            self._watch = open_watch(source, found)
        if self._watch is not None:
            self._watch.wait()
        return open_reader(source, found, self._watch)
