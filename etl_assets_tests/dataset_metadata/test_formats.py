"""The same dataset in different formats gives the same record, but for what a format cannot say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from etl_assets.dataset_metadata import catalogue_json, iso19139, schema_org
from etl_assets.dataset_metadata.record import FIELDS, NoMetadataError
from etl_assets.demo.dataset_formats import RENDERERS, as_gemini
from etl_assets.demo.datasets import MadeUpDatasets

DATASETS = MadeUpDatasets(seed=5)
IDENTIFIERS = [f"{number:08x}-1111-4222-8333-444455556666" for number in range(60)]
PARSERS: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "json": catalogue_json.parse,
    "gemini": iso19139.parse,
    "schema.org": schema_org.parse,
}
WHOLE = MadeUpDatasets().record("be0bdc0e-bc2e-4f1d-b524-2c02798dd893") | {
    "title": "Über  Moore & <Torf>",
    "relationships": [{"relation": "memberOf", "target": "af6c4679-99aa-4352-9f63-af3bd7bc87a4"}],
    "periods": [{"begin": "1990-01-01", "end": None}],
}


def read(identifier: str, form: str) -> dict[str, Any]:
    """Read a made-up dataset in one format."""
    body = DATASETS.document(identifier, form)
    assert body is not None
    return PARSERS[form](body)


@pytest.mark.parametrize(("form", "losses"), [("gemini", iso19139.LOSSES), ("schema.org", schema_org.LOSSES)])
def test_the_same_dataset_gives_the_same_record(form: str, losses: dict[str, str]) -> None:
    differ: set[str] = set()
    for identifier in IDENTIFIERS:
        whole, other = read(identifier, "json"), read(identifier, form)
        assert whole["losses"] == []
        assert other["losses"] == sorted(f"{name}: {what}" for name, what in losses.items())
        differ |= {name for name in FIELDS if whole[name] != other[name]}
    # What differs is recorded as lost. People are whole here: all made-up ones are authors.
    assert differ == set(losses) - {"people"}


def test_a_record_holds_what_the_document_says() -> None:
    record = catalogue_json.parse(RENDERERS["json"](WHOLE))
    assert record["identifier"] == WHOLE["identifier"]
    assert record["title"] == "Über Moore & <Torf>"
    assert record["abstract"] == WHOLE["abstract"]
    assert record["doi"] == WHOLE["doi"]
    assert record["relationships"] == [
        {"relation": "memberOf", "target": "af6c4679-99aa-4352-9f63-af3bd7bc87a4"}
    ]
    box, period = record["extents"]
    assert (box["kind"], period["kind"]) == ("box", "period")
    assert {side: box[side] for side in ("west", "east", "south", "north")} == WHOLE["boxes"][0]
    assert (period["begins_on"], period["ends_on"]) == ("1990-01-01", None)
    assert record["people"][0]["email"] == WHOLE["people"][0]["email"]
    assert len(record["people"][0]["orcid"]) == len("0000-0000-0000-0000")


def test_gemini_in_a_response_of_a_catalogue_service() -> None:
    plain = as_gemini(WHOLE)
    inner = plain.partition(b"?>")[2]
    wrapped = (
        b'<csw:GetRecordByIdResponse xmlns:csw="http://www.opengis.net/cat/csw/2.0.2">%s'
        b"</csw:GetRecordByIdResponse>"
    )
    assert iso19139.parse(wrapped % inner) == iso19139.parse(plain)
    for number in (0, 2):
        with pytest.raises(NoMetadataError, match=f"holds {number} records"):
            iso19139.parse(wrapped % (inner * number))


@pytest.mark.parametrize(
    ("parse", "body", "words"),
    [
        (catalogue_json.parse, b"[]", "no document of the catalogue"),
        (catalogue_json.parse, b'{"title": "no id"}', "no document of the catalogue"),
        (iso19139.parse, b"<html/>", "no ISO 19139 metadata"),
        (schema_org.parse, b'{"@type": "WebPage"}', "describes 0 datasets"),
        (schema_org.parse, b'[{"@type": "Dataset"}, {"@type": "Dataset"}]', "describes 2 datasets"),
    ],
    ids=["array", "no id", "html", "web page", "two datasets"],
)
def test_what_is_no_metadata_is_refused(parse: Callable[[bytes], Any], body: bytes, words: str) -> None:
    with pytest.raises(NoMetadataError, match=words):
        parse(body)


def schema(**terms: Any) -> dict[str, Any]:
    """Read a dataset in schema.org's vocabulary."""
    return schema_org.parse(
        json.dumps({"@type": "Dataset", "@id": "https://c.example/id/x", **terms}).encode()
    )


def test_json_ld_in_other_spellings() -> None:
    graph = {
        "@context": {"schema": "http://schema.org/"},
        "@graph": [
            {"@type": "schema:Organization", "schema:name": "a bystander"},
            {
                "@type": ["schema:Dataset"],
                "@id": "https://catalogue.example.com/id/abc",
                "schema:name": {"@value": "Ponds", "@language": "en"},
                "schema:identifier": "https://doi.org/10.5285/ABC",
                "schema:keywords": "water, frogs",
            },
        ],
    }
    record = schema_org.parse(json.dumps(graph).encode())
    assert (record["identifier"], record["title"], record["doi"]) == ("abc", "Ponds", "10.5285/abc")
    assert [one["keyword"] for one in record["keywords"]] == ["water", "frogs"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("2013-05-25/2015-08-10", ("2013-05-25", "2015-08-10")),
        ("2013/..", ("2013-01-01", None)),
        ("../2015", (None, "2015-12-31")),
        ("2014-02", ("2014-02-01", "2014-02-28")),
    ],
)
def test_spans_of_time_in_json_ld(given: str, found: tuple[str | None, str | None]) -> None:
    (period,) = schema(temporalCoverage=given)["extents"]
    assert (period["begins_on"], period["ends_on"]) == found


def test_a_box_in_json_ld_has_four_sides() -> None:
    def boxed(box: str) -> dict[str, Any]:
        return schema(spatialCoverage={"geo": {"@type": "GeoShape", "box": box}})

    (box,) = boxed("50.1,-8 60 2")["extents"]
    assert (box["south"], box["west"], box["north"], box["east"]) == (50.1, -8, 60, 2)
    odd = boxed("1 2 3")
    assert odd["extents"] == []
    assert "extents: a box has not four sides" in odd["losses"]
