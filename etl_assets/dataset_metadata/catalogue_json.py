"""Metadata in the catalogue's own JSON.

What belongs here: where the catalogue keeps what. What does not: the spelling of values (`record`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from etl_assets.dataset_metadata.record import (
    NoMetadataError,
    Record,
    doi_of,
    identifier_of,
    is_licence,
    prose,
    text,
)

_KEYWORDS = ("keywords", "keywordsTheme", "keywordsPlace", "keywordsOther", "keywordsParameters")
_PEOPLE = ("responsibleParties", "authors", "contacts", "distributorContacts")


def parse(body: bytes) -> dict[str, Any]:
    """Read a document in the catalogue's JSON.

    Args:
        body: The document.

    Raises:
        NoMetadataError: If it is no object, or has no identifier.
        orjson.JSONDecodeError: If it is not JSON.
    """
    document = orjson.loads(body)
    if not isinstance(document, dict) or text(document.get("id")) is None:
        raise NoMetadataError("the JSON is no document of the catalogue")
    record = Record({})
    values = record.values
    values["identifier"] = identifier_of(document["id"])
    values["title"] = text(document.get("title"))
    values["abstract"] = prose(document.get("description"))
    values["lineage"] = prose(document.get("lineage"))
    values["type"] = text(_value(document.get("resourceType"))) or text(document.get("type"))
    values["status"] = text(document.get("resourceStatus")) or text(
        _object(document.get("accessLimitation")).get("code")
    )
    values["topics"] = [
        topic for one in _list(document.get("topicCategories")) if (topic := text(_value(one)))
    ]
    values["doi"] = _doi(document)
    dates = _object(document.get("datasetReferenceDate"))
    values["publication_date"] = record.day("publication_date", dates.get("publicationDate"))
    values["metadata_date"] = text(document.get("metadataDate"))
    _add_licence(record, document)
    _add_lists(record, document)
    return record.finish()


def _add_lists(record: Record, document: Mapping[str, Any]) -> None:
    for name in _PEOPLE:
        for one in _objects(document.get(name)):
            full = ", ".join(filter(None, (text(one.get("familyName")), text(one.get("givenName")))))
            name_of = one.get("individualName") or full
            record.add_person(
                name_of,
                one.get("organisationName"),
                one.get("email"),
                one.get("role"),
                one.get("nameIdentifier"),
            )
    for name in _KEYWORDS:
        for one in _list(document.get(name)):
            record.add_keyword(_value(one), _object(one).get("uri"))
    for one in _objects(document.get("inspireThemes")):
        record.add_keyword(one.get("theme"), one.get("uri"))
    for one in _objects(document.get("boundingBoxes")) or _objects([document.get("boundingBox")]):
        record.add_box(
            *(
                one.get(f"{side}Bound{kind}")
                for side, kind in (
                    ("west", "Longitude"),
                    ("east", "Longitude"),
                    ("south", "Latitude"),
                    ("north", "Latitude"),
                )
            )
        )
    for one in _objects(document.get("temporalExtents")) or _objects([document.get("temporalExtent")]):
        record.add_period(one.get("begin"), one.get("end"))
    for one in _objects(document.get("onlineResources")):
        record.add_link(one.get("url"), one.get("name"), one.get("function"), one.get("description"))
    for one in _objects(document.get("relationships")):
        record.add_relationship(one.get("relation"), one.get("target"))


def _doi(document: Mapping[str, Any]) -> str | None:
    for one in _objects(document.get("resourceIdentifiers")):
        if (text(one.get("codeSpace")) or "").lower().startswith("doi") and (
            found := doi_of(one.get("code"))
        ):
            return found
    return doi_of(_object(document.get("citation")).get("doi"))


def _add_licence(record: Record, document: Mapping[str, Any]) -> None:
    constraints = list(_objects(document.get("useConstraints")))
    declared = [one for one in constraints if text(one.get("code")) == "license"]
    spoken_of = [one for one in constraints if is_licence(one.get("value"), one.get("uri"))]
    for one in (*declared, *spoken_of):
        record.values["licence"] = text(one.get("value"))
        record.values["licence_url"] = text(one.get("uri"))
        return


def _value(one: object) -> object:
    """Give the value of `{"value": ...}`, or what stands there plainly."""
    return one.get("value") if isinstance(one, Mapping) else one


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: object) -> list[Mapping[str, Any]]:
    return list(_only_objects(value))


def _only_objects(value: object) -> Iterator[Mapping[str, Any]]:
    for one in _list(value):
        if isinstance(one, Mapping):
            yield one
