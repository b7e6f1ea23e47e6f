"""Embeddings as Dagster assets: vectors of the texts that a stream is searched by, made after its table was loaded.

They are not partitioned: which texts have changed is known only after a load. What belongs here: the assets. What does
not: embedding (`etl_assets.pipeline.embedding`).
"""

from typing import Any

import dagster as dg

from etl_assets.failures import EtlError, classify
from etl_assets.orchestration.keys import (
    DAILY_TAG,
    DAILY_TAG_VALUE,
    EMBEDDINGS_GROUP,
    Layer,
    asset_key,
    embeddings_key,
)
from etl_assets.orchestration.marts import mart_condition
from etl_assets.pipeline.embedding import EmbeddingResult, embed_stream
from etl_assets.resources.progress import PROGRESS
from etl_assets.resources.warehouse import WAREHOUSE
from etl_assets.streams.base import Stream


def build_embeddings_asset(stream: Stream, model: str, retry_policy: dg.RetryPolicy) -> dg.AssetsDefinition:
    """Make the asset of a stream's embeddings.

    Args:
        stream: A stream that declares texts to be embedded.
        model: Name or folder of the model.
        retry_policy: For a busy warehouse.
    """

    @dg.asset(
        key=embeddings_key(stream),
        deps=[asset_key(Layer.WAREHOUSE, stream)],
        description=f"Vectors of {', '.join(stream.embed)}, for etl-assets search. {stream.description}".strip(),
        group_name=EMBEDDINGS_GROUP,
        owners=[stream.owner],
        kinds={"huggingface", "duckdb"},
        tags={DAILY_TAG: DAILY_TAG_VALUE},
        metadata={"dagster/table_name": f"warehouse.{stream.source.name}.{stream.name}_embeddings"},
        automation_condition=mart_condition(),
        retry_policy=retry_policy,
        required_resource_keys={WAREHOUSE, PROGRESS},
    )
    def embed(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        resources: Any = context.resources
        try:
            result = embed_stream(
                resources.warehouse.open(), stream, model, context.run.run_id, progress=resources.progress
            )
        except EtlError as error:
            raise dg.Failure(str(error), allow_retries=classify(error).retryable) from error
        if result.skipped:
            context.log.info("%s: embedding is skipped: %s", stream.id, result.skipped)
        return dg.MaterializeResult(metadata=_metadata(result))

    return embed


def _metadata(result: EmbeddingResult) -> dict[str, Any]:
    numbers = {
        name: dg.IntMetadataValue(getattr(result, name))
        for name in ("embedded", "unchanged", "removed", "failed")
    }
    return {
        "dagster/row_count": dg.IntMetadataValue(result.embedded + result.unchanged),
        **numbers,
        "model": dg.TextMetadataValue(result.model),
        "skipped": dg.TextMetadataValue(result.skipped),
    }
