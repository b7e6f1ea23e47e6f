"""Embedding by an encoder of the tests' own: only what is new or has changed, and nothing without the extra."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from etl_assets.demo.datasets import DatasetFolder, MadeUpDatasets
from etl_assets.demo.server import running_source
from etl_assets.failures import ConfigurationError
from etl_assets.pipeline import embedding
from etl_assets.pipeline.embedding import embed_stream, search
from etl_assets.pipeline.rollback import plan_rollback, roll_back
from etl_assets.warehouse.failed_items import Retry
from etl_assets_tests.dataset_metadata.corpus import lay_out, listed
from etl_assets_tests.pipeline.harvests import TODAY, Harvesting

TITLES = {"a": "Peatland carbon fluxes", "b": "Butterfly counts", "c": "River discharge"}
Counted = tuple[int, int, int, int]


class Words:
    """An encoder that knows words alone: a place of the vector for each, by its checksum."""

    def __init__(self, dimension: int = 64, refuse: str = "") -> None:
        self.dimension = dimension
        self.refuse = refuse
        self.loaded: list[str] = []
        self.texts: list[str] = []

    def __call__(self, model: str) -> Words:
        """Load it."""
        self.loaded.append(model)
        return self

    def encode(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Encoder`."""
        if self.refuse and any(self.refuse in text for text in texts):
            raise ValueError("this text cannot be embedded")
        self.texts += texts
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = [0.0] * self.dimension
        for word in text.lower().split():
            vector[zlib.crc32(word.encode()) % self.dimension] += 1.0
        length = math.sqrt(sum(part * part for part in vector)) or 1.0
        return [part / length for part in vector]


class Library:
    """A few datasets in a folder, which may change from one harvest to the next."""

    def __init__(self, folder: Path, variables: Callable[..., dict[str, str]]) -> None:
        self._folder = folder
        self._variables = variables
        self.harvesting: Harvesting

    def harvest(self, titles: dict[str, str], **options: Any) -> None:
        """Load datasets with these titles."""
        for name, title in titles.items():
            body = f'{{"id": "{name}", "title": "{title}", "description": "about it"}}'
            lay_out(self._folder / "documents", {name: body.encode()}, ".json")
        chosen = listed(self._folder / "list.txt", list(titles))
        with running_source(datasets=DatasetFolder(self._folder / "documents")) as source:
            self.harvesting = Harvesting(self._variables(source, ETL_EIDC_IDENTIFIERS=chosen))
            outcome = self.harvesting.load(confirm_empty=True, **options)
        assert outcome.status.is_published

    def embed(self, encoder: Words, model: str = "words") -> Counted:
        """Embed; gives what was embedded, is unchanged, removed and failed."""
        result = self.harvesting.embed(encoder, model)
        return (result.embedded, result.unchanged, result.removed, result.failed)


@pytest.fixture
def library(tmp_path: Path, environment_of: Callable[..., dict[str, str]]) -> Library:
    """A library whose three datasets have been harvested."""
    made = Library(tmp_path, environment_of)
    made.harvest(TITLES)
    return made


def test_only_new_and_changed_texts_are_embedded(library: Library) -> None:
    encoder = Words()
    assert library.embed(encoder) == (3, 0, 0, 0)
    assert sorted(encoder.texts)[0] == "Butterfly counts\n\nabout it"
    library.harvest(TITLES, day=TODAY)
    encoder = Words()
    assert library.embed(encoder) == (0, 3, 0, 0)
    # A second harvest of unchanged documents makes no embedding: the model is not even loaded.
    assert encoder.loaded == []
    library.harvest({"a": "Peatland methane", "b": TITLES["b"]}, day=TODAY)
    assert library.embed(encoder) == (1, 1, 1, 0)
    assert encoder.texts == ["Peatland methane\n\nabout it"]
    known = "SELECT dataset_id, model, typeof(vector) FROM eidc.datasets_embeddings ORDER BY 1"
    assert library.harvesting.select(known) == [("a", "words", "FLOAT[64]"), ("b", "words", "FLOAT[64]")]


