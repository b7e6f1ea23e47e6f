"""Names that Dagster knows our things by: asset keys, groups, tags.

What belongs here: spelling them, in one place. What does not: the definitions that carry them.
"""

from __future__ import annotations

from enum import StrEnum

import dagster as dg

from etl_assets.pipeline.prepared import Stage
from etl_assets.streams.base import Stream

DAILY_TAG = "etl/schedule"
DAILY_TAG_VALUE = "daily"
MARTS_GROUP = "marts"
EMBEDDINGS_GROUP = "embeddings"
DAILY_JOB = "daily"
REPLAY_QUARANTINE_JOB = "replay_quarantine"
REPORTS_GROUP = "reports"
DATA_QUALITY_JOB = "data_quality"
CONTRACT_CHECK = "contract"
CONSERVATION_CHECK = "conservation"
FRESHNESS_CHECK = "freshness"


class Layer(StrEnum):
    """The three assets of a stream."""

    RAW = "raw"
    STAGED = "staged"
    WAREHOUSE = "warehouse"

    @property
    def stage(self) -> Stage:
        """The stage that makes the asset."""
        return {Layer.RAW: Stage.EXTRACT, Layer.STAGED: Stage.STAGE, Layer.WAREHOUSE: Stage.COMMIT}[self]


def source_pool(source: str) -> str:
    """Name of the pool of all steps that read a source, in whatever process; without a limit until one is set."""
    return source


CHECKED_LAYERS = (Layer.STAGED, Layer.WAREHOUSE)


def asset_key(layer: Layer, stream: Stream) -> dg.AssetKey:
    """Key of one of a stream's assets: `[layer, source, stream]`."""
    return dg.AssetKey([layer.value, stream.source.name, stream.name])


def stream_key(layer: Layer, stream_id: str) -> dg.AssetKey:
    """Key of one of a stream's assets, by the stream's identifier."""
    return dg.AssetKey([layer.value, *stream_id.split("/")])


def embeddings_key(stream: Stream) -> dg.AssetKey:
    """Key of a stream's embeddings."""
    return dg.AssetKey([EMBEDDINGS_GROUP, stream.source.name, stream.name])


def mart_key(name: str) -> dg.AssetKey:
    """Key of a mart."""
    return dg.AssetKey(["marts", name])
