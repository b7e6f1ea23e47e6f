"""What a pipeline works with: the stores, the warehouse and the sources, made once from the settings.

What belongs here: putting the rooms together. What does not: the way of a partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from etl_assets.landing.store import Landing
from etl_assets.pipeline.pseudonyms import pseudonymiser_of
from etl_assets.pipeline.staged import StagedStore
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.settings import Settings
from etl_assets.sources.base import Reader
from etl_assets.sources.registry import open_reader
from etl_assets.streams.base import Source, Stream
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.opening import open_warehouse


@dataclass(frozen=True)
class Environment:
    """The rooms of one process.

    Attributes:
        settings: Where everything is.
        landing: Landed answers.
        staged: Staged partitions.
        warehouse: The warehouse.
        code_versions: Version of each stream's file, by stream id.
        streams: All streams by id, for audits that look at another one.
    """

    settings: Settings
    landing: Landing
    staged: StagedStore
    warehouse: Warehouse
    code_versions: Mapping[str, str]
    streams: Mapping[str, Stream] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        settings: Settings,
        code_versions: Mapping[str, str],
        *,
        warehouse: Warehouse | None = None,
        streams: Mapping[str, Stream] | None = None,
    ) -> Environment:
        """Make the environment that the settings describe."""
        return cls(
            settings=settings,
            landing=Landing(settings.landing_dir),
            staged=StagedStore(settings.staged_dir),
            warehouse=warehouse or open_warehouse(settings),
            code_versions=code_versions,
            streams=streams or {},
        )

    def open_source(self, source: Source) -> Reader:
        """Open a source; the caller closes it.

        Raises:
            ConfigurationError: If the source's settings cannot be used.
        """
        return open_reader(source, self.settings.source(source.name))

    def pseudonymiser(self, stream: Stream) -> Pseudonymiser:
        """Give what takes a stream's personal data away.

        Raises:
            ConfigurationError: If the stream needs a key that is not set.
        """
        return pseudonymiser_of(self.settings, stream)
