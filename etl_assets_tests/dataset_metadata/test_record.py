"""The spelling of values, and what a record does with what it cannot hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from etl_assets.dataset_metadata import catalogue_json
from etl_assets.dataset_metadata.record import (
    Record,
    doi_of,
    identifier_of,
    last_part,
    number,
    orcid_of,
    prose,
    text,
)


def read(**fields: Any) -> dict[str, Any]:
    """Read a document in the catalogue's JSON."""
    return catalogue_json.parse(json.dumps({"id": "x", **fields}).encode())


@pytest.mark.parametrize(
    ("given", "found"),
    [(" a\n b ", "a b"), ("", None), ("  ", None), (None, None), (True, None), ({}, None), (7, "7")],
)
def test_text(given: object, found: str | None) -> None:
    assert text(given) == found


def test_prose_keeps_paragraphs() -> None:
    assert prose("  one\r\n\ttwo  \n\n\n\n three ") == "one\ntwo\n\nthree"
    assert prose("\n ") is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("10.5285/ABC", "10.5285/abc"),
        ("doi:10.5285/abc", "10.5285/abc"),
        ("https://doi.org/10.5285/abc", "10.5285/abc"),
        ("http://dx.doi.org/10.5285/abc", "10.5285/abc"),
        ("https://example.com/10.5285/abc", None),
        (None, None),
    ],
)
def test_doi(given: object, found: str | None) -> None:
    assert doi_of(given) == found


def test_identifiers_orcids_and_terms() -> None:
    assert identifier_of("https://catalogue.ceh.ac.uk/id/abc?format=json") == "abc"
    assert identifier_of("https://catalogue.ceh.ac.uk/documents/abc") == "abc"
    assert identifier_of(" abc ") == "abc"
    assert orcid_of("https://orcid.org/0000-0001-5382-513x") == "0000-0001-5382-513X"
    assert orcid_of("https://isni.org/1") is None
    assert last_part("https://vocabs.ceh.ac.uk/eidc#memberOf") == "memberOf"
    assert last_part("https://vocabs.example/relations/uses/") == "uses"
    assert [number(one) for one in ("1.5", -3, "x", "inf", "nan", None)] == [
        1.5,
        -3.0,
        None,
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("given", "first", "last", "loss"),
    [
        ("2015-02-28", "2015-02-28", "2015-02-28", None),
        ("2015-02-28T11:00:00Z", "2015-02-28", "2015-02-28", None),
        ("2016-02", "2016-02-01", "2016-02-29", "a date is known to the month or year only"),
        ("2016", "2016-01-01", "2016-12-31", "a date is known to the month or year only"),
        ("2015-02-30", None, None, "a date cannot be read"),
        ("2015-13", None, None, "a date cannot be read"),
        ("0000", None, None, "a date cannot be read"),
        ("spring 2015", None, None, "a date cannot be read"),
        ("", None, None, None),
    ],
)
def test_days(given: str, first: str | None, last: str | None, loss: str | None) -> None:
    record = Record({})
    assert (record.day("extents", given), record.day("extents", given, last=True)) == (first, last)
    lost = record.finish()["losses"]
    assert ([line for line in lost if line.startswith("extents: a date cannot")] != []) == (
        loss == "a date cannot be read"
    )
    assert any(loss in line for line in lost) if loss else lost == []


def test_odd_documents_are_read_as_far_as_they_go() -> None:
    record = read(
        title=["not", "a", "title"],
        description=5,
        boundingBoxes=[{"westBoundLongitude": "far"}, "box", {}],
        temporalExtents=[{"begin": "2015-99-99"}, None],
        responsibleParties=[{}, {"role": "author"}, {"familyName": "Byers", "givenName": "E.A."}, 3],
        keywordsOther=["plain", {"value": None}, {"value": "with", "uri": 1}, {"value": "with", "uri": 1}],
        onlineResources=[{"name": "no address"}],
        relationships=[{"relation": "x"}],
        topicCategories={"value": "not a list"},
        datasetReferenceDate=[],
    )
    assert (record["title"], record["abstract"]) == (None, "5")
    assert (record["extents"], record["links"], record["relationships"], record["topics"]) == ([], [], [], [])
    assert [one["name"] for one in record["people"]] == ["Byers, E.A."]
    assert [(one["keyword"], one["uri"]) for one in record["keywords"]] == [("plain", None), ("with", "1")]
    assert record["losses"] == ["extents: a date cannot be read", "extents: west is no number"]


def test_the_licence_is_told_from_other_constraints() -> None:
    cite = {"value": "If you reuse this data, you must cite it", "code": "otherRestrictions"}
    ogl = {"value": "Open Government Licence", "code": "license", "uri": "https://ogl.example"}
    spoken = {"value": "Licence terms apply", "code": "copyright"}
    assert read(useConstraints=[cite, spoken, ogl])["licence_url"] == "https://ogl.example"
    assert read(useConstraints=[cite, spoken])["licence"] == "Licence terms apply"
    assert read(useConstraints=[cite])["licence"] is None
