"""Metadata as ISO 19139 XML, such as the UK GEMINI profile, alone or in a CSW response.

What belongs here: where ISO 19139 keeps what. What does not: the spelling of values (`record`), and what XML is refused
(`safe_xml`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from etl_assets.dataset_metadata.record import (
    NoMetadataError,
    Record,
    doi_of,
    identifier_of,
    is_licence,
    prose,
    text,
)
from etl_assets.dataset_metadata.safe_xml import parse_xml

GMD = "http://www.isotc211.org/2005/gmd"
_METADATA = f"{{{GMD}}}MD_Metadata"
_CSW_RESPONSES = ("GetRecordByIdResponse", "GetRecordsResponse")
_HREF = "{http://www.w3.org/1999/xlink}href"
_NAME = re.compile(r"\w+")
_LANGUAGES_OF_TIME = ("http://www.opengis.net/gml/3.2", "http://www.opengis.net/gml")

LOSSES = {
    "status": "the profile says how far the work has come, not whether the dataset is to be had",
    "relationships": "only associations of ISO 19115 are there, by the kind of association",
}
"""What the format cannot say."""


def parse(body: bytes) -> dict[str, Any]:
    """Read a document in ISO 19139.

    Args:
        body: The document.

    Raises:
        NoMetadataError: If it holds no metadata, or several.
        UnsafeXmlError: If it declares a document type, or is too large.
        lxml.etree.XMLSyntaxError: If it is not well-formed.
    """
    metadata, _ = unwrap(parse_xml(body))
    record = Record(dict(LOSSES))
    values = record.values
    values["identifier"] = identifier_of(_text(metadata, "fileIdentifier"))
    values["type"] = _code(metadata, "hierarchyLevel/MD_ScopeCode")
    values["lineage"] = prose(_raw(metadata, "dataQualityInfo//LI_Lineage/statement"))
    values["metadata_date"] = _text(metadata, "dateStamp")
    _identify(record, metadata)
    _add_lists(record, metadata)
    return record.finish()


def unwrap(root: etree._Element) -> tuple[etree._Element, bool]:
    """Find the metadata in a document.

    Returns:
        The element, and whether it came in a response of a catalogue service.

    Raises:
        NoMetadataError: If there is none, or there are several.
    """
    if root.tag == _METADATA:
        return root, False
    if etree.QName(root).localname not in _CSW_RESPONSES:
        raise NoMetadataError("the XML is no ISO 19139 metadata")
    found = list(root.iter(_METADATA))
    if len(found) != 1:
        raise NoMetadataError(f"the response of the catalogue service holds {len(found)} records")
    return found[0], True


def _identify(record: Record, metadata: etree._Element) -> None:
    values = record.values
    identification = next(_each(metadata, "identificationInfo/*"), None)
    if identification is None:
        return
    citation = next(_each(identification, "citation/CI_Citation"), None)
    if citation is not None:
        values["title"] = _text(citation, "title")
        values["doi"] = _doi(citation)
        for one in _each(citation, "date/CI_Date"):
            if _code(one, "dateType/CI_DateTypeCode") == "publication" and not values.get("publication_date"):
                values["publication_date"] = record.day("publication_date", _text(one, "date"))
    values["abstract"] = prose(_raw(identification, "abstract"))
    values["topics"] = [
        topic
        for one in _each(identification, "topicCategory/MD_TopicCategoryCode")
        if (topic := text(one.text))
    ]
    _add_licence(record, identification)


def _add_lists(record: Record, metadata: etree._Element) -> None:
    for path in ("identificationInfo/*/pointOfContact", "distributionInfo//distributorContact"):
        for one in _each(metadata, f"{path}/CI_ResponsibleParty"):
            record.add_person(
                _text(one, "individualName"),
                _text(one, "organisationName"),
                _text(one, "contactInfo//electronicMailAddress"),
                _code(one, "role/CI_RoleCode"),
                _href(one, "individualName") or _text(one, "contactInfo//onlineResource//linkage"),
            )
    for one in _each(metadata, "identificationInfo/*/descriptiveKeywords/MD_Keywords/keyword"):
        record.add_keyword(_spoken(one), _href_of(one))
    for one in _each(metadata, "identificationInfo/*//EX_GeographicBoundingBox"):
        sides = ("westBoundLongitude", "eastBoundLongitude", "southBoundLatitude", "northBoundLatitude")
        record.add_box(*(_text(one, side) for side in sides))
    for one in _each(metadata, "identificationInfo/*//EX_TemporalExtent/extent"):
        record.add_period(_position(record, one, "begin"), _position(record, one, "end"))
    for one in _each(metadata, "distributionInfo//transferOptions//onLine/CI_OnlineResource"):
        record.add_link(
            _text(one, "linkage"),
            _text(one, "name"),
            _code(one, "function/CI_OnLineFunctionCode"),
            _text(one, "description"),
        )
    for one in _each(metadata, "identificationInfo/*/aggregationInfo/MD_AggregateInformation"):
        record.add_relationship(
            _code(one, "associationType/DS_AssociationTypeCode"),
            _text(one, "aggregateDataSetIdentifier//code"),
        )


def _doi(citation: etree._Element) -> str | None:
    for one in _each(citation, "identifier/*"):
        if found := doi_of(_text(one, "code")) or doi_of(_href(one, "code")):
            return found
    return None


def _add_licence(record: Record, identification: etree._Element) -> None:
    for path in ("MD_LegalConstraints/otherConstraints", "*/useLimitation"):
        for one in _each(identification, f"resourceConstraints/{path}"):
            said, address = text(_spoken(one)), _href_of(one)
            # "If you reuse this data, you must cite" stands in the same place.
            if is_licence(said, address) and not (said or "").lower().startswith("if you reuse"):
                record.values["licence"], record.values["licence_url"] = said, text(address)
                return


def _position(record: Record, extent: etree._Element, end: str) -> str | None:
    """Give one end of a span of time, or the moment that stands for both."""
    for language in _LANGUAGES_OF_TIME:
        for name in (f"{end}Position", end, "timePosition"):
            for one in extent.iter(f"{{{language}}}{name}"):
                if doubt := one.get("indeterminatePosition"):
                    record.lose("extents", f"the {end} of a time is {doubt}")
                    return None
                if found := text("".join(map(str, one.itertext()))):
                    return found
    return None


def _each(element: etree._Element, path: str) -> Iterator[etree._Element]:
    """Give the elements at a path of names of ISO 19139; `*` and `//` mean what they do in XPath."""
    yield from element.iterfind("./" + _NAME.sub(rf"{{{GMD}}}\g<0>", path))


def _spoken(element: etree._Element) -> str:
    return "".join(map(str, element.itertext()))


def _raw(element: etree._Element, path: str) -> str | None:
    return next((_spoken(one) for one in _each(element, path)), None)


def _text(element: etree._Element, path: str) -> str | None:
    return text(_raw(element, path))


def _code(element: etree._Element, path: str) -> str | None:
    for one in _each(element, path):
        return text(one.get("codeListValue")) or text(one.text)
    return None


def _href(element: etree._Element, path: str) -> str | None:
    return next((address for one in _each(element, path) if (address := _href_of(one))), None)


def _href_of(element: etree._Element) -> str | None:
    """Give the address of an element's anchor."""
    return next((text(one.get(_HREF)) for one in element.iter() if one.get(_HREF)), None)
