"""Metadata as JSON-LD in the vocabulary of schema.org.

It is read as the plain JSON that it also is: a context is never fetched, and terms count with and without the prefix
`schema:`. What belongs here: where schema.org keeps what. What does not: the spelling of values (`record`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from etl_assets.dataset_metadata.record import (
    NoMetadataError,
    Record,
    doi_of,
    identifier_of,
    prose,
    text,
)

_TYPES = {"Dataset": "dataset", "DataCatalog": "series", "Collection": "aggregate", "WebAPI": "service"}
_ROLES = {
    "creator": "author",
    "author": "author",
    "contributor": "contributor",
    "publisher": "publisher",
    "provider": "custodian",
    "copyrightHolder": "rightsHolder",
    "funder": "funder",
}
_RELATIONS = {"isPartOf": "memberOf", "hasPart": "hasMember", "isBasedOn": "uses", "isRelatedTo": "relatedTo"}
_PREFIX = re.compile(r"^(?:schema:|https?://schema\.org/)")
_ENDS_OF_TIME = re.compile(r"/(?=\d{4}|\.\.|$)")

LOSSES = {
    "lineage": "schema.org has no term for it",
    "status": "schema.org has no term for it",
    "topics": "schema.org has no term for it",
    "licence": "only its address is there",
    "metadata_date": "schema.org has no term for it that the catalogue fills",
    "people": "points of contact and distributors are not there",
    "relationships": "only parts, wholes and sources are there",
}
"""What the format cannot say."""


def parse(body: bytes) -> dict[str, Any]:
    """Read a document in schema.org's JSON-LD.

    Args:
        body: The document.

    Raises:
        NoMetadataError: If it describes no dataset, or several.
        orjson.JSONDecodeError: If it is not JSON.
    """
    document = _dataset(orjson.loads(body))
    record = Record(dict(LOSSES))
    values = record.values
    values["identifier"], values["doi"] = _identifiers(document)
    values["title"] = text(document.get("name"))
    values["abstract"] = prose(document.get("description"))
    values["type"] = _TYPES.get(_type(document), _type(document).lower() or None)
    values["publication_date"] = record.day("publication_date", document.get("datePublished"))
    for one in _list(document.get("license")):
        values["licence_url"] = text(one.get("url") or one.get("@id") if isinstance(one, Mapping) else one)
        break
    _add_lists(record, document)
    return record.finish()


def _dataset(found: Any) -> Mapping[str, Any]:
    nodes: Any = found.get("@graph", [found]) if isinstance(found, Mapping) else found
    plain = [_plain(node) for node in _list(nodes) if isinstance(node, Mapping)]
    described: list[Mapping[str, Any]] = [node for node in plain if _type(node) in _TYPES]
    if len(described) != 1:
        raise NoMetadataError(f"the JSON-LD describes {len(described)} datasets")
    return described[0]


def _plain(value: Any) -> Any:
    """Give the same value without prefixes, and without the wrapping of `{"@value": ...}`."""
    if isinstance(value, Mapping):
        if "@value" in value:
            return value["@value"]
        return {_PREFIX.sub("", str(name)): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _type(node: Mapping[str, Any]) -> str:
    for one in _list(node.get("@type")):
        name = _PREFIX.sub("", str(one))
        if name in _TYPES:
            return name
    return ""


def _identifiers(document: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Give identifier and DOI, wherever they stand."""
    candidates: list[Any] = []
    for one in (document.get("@id"), document.get("url"), *_list(document.get("identifier"))):
        candidates.append(one.get("value") or one.get("url") if isinstance(one, Mapping) else one)
    candidates += _list(document.get("sameAs"))
    doi = next((found for one in candidates if (found := doi_of(one))), None)
    own = next((identifier_of(one) for one in candidates if text(one) and not doi_of(one)), None)
    return own, doi


def _add_lists(record: Record, document: Mapping[str, Any]) -> None:
    for term, role in _ROLES.items():
        for one in _list(document.get(term)):
            _add_person(record, one, role)
    for one in _keywords(document.get("keywords")):
        if isinstance(one, Mapping):
            record.add_keyword(one.get("name"), one.get("url") or one.get("@id"))
        else:
            record.add_keyword(one)
    _add_extents(record, document)
    for one in _objects(document.get("distribution")):
        function = "download" if one.get("contentUrl") else "information"
        record.add_link(
            one.get("contentUrl") or one.get("url"), one.get("name"), function, one.get("description")
        )
    for term, relation in _RELATIONS.items():
        for one in _list(document.get(term)):
            target = one.get("@id") or one.get("url") if isinstance(one, Mapping) else one
            record.add_relationship(relation, target)


def _add_extents(record: Record, document: Mapping[str, Any]) -> None:
    for one in _objects(document.get("spatialCoverage")):
        for shape in _objects(one.get("geo")):
            _add_box(record, shape)
    for one in _list(document.get("temporalCoverage")):
        begin, *end = _ENDS_OF_TIME.split(text(one) or "", maxsplit=1)
        record.add_period(
            *(None if part in ("", "..") else part for part in (begin, end[0] if end else begin))
        )


def _add_person(record: Record, one: object, role: str) -> None:
    if not isinstance(one, Mapping):
        record.add_person(one, None, None, role)
        return
    addresses = (one.get("sameAs"), one.get("@id"), one.get("identifier"))
    orcid = next((found for found in addresses if text(found)), None)
    if one.get("@type") == "Organization":
        record.add_person(None, one.get("name"), one.get("email"), role)
        return
    works_for = next(iter(_list(one.get("affiliation"))), None)
    organisation = works_for.get("name") if isinstance(works_for, Mapping) else works_for
    full = ", ".join(filter(None, (text(one.get("familyName")), text(one.get("givenName")))))
    record.add_person(one.get("name") or full, organisation, one.get("email"), role, orcid)


def _add_box(record: Record, shape: Mapping[str, Any]) -> None:
    corners = (text(shape.get("box")) or "").replace(",", " ").split()
    if len(corners) == 4:
        south, west, north, east = corners
        record.add_box(west, east, south, north)
    elif corners:
        record.lose("extents", "a box has not four sides")


def _keywords(value: object) -> Iterator[Any]:
    for one in _list(value):
        if isinstance(one, str) and not isinstance(value, list):
            yield from one.split(",")
        else:
            yield one


def _list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [one for one in _list(value) if isinstance(one, Mapping)]
