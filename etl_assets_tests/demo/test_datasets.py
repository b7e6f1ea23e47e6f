"""The demo's catalogue of datasets: made-up or from a folder, in every format, with the faults of the shop."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from etl_assets.demo.datasets import DatasetFolder, MadeUpDatasets, make_datasets
from etl_assets.demo.server import RunningSource, running_source
from etl_assets.failures import ConfigurationError
from etl_assets_tests.demo.conftest import Api

IDENTIFIER = "be0bdc0e-bc2e-4f1d-b524-2c02798dd893"
GONE = "e68063b9-2e52-44df-8b6f-a3deb37b76cb"
LIST = Path(__file__).parents[2] / "etl_assets" / "streams" / "eidc" / "identifiers.txt"
FORMATS = {
    "json": (f"/id/{IDENTIFIER}?format=json", "application/json", b"{"),
    "gemini": (f"/id/{IDENTIFIER}.xml?format=gemini", "application/x-gemini+xml", b"<?xml"),
    "schema.org": (f"/id/{IDENTIFIER}?format=schema.org", "application/ld+json", b"{"),
}


def get(source: RunningSource, path: str, **headers: str) -> httpx.Response:
    """Ask without a token, as the real catalogue is asked."""
    return httpx.get(f"{source.url}{path}", headers=headers, trust_env=False)


@pytest.mark.parametrize(("path", "media_type", "start"), FORMATS.values(), ids=FORMATS)
def test_documents_in_every_format(
    generated: Api, generated_source: RunningSource, path: str, media_type: str, start: bytes
) -> None:
    answer = get(generated_source, path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.content.startswith(start)
    again = get(generated_source, path, **{"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_is_not_there(generated: Api, generated_source: RunningSource) -> None:
    assert get(generated_source, f"/id/{GONE}?format=json").status_code == 404
    assert get(generated_source, f"/id/{GONE}.xml?format=gemini").status_code == 404
    assert get(generated_source, f"/id/{IDENTIFIER}?format=ttl").status_code == 406
    assert get(generated_source, "/id/").status_code == 404
    # The shop itself still asks for its token.
    assert get(generated_source, "/v1/customers").status_code == 401


def test_one_of_the_projects_own_list_is_gone() -> None:
    lines = (line.partition("#")[0].strip() for line in LIST.read_text().splitlines())
    identifiers = [line for line in lines if line]
    assert len(identifiers) == len(set(identifiers)) == 200
    assert [one for one in identifiers if MadeUpDatasets().is_gone(one)] == [GONE]


def test_made_up_documents_are_a_function_of_identifier_and_seed() -> None:
    first, again, other = MadeUpDatasets(1), MadeUpDatasets(1), MadeUpDatasets(2)
    assert first.document(IDENTIFIER, "gemini") == again.document(IDENTIFIER, "gemini")
    assert first.document(IDENTIFIER, "gemini") != other.document(IDENTIFIER, "gemini")
    assert first.document(IDENTIFIER, "ttl") is None


def test_made_up_documents_have_the_dirt_of_real_ones() -> None:
    records = [MadeUpDatasets().record(f"{number}") for number in range(400)]
    boxes = [box for record in records for box in record["boxes"]]
    periods = [period for record in records for period in record["periods"]]
    assert any(box["west"] > box["east"] for box in boxes)
    assert any(record["periods"] == [] for record in records)
    assert any(period["end"] is None for period in periods)
    assert any(period["end"] and period["end"] < period["begin"] for period in periods)
    assert any(record["relationships"] for record in records)


def test_faults_strike_documents_too(generated: Api, generated_source: RunningSource) -> None:
    generated_source.faults.errors = 1.0
    assert get(generated_source, f"/id/{IDENTIFIER}?format=json").status_code in (500, 502, 503, 504)


def test_documents_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b'{"id": "a"}')
    (tmp_path / "b.xml").write_bytes(b"<b/>")
    (tmp_path / "c.jsonld").write_bytes(b"{}")
    (tmp_path / "notes.txt").write_text("no document")
    folder = make_datasets(tmp_path)
    assert folder.label == "3 documents from a folder"
    with running_source(datasets=folder) as source:
        assert get(source, "/id/a?format=json").content == b'{"id": "a"}'
        assert get(source, "/id/b.xml?format=gemini").content == b"<b/>"
        assert get(source, "/id/c?format=schema.org").content == b"{}"
        assert get(source, "/id/a.xml?format=gemini").status_code == 404
        assert get(source, "/id/..%2Fnotes?format=json").status_code == 404
        assert get(source, "/id/notes?format=json").status_code == 404


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        DatasetFolder(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="holds no documents"):
        DatasetFolder(tmp_path)
