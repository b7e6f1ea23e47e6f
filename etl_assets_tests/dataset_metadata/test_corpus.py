"""The real documents: all of them are read, or refused one by one with a reason."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from lxml import etree

from etl_assets.dataset_metadata import catalogue_json, iso19139
from etl_assets.dataset_metadata.record import FIELDS
from etl_assets.dataset_metadata.safe_xml import parse_xml
from etl_assets_tests.dataset_metadata.corpus import json_documents, xml_documents

pytestmark = pytest.mark.real_data

MALFORMED = {
    "UPRN/ClimateJust/gmd/CJ_Metadata_Rich": "Opening and ending tag mismatch",
    "UPRN/DEFRA/ModelledBackgroundPollution/gmd/so2/so2__annual_mean__ug_m3__2010": "prefix xlink",
}


def test_json_documents() -> None:
    records = [catalogue_json.parse(body) for body in json_documents().values()]
    assert len(records) == 70
    assert all(list(record) == [*FIELDS, "losses"] for record in records)
    assert all(record["identifier"] for record in records)
    assert _filled(records) == {
        "identifier": 70,
        "title": 63,
        "abstract": 52,
        "lineage": 25,
        "type": 61,
        "status": 19,
        "topics": 22,
        "licence": 14,
        "licence_url": 14,
        "doi": 12,
        "publication_date": 17,
        "metadata_date": 58,
        "people": 31,
        "keywords": 43,
        "extents": 42,
        "links": 28,
        "relationships": 16,
    }


def test_xml_records() -> None:
    """2 malformed, 9 unwrapped from CSW, 15 without an identifier, 7 repeats, as counted by hand."""
    documents = xml_documents()
    assert len(documents) == 568
    records: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    wrapped = 0
    for name, body in documents.items():
        try:
            records.append(iso19139.parse(body))
        except etree.XMLSyntaxError as error:
            refused[name] = str(error)
        else:
            wrapped += iso19139.unwrap(parse_xml(body))[1]
    assert set(refused) == set(MALFORMED)
    assert all(words in refused[name] for name, words in MALFORMED.items())
    identifiers = Counter(record["identifier"] for record in records)
    assert (len(records), wrapped, identifiers.pop(None)) == (566, 9, 15)
    assert sum(number - 1 for number in identifiers.values()) == 7
    assert all(record["title"] and record["abstract"] for record in records)
    found = _filled(records)
    assert (found["doi"], found["people"], found["extents"], found["licence"]) == (41, 53, 563, 156)
    losses = Counter(line for record in records for line in record["losses"])
    assert losses["extents: the end of a time is unknown"] == 5


def _filled(records: list[dict[str, Any]]) -> dict[str, int]:
    return {name: sum(1 for record in records if record[name]) for name in FIELDS}
