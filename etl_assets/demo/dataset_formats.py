"""A made-up dataset in the formats that the catalogue gives: its own JSON, ISO 19139 XML, and schema.org JSON-LD.

What belongs here: how each format says what. What does not: what there is to say (`datasets`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from lxml import etree

Record = dict[str, Any]

ADDRESS = "https://catalogue.example.com/id/"
RELATIONS = "https://vocabs.example.com/eidc#"
CODES = "http://www.isotc211.org/2005/resources/codeList.xml#"
SPACES = {
    "gmd": "http://www.isotc211.org/2005/gmd",
    "gco": "http://www.isotc211.org/2005/gco",
    "gmx": "http://www.isotc211.org/2005/gmx",
    "gml": "http://www.opengis.net/gml/3.2",
    "xlink": "http://www.w3.org/1999/xlink",
}


def as_json(record: Record) -> bytes:
    """Write a dataset in the catalogue's own JSON."""
    document = {
        "id": record["identifier"],
        "uri": ADDRESS + record["identifier"],
        "type": record["type"],
        "title": record["title"],
        "description": record["abstract"],
        "lineage": record["lineage"],
        "metadataDate": record["metadata_date"],
        "resourceStatus": record["status"],
        "resourceType": {"value": record["type"]},
        "resourceIdentifiers": [{"code": record["doi"], "codeSpace": "doi:"}],
        "topicCategories": [{"value": topic} for topic in record["topics"]],
        "keywordsOther": record["keywords"],
        "useConstraints": [
            {"value": record["licence"], "code": "license", "uri": record["licence_url"]},
        ],
        "datasetReferenceDate": {"publicationDate": record["publication_date"]},
        "responsibleParties": [
            {
                "individualName": person["name"],
                "organisationName": person["organisation"],
                "email": person["email"],
                "role": person["role"],
                "nameIdentifier": person["orcid"],
            }
            for person in record["people"]
        ],
        "boundingBoxes": [
            {
                "westBoundLongitude": box["west"],
                "eastBoundLongitude": box["east"],
                "southBoundLatitude": box["south"],
                "northBoundLatitude": box["north"],
            }
            for box in record["boxes"]
        ],
        "temporalExtents": [
            {end: day for end, day in period.items() if day is not None} for period in record["periods"]
        ],
        "onlineResources": record["links"],
        "relationships": [
            {"relation": RELATIONS + one["relation"], "target": ADDRESS + one["target"]}
            for one in record["relationships"]
        ],
    }
    return orjson.dumps(document)


def as_schema_org(record: Record) -> bytes:
    """Write a dataset in schema.org's vocabulary."""
    document = {
        "@context": "http://schema.org/",
        "@type": "Dataset",
        "@id": ADDRESS + record["identifier"],
        "identifier": {"@type": "PropertyValue", "propertyID": "doi", "value": f"doi:{record['doi']}"},
        "name": record["title"],
        "description": record["abstract"],
        "datePublished": record["publication_date"],
        "license": record["licence_url"],
        "keywords": [
            {"@type": "DefinedTerm", "name": keyword["value"], "url": keyword["uri"]}
            for keyword in record["keywords"]
        ],
        "creator": [
            {
                "@type": "Person",
                "name": person["name"],
                "email": person["email"],
                "affiliation": {"@type": "Organization", "name": person["organisation"]},
                "sameAs": person["orcid"],
            }
            for person in record["people"]
        ],
        "spatialCoverage": [
            {
                "@type": "Place",
                "geo": {
                    "@type": "GeoShape",
                    "box": f"{box['south']} {box['west']} {box['north']} {box['east']}",
                },
            }
            for box in record["boxes"]
        ],
        "temporalCoverage": [f"{one['begin']}/{one['end'] or '..'}" for one in record["periods"]],
        "distribution": [
            {
                "@type": "DataDownload",
                "contentUrl": link["url"],
                "name": link["name"],
                "description": link["description"],
            }
            for link in record["links"]
        ],
    }
    return orjson.dumps(document)


