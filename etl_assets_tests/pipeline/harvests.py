"""Harvesting the catalogue of datasets by the pipeline alone: the stream as it is, over the demo's source.

What belongs here: loading, and looking at what was loaded. What does not: assertions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import PartitionOutcome
from etl_assets.pipeline.embedding import EmbeddingResult, embed_stream
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams.base import RestSource, RetryBudget, Stream
from etl_assets.streams.discovery import discover_streams
from etl_assets.warehouse.failed_items import KnownItem, known_items

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
CATALOGUE = discover_streams()
TABLES = (
    "datasets",
    "datasets_history",
    *(f"datasets_{child.name}" for child in CATALOGUE["eidc/datasets"].children),
)


def datasets() -> Stream:
    """The stream, which hardly waits between attempts."""
    stream = CATALOGUE["eidc/datasets"]
    assert isinstance(stream.source, RestSource)
    retry = RetryBudget(attempts=8, first_delay=0.001, maximum_delay=0.01)
    return replace(stream, source=replace(stream.source, retry=retry))


class Harvesting:
    """Loads datasets into a warehouse of its own, and looks at it."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.settings = load_settings(variables)
        self.environment = Environment.of(self.settings, CATALOGUE.code_versions)
        self.stream = datasets()

    def load(self, day: date = YESTERDAY, **options: Any) -> PartitionOutcome:
        """Take a day to the warehouse."""
        with closing(self.environment.open_source(self.stream.source)) as reader:
            usual: dict[str, Any] = {"stages": frozenset(Stage), "run_id": "run", "client": reader}
            pipeline = PartitionPipeline(self.environment, self.stream, **(usual | options))
            (outcome,) = run_partitions(pipeline, [day], reporter=SilentReporter(), threads=1)
        return outcome

    def embed(self, load: Any, model: str = "words") -> EmbeddingResult:
        """Embed what is new or has changed, by an encoder of the test's own."""
        return embed_stream(self.environment.warehouse, self.stream, model, "run", load=load)

    def select(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse."""
        with self.environment.warehouse.read("test") as connection:
            return connection.execute(query).fetchall()

    def items(self, state: str | None = "pending") -> list[KnownItem]:
        """Give the failed items."""
        with self.environment.warehouse.read("test") as connection:
            return known_items(connection, self.stream.id, state=state)

    def tables(self, names: Sequence[str] = TABLES) -> dict[str, list[tuple[Any, ...]]]:
        """Give the stream's tables, history and children included, as they are."""
        return {name: sorted(self.select(f"SELECT * FROM eidc.{name}"), key=repr) for name in names}
