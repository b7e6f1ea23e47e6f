"""The reader for each kind of source.

Each is imported when it is first needed: the libraries behind the kinds that a project does not use (SQLAlchemy,
fsspec, an HTTP client) would otherwise slow down every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etl_assets.streams.base import FileSource, RestSource, Source

if TYPE_CHECKING:
    from etl_assets.settings import SourceSettings
    from etl_assets.sources.base import Reader


def open_reader(source: Source, settings: SourceSettings) -> Reader:
    """Open a reader; the caller closes it. Nothing is asked of the source yet.

    Args:
        source: The source's declaration.
        settings: Where it is.

    Raises:
        ConfigurationError: If address or secret cannot be used; names the variable.
    """
    if isinstance(source, RestSource):
        from etl_assets.sources.rest_reader import RestReader

        return RestReader(source, settings)
    if isinstance(source, FileSource):
        from etl_assets.sources.files import FileReader

        return FileReader(source, settings)
    from etl_assets.sources.sql import SqlReader

    return SqlReader(source, settings)