def as_gemini(record: Record) -> bytes:
    """Write a dataset as ISO 19139 XML."""
    root = etree.Element(_name("gmd:MD_Metadata"), nsmap=SPACES)
    _text(root, "gmd:fileIdentifier", record["identifier"])
    _code(_add(root, "gmd:hierarchyLevel"), "gmd:MD_ScopeCode", record["type"])
    _add(root, "gmd:dateStamp/gco:DateTime").text = record["metadata_date"]
    about = _add(root, "gmd:identificationInfo/gmd:MD_DataIdentification")
    _add_citation(about, record)
    _text(about, "gmd:abstract", record["abstract"])
    for person in record["people"]:
        _add_person(about, person)
    for keyword in record["keywords"]:
        place = _add(about, "gmd:descriptiveKeywords/gmd:MD_Keywords/gmd:keyword")
        _anchor(place, keyword["value"], keyword["uri"])
    constraints = _add(about, "gmd:resourceConstraints/gmd:MD_LegalConstraints")
    _code(_add(constraints, "gmd:useConstraints"), "gmd:MD_RestrictionCode", "otherRestrictions")
    _anchor(_add(constraints, "gmd:otherConstraints"), record["licence"], record["licence_url"])
    for topic in record["topics"]:
        _add(about, "gmd:topicCategory/gmd:MD_TopicCategoryCode").text = topic
    _add_extents(about, record)
    for link in record["links"]:
        place = _add(
            root,
            "gmd:distributionInfo/gmd:MD_Distribution/gmd:transferOptions/gmd:MD_DigitalTransferOptions/"
            "gmd:onLine/gmd:CI_OnlineResource",
        )
        _add(place, "gmd:linkage/gmd:URL").text = link["url"]
        _text(place, "gmd:name", link["name"])
        _text(place, "gmd:description", link["description"])
        _code(_add(place, "gmd:function"), "gmd:CI_OnLineFunctionCode", link["function"])
    quality = _add(root, "gmd:dataQualityInfo/gmd:DQ_DataQuality/gmd:lineage/gmd:LI_Lineage")
    _text(quality, "gmd:statement", record["lineage"])
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _add_citation(about: etree._Element, record: Record) -> None:
    citation = _add(about, "gmd:citation/gmd:CI_Citation")
    _text(citation, "gmd:title", record["title"])
    published = _add(citation, "gmd:date/gmd:CI_Date")
    _add(published, "gmd:date/gco:Date").text = record["publication_date"]
    _code(_add(published, "gmd:dateType"), "gmd:CI_DateTypeCode", "publication")
    identifier = _add(citation, "gmd:identifier/gmd:RS_Identifier")
    _text(identifier, "gmd:code", record["doi"])
    _text(identifier, "gmd:codeSpace", "doi:")


def _add_person(about: etree._Element, person: Record) -> None:
    party = _add(about, "gmd:pointOfContact/gmd:CI_ResponsibleParty")
    _anchor(_add(party, "gmd:individualName"), person["name"], person["orcid"])
    _text(party, "gmd:organisationName", person["organisation"])
    address = _add(party, "gmd:contactInfo/gmd:CI_Contact/gmd:address/gmd:CI_Address")
    _text(address, "gmd:electronicMailAddress", person["email"])
    _code(_add(party, "gmd:role"), "gmd:CI_RoleCode", person["role"])


def _add_extents(about: etree._Element, record: Record) -> None:
    for box in record["boxes"]:
        place = _add(about, "gmd:extent/gmd:EX_Extent/gmd:geographicElement/gmd:EX_GeographicBoundingBox")
        for side, kind in (
            ("west", "Longitude"),
            ("east", "Longitude"),
            ("south", "Latitude"),
            ("north", "Latitude"),
        ):
            _add(place, f"gmd:{side}Bound{kind}/gco:Decimal").text = str(box[side])
    for one in record["periods"]:
        period = _add(
            about,
            "gmd:extent/gmd:EX_Extent/gmd:temporalElement/gmd:EX_TemporalExtent/gmd:extent/gml:TimePeriod",
        )
        _add(period, "gml:beginPosition").text = one["begin"]
        _add(period, "gml:endPosition").text = one["end"]


def _name(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{SPACES[prefix]}}}{local}"


def _add(parent: etree._Element, path: str) -> etree._Element:
    """Add an element below new ones for each step of a path; gives the last."""
    for step in path.split("/"):
        parent = etree.SubElement(parent, _name(step))
    return parent


def _text(parent: etree._Element, path: str, text: str) -> None:
    _add(parent, f"{path}/gco:CharacterString").text = text


def _anchor(parent: etree._Element, text: str, address: str) -> None:
    anchor = _add(parent, "gmx:Anchor")
    anchor.set(_name("xlink:href"), address)
    anchor.text = text


def _code(parent: etree._Element, name: str, value: str) -> None:
    code = _add(parent, name)
    code.set("codeList", CODES + name.partition(":")[2])
    code.set("codeListValue", value)
    code.text = value


RENDERERS: dict[str, Callable[[Record], bytes]] = {
    "json": as_json,
    "gemini": as_gemini,
    "schema.org": as_schema_org,
}
"""How a document is written, by the format's name in a request."""
