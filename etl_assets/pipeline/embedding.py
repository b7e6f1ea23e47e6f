"""Embedding: texts of a stream's rows into vectors, by a model of sentence-transformers, which is an optional extra.

Only new and changed texts are embedded, and the model is not even loaded where there are none; while it works, nobody
waits for the warehouse. What belongs here: the model, and the order of the work. What does not: what is pending and
where vectors are stored (`etl_assets.warehouse.embeddings`).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from etl_assets.failures import (
    ConfigurationError,
    EtlError,
    FailureClass,
    describe_place,
    describe_unexpected,
)
from etl_assets.observability.progress import ProgressReporter, SilentReporter
from etl_assets.outcomes import FailedItem
from etl_assets.streams.base import Stream
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.embeddings import Embeddings, Found, PendingText
from etl_assets.warehouse.failed_items import EMBED

log = structlog.get_logger(__name__)

LIBRARY = "sentence_transformers"
NOT_INSTALLED = "sentence-transformers is not installed; pip install 'etl_assets[embed]'"

BATCH = 32
"""Texts that the model gets at once."""

SILENT = SilentReporter()

Vector = Sequence[float]


class Encoder(Protocol):
    """Makes vectors of texts."""

    def encode(self, texts: Sequence[str]) -> Sequence[Vector]:
        """Give one vector of length 1 per text, all of the same dimension."""
        ...


LoadEncoder = Callable[[str], Encoder]


@dataclass(slots=True)
class EmbeddingResult:
    """What became of a stream's texts.

    Attributes:
        stream: The stream's id.
        model: The model.
        embedded: Vectors made.
        unchanged: Vectors that are still right.
        removed: Vectors that are gone, with their rows.
        failed: Texts that could not be embedded.
        skipped: Why nothing was done; empty otherwise.
    """

    stream: str
    model: str
    embedded: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    skipped: str = ""


@dataclass(slots=True)
class _Batch:
    """Texts with their vectors, and those that could not be embedded."""

    texts: list[PendingText] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)
    failed: list[tuple[FailedItem, PendingText]] = field(default_factory=list)


def is_installed() -> bool:
    """Whether the optional extra is there; imports nothing of it."""
    return importlib.util.find_spec(LIBRARY) is not None


def load_model(name: str) -> Encoder:
    """Load a model.

    Args:
        name: A folder, which is used as it is, or a name that the library looks up.

    Raises:
        ConfigurationError: If the extra is not installed, or there is no such model.
    """
    if not is_installed():
        raise ConfigurationError(NOT_INSTALLED)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    library: Any = importlib.import_module(LIBRARY)
    _be_quiet()
    try:
        return _SentenceTransformer(
            library.SentenceTransformer(name, device="cpu", local_files_only=Path(name).is_dir())
        )
    except Exception as error:
        raise ConfigurationError(
            f"the embedding model {name!r} cannot be loaded: {describe_unexpected(error)}",
            hint="set ETL_EMBED_MODEL to a folder that holds one, or to the name of one",
        ) from error


def embed_stream(
    warehouse: Warehouse,
    stream: Stream,
    model: str,
    run_id: str,
    *,
    progress: ProgressReporter = SILENT,
    load: LoadEncoder = load_model,
) -> EmbeddingResult:
    """Embed the texts of a stream that are new or have changed, and forget those that are gone.

    Args:
        warehouse: The warehouse.
        stream: The stream; declares texts to be embedded.
        model: Name or folder of the model.
        run_id: Recorded with each vector.
        progress: Told of every text.
        load: Loads the model; called only if there is something to embed.

    Raises:
        ConfigurationError: If the model cannot be loaded.
        WarehouseError: If the warehouse cannot be used.
    """
    result = EmbeddingResult(stream.id, model)
    if load is load_model and not is_installed():
        result.skipped = NOT_INSTALLED
        log.info("embedding_skipped", stream=stream.id, reason=NOT_INSTALLED)
        return result
    with warehouse.session(f"find texts of {stream.id}") as session:
        pending = Embeddings(session.connection, stream, model).pending()
    result.unchanged, result.removed = pending.unchanged, pending.stale
    work = f"{stream.id} embeddings"
    progress.start(work, [EMBED], len(pending.texts))
    try:
        for batch in _batches(pending.texts, model, load) if pending.texts else ():
            with warehouse.session(f"embed {stream.id}") as session:
                session.store_embeddings(
                    stream, model, batch.texts, batch.vectors, batch.failed, run_id, datetime.now(UTC)
                )
            result.embedded += len(batch.texts)
            result.failed += len(batch.failed)
            for text in batch.texts:
                progress.item_stage(work, text.key, EMBED)
                progress.item_done(work, text.key)
            for item, _ in batch.failed:
                progress.item_failed(work, item.identifier, item.message)
        if pending.stale and not pending.texts:
            with warehouse.session(f"embed {stream.id}") as session:
                session.store_embeddings(stream, model, [], [], [], run_id, datetime.now(UTC))
    finally:
        progress.end(work)
    log.info("embedded", stream=stream.id, embedded=result.embedded, unchanged=result.unchanged)
    return result


def search(
    warehouse: Warehouse, stream: Stream, model: str, query: str, limit: int, load: LoadEncoder = load_model
) -> list[Found]:
    """Find the rows of a stream whose texts are nearest to a query in meaning, best first.

    Raises:
        ConfigurationError: If nothing has been embedded by this model yet, or it cannot be loaded.
        WarehouseError: If the warehouse cannot be used.
    """
    if load is load_model and not is_installed():
        raise ConfigurationError(NOT_INSTALLED)
    with warehouse.read(f"search {stream.id}") as connection:
        there = Embeddings(connection, stream, model).exist()
    if not there:
        raise ConfigurationError(
            f"nothing of {stream.id} has been embedded yet", hint="load a day of it first"
        )
    (vector,) = load(model).encode([query])
    with warehouse.read(f"search {stream.id}") as connection:
        return Embeddings(connection, stream, model).nearest(vector, limit)


@dataclass(frozen=True, slots=True)
class _SentenceTransformer:
    model: Any

    def encode(self, texts: Sequence[str]) -> Sequence[Vector]:
        """See `Encoder`."""
        vectors: Sequence[Vector] = self.model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        ).tolist()
        return vectors


def _batches(texts: Sequence[PendingText], model: str, load: LoadEncoder) -> Iterator[_Batch]:
    encoder = load(model)
    # Texts of like length together: a batch takes as long as its longest text.
    ordered = sorted(texts, key=lambda one: len(one.text))
    for first in range(0, len(ordered), BATCH):
        yield _encoded(encoder, ordered[first : first + BATCH])


def _encoded(encoder: Encoder, texts: Sequence[PendingText]) -> _Batch:
    """Make vectors; where a text fails its batch, each is tried by itself."""
    try:
        return _Batch(list(texts), list(encoder.encode([one.text for one in texts])))
    except Exception as error:
        if len(texts) == 1:
            return _Batch(failed=[(_failed(texts[0], error), texts[0])])
    whole = _Batch()
    for one in texts:
        single = _encoded(encoder, [one])
        whole.texts += single.texts
        whole.vectors += single.vectors
        whole.failed += single.failed
    return whole


def _failed(text: PendingText, error: Exception) -> FailedItem:
    return FailedItem(
        identifier=text.key,
        stage=EMBED,
        failure_class=error.failure_class if isinstance(error, EtlError) else FailureClass.PERMANENT,
        error_type=type(error).__name__,
        message=" ".join(describe_unexpected(error).split()),
        attempted_at=datetime.now(UTC),
        position=0,
        traceback=describe_place(error),
    )


def _be_quiet() -> None:
    """Keep the library's own bars and advice away from a terminal that shows ours."""
    import logging

    logging.getLogger(LIBRARY).setLevel(logging.ERROR)
    if importlib.util.find_spec("transformers") is not None:
        quiet: Any = importlib.import_module("transformers.utils.logging")
        quiet.disable_progress_bar()
        quiet.set_verbosity_error()
