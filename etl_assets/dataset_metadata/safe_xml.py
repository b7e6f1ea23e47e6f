"""Reading XML that a stranger wrote: no document type, no entities, no network, bounded in size.

What belongs here: what is refused. What does not: any vocabulary of XML.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

from etl_assets.failures import EtlError

MAXIMUM_BYTES = 8 * 1024 * 1024
"""Of one document; real ones have about 30,000. libxml2 bounds the rest: depth, length of a text, size of entities."""


class UnsafeXmlError(EtlError):
    """A document asks for what no honest one needs."""


def parse_xml(body: bytes) -> etree._Element:
    """Read a document.

    Args:
        body: Its bytes.

    Returns:
        The root element, without comments and processing instructions.

    Raises:
        UnsafeXmlError: If it is too large, or declares a document type: only there can entities be declared.
        lxml.etree.XMLSyntaxError: If it is not well-formed, or exceeds libxml2's own bounds.
    """
    if len(body) > MAXIMUM_BYTES:
        raise UnsafeXmlError(f"the XML has {len(body):,} bytes, more than {MAXIMUM_BYTES:,}")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )
    root = etree.fromstring(body, parser)
    # The stubs do not know what the tree of a parsed document always has.
    described: Any = root.getroottree().docinfo
    if described.doctype:
        raise UnsafeXmlError("the XML declares a document type, and with it perhaps entities; none is read")
    return root
