"""The embeddings after a load: made where the extra is installed, else left out with a note.

What belongs here: choosing what to embed, and telling what became of it. What does not: embedding
(`etl_assets.pipeline.embedding`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster import DagsterInstance, Definitions

    from etl_assets.orchestration.backfill import RunResult
    from etl_assets.streams.base import Stream


@dataclass(frozen=True, slots=True)
class EmbeddingRow:
    """What became of the texts of one stream."""

    stream: str
    embedded: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    skipped: str = ""
    failure: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {**asdict(self), "skipped": self.skipped or None, "failure": self.failure or None}


def make_embeddings(
    definitions: Definitions, instance: DagsterInstance, streams: Sequence[Stream]
) -> tuple[RunResult | None, list[EmbeddingRow]]:
    """Embed what is new or has changed, in one run; no run where the extra is not installed."""
    from etl_assets.orchestration.backfill import embed_streams
    from etl_assets.pipeline.embedding import NOT_INSTALLED, is_installed

    wanted = [stream for stream in streams if stream.embed]
    if not wanted or not is_installed():
        return None, [EmbeddingRow(stream.id, skipped=NOT_INSTALLED) for stream in wanted]
    run = embed_streams(definitions, instance, wanted)
    return run, [_row(stream, run) for stream in wanted]


def embedding_lines(rows: Sequence[EmbeddingRow]) -> Iterator[str]:
    """Tell people what became of texts."""
    for row in rows:
        if row.skipped or row.failure:
            yield f"{row.stream}: embedding {f'skipped: {row.skipped}' if row.skipped else f'failed: {row.failure}'}"
        else:
            failed = f", {row.failed:,} failed" if row.failed else ""
            yield f"{row.stream}: {row.embedded:,} texts embedded, {row.unchanged:,} unchanged{failed}"


def _row(stream: Stream, run: RunResult) -> EmbeddingRow:
    from etl_assets.orchestration.keys import embeddings_key

    found = run.metadata.get(embeddings_key(stream))
    if found is None:
        return EmbeddingRow(stream.id, failure="; ".join(run.failures.values()) or "not embedded")
    embedded, unchanged, removed, failed = (
        int(found[name]) for name in ("embedded", "unchanged", "removed", "failed")
    )
    return EmbeddingRow(stream.id, embedded, unchanged, removed, failed, str(found["skipped"]))