def test_what_is_gone_is_forgotten_without_a_model(library: Library) -> None:
    library.embed(Words())
    library.harvest({"a": TITLES["a"]})
    encoder = Words()
    assert library.embed(encoder) == (0, 1, 2, 0)
    assert encoder.loaded == []
    assert library.harvesting.select("SELECT dataset_id FROM eidc.datasets_embeddings") == [("a",)]


def test_another_model_embeds_all_anew(library: Library) -> None:
    library.embed(Words())
    assert library.embed(Words(dimension=8), model="other") == (3, 0, 3, 0)
    assert library.harvesting.select(
        "SELECT DISTINCT model, typeof(vector) FROM eidc.datasets_embeddings"
    ) == [("other", "FLOAT[8]")]


def test_search_gives_the_nearest_first(library: Library) -> None:
    library.embed(Words())
    warehouse, stream = library.harvesting.environment.warehouse, library.harvesting.stream
    found = search(warehouse, stream, "words", "carbon of peatland", 2, load=Words())
    assert (found[0].key, found[0].title) == ("a", TITLES["a"])
    assert len(found) == 2
    assert 1 >= found[0].score > found[1].score
    (same,) = search(warehouse, stream, "words", "Butterfly counts about it", 1, load=Words())
    assert (same.key, round(same.score, 6)) == ("b", 1.0)


def test_a_text_that_fails_costs_no_other(library: Library) -> None:
    assert library.embed(Words(refuse="River")) == (2, 0, 0, 1)
    (item,) = library.harvesting.items()
    assert (item.identifier, item.stage, item.error_type, item.attempts) == ("c", "embed", "ValueError", 1)
    assert "test_embedding.py" in item.traceback
    # It is there, and need not be asked for; a load of its day does not take it for mended.
    assert not Retry.ALL.takes(item)
    library.harvest(TITLES)
    assert [one.stage for one in library.harvesting.items()] == ["embed"]
    assert library.embed(Words(refuse="River")) == (0, 2, 0, 1)
    assert [one.attempts for one in library.harvesting.items()] == [2]
    assert library.embed(Words()) == (1, 2, 0, 0)
    assert library.harvesting.items() == []
    assert [one.state for one in library.harvesting.items(state=None)] == ["resolved"]


def test_what_cannot_be_searched(library: Library) -> None:
    warehouse, stream = library.harvesting.environment.warehouse, library.harvesting.stream
    with pytest.raises(ConfigurationError, match="nothing of eidc/datasets has been embedded yet"):
        search(warehouse, stream, "words", "peat", 3, load=Words())


@pytest.mark.skipif(embedding.is_installed(), reason="the extra embed is installed")
def test_without_the_extra_it_is_skipped_and_says_so(library: Library) -> None:
    warehouse, stream = library.harvesting.environment.warehouse, library.harvesting.stream
    result = embed_stream(warehouse, stream, "any", "run")
    assert (result.embedded, result.skipped) == (0, embedding.NOT_INSTALLED)
    with pytest.raises(ConfigurationError, match="pip install 'etl_assets\\[embed\\]'"):
        embedding.load_model("any")
    with pytest.raises(ConfigurationError, match="sentence-transformers is not installed"):
        search(warehouse, stream, "any", "peat", 3)


def test_made_up_datasets_say_different_things() -> None:
    titles = {MadeUpDatasets().record(str(number))["title"] for number in range(100)}
    assert len(titles) > 90


def test_after_a_rollback_the_texts_of_then_are_embedded(library: Library) -> None:
    library.embed(Words())
    library.harvest({"a": "Peatland methane", "b": TITLES["b"]}, day=TODAY, run_id="later")
    library.embed(Words())
    environment, stream = library.harvesting.environment, library.harvesting.stream
    plan = plan_rollback(environment, [stream], "run")
    roll_back(environment, plan, "undo", datetime.now(UTC))
    encoder = Words()
    assert library.embed(encoder) == (2, 1, 0, 0)
    assert sorted(encoder.texts) == ["Peatland carbon fluxes\n\nabout it", "River discharge\n\nabout it"]
