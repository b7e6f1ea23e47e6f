"""XML that attacks its reader is refused, within bounds that the system holds: processor time and memory."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from lxml import etree

from etl_assets.dataset_metadata import iso19139
from etl_assets.dataset_metadata.safe_xml import MAXIMUM_BYTES, UnsafeXmlError, parse_xml

PROCESSOR_SECONDS = 20
"""Of a child process, after which the system ends it: a bound for attacks, far above what refusing them takes."""

MEMORY_BYTES = 600_000_000
"""Beyond what the child has when it starts; the largest attack is 100 MB, twice in memory."""

BOMB = (
    b'<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12))
    + b"]><b>&m;</b>"
)
ATTACKS: dict[str, Callable[[], bytes]] = {
    "entity bomb": lambda: BOMB,
    "entity bomb in an attribute": lambda: BOMB.replace(b"<b>&m;</b>", b'<b c="&m;"/>'),
    "quadratic blow-up": lambda: (
        b'<!DOCTYPE b [<!ENTITY a "%s">]><b>%s</b>' % (b"a" * 500_000, b"&a;" * 500_000)
    ),
    "external entity": lambda: b'<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/hostname">]><b>&a;</b>',
    "external document type": lambda: b'<!DOCTYPE b SYSTEM "http://127.0.0.1:9/b.dtd"><b/>',
    "external parameter entity": lambda: (
        b'<!DOCTYPE b [<!ENTITY % a SYSTEM "file:///etc/hostname"> %a;]><b/>'
    ),
    "harmless document type": lambda: b"<!DOCTYPE b><b/>",
    "a hundred megabytes of text": lambda: b"<b>" + b"a" * 100_000_000 + b"</b>",
    "a long text": lambda: b"<b>" + b"a" * (MAXIMUM_BYTES + 1) + b"</b>",
    "a million levels": lambda: b"<a>" * 1_000_000 + b"</a>" * 1_000_000,
    "no end": lambda: b"<b>" * 100,
    "another encoding": lambda: "<?xml version='1.0' encoding='UTF-16'?><!DOCTYPE b><b/>".encode("utf-16"),
}


def _try(attack: str, answer: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    body = ATTACKS[attack]()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    try:
        parse_xml(body)
    except Exception as error:
        answer.send(type(error).__name__)
    else:
        answer.send("read")


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_within_bounds(attack: str) -> None:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_try, args=(attack, sender))
    process.start()
    sender.close()
    try:
        said = receiver.recv()
    except EOFError:
        said = "killed for what it took"
    process.join()
    assert said in ("UnsafeXmlError", "XMLSyntaxError")


def test_nothing_is_read_from_elsewhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("do not tell")
    body = b'<!DOCTYPE b [<!ENTITY a SYSTEM "%s">]><b>&a;</b>' % secret.as_uri().encode()
    with pytest.raises(UnsafeXmlError) as caught:
        parse_xml(body)
    assert "do not tell" not in str(caught.value)


def test_an_honest_document_is_read() -> None:
    root = parse_xml("<?pi?><a><!-- no --><b>é &amp; &#233;</b></a>".encode())
    assert [(one.tag, one.text) for one in root] == [("b", "é & é")]


def test_a_parser_of_metadata_reads_by_these_rules() -> None:
    with pytest.raises((UnsafeXmlError, etree.XMLSyntaxError)):
        iso19139.parse(BOMB)
