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
    from etl_assets.sources.watch import SourceWatch


def open_watch(source: Source, settings: SourceSettings) -> SourceWatch | None:
    """Give what the readers of a source share during a run; None for kinds that share nothing.

    Args:
        source: The source's declaration.
        settings: Where it is.
    """
    if not isinstance(source, RestSource):
        return None
    from etl_assets.sources.watch import SourceWatch

    return SourceWatch(source, settings.state_path)


def open_reader(source: Source, settings: SourceSettings, watch: SourceWatch | None = None) -> Reader:
    """Open a reader; the caller closes it. Nothing is asked of the source yet.

    Args:
        source: The source's declaration.
        settings: Where it is.
        watch: From `open_watch`, where several readers are opened during a run.

    Raises:
        ConfigurationError: If address or secret cannot be used; names the variable.
    """
    if isinstance(source, RestSource):
        from etl_assets.sources.rest_reader import RestReader

        return RestReader(source, settings, watch)
    if isinstance(source, FileSource):
        from etl_assets.sources.files import FileReader

        return FileReader(source, settings)
    from etl_assets.sources.sql import SqlReader

    return SqlReader(source, settings)
