"""Documents by identifier against a real server: every one has an outcome, and none costs another."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.failures import FailureClass, SourceError
from etl_assets.outcomes import FailedItem
from etl_assets.sources.circuit import Circuit
from etl_assets.sources.documents import (
    LOOK_AHEAD,
    Document,
    UnreadableDocumentError,
    fetch_documents,
    read_record,
)
from etl_assets.streams.base import DocumentFormat, Documents
from etl_assets.streams.sources import Breaker
from etl_assets_tests.sources.clients import budget, open_client
from etl_assets_tests.sources.library import (
    ARRAY,
    BUSY,
    DOWN,
    GONE,
    HTML,
    NAMES,
    NOT_FOUND,
    PATH,
    Library,
    good,
    running_library,
)
from etl_assets_tests.sources.scripted import Asked, Reply, scripted_server

TRANSIENT, PERMANENT, RATE_LIMITED = (
    FailureClass.TRANSIENT,
    FailureClass.PERMANENT,
    FailureClass.RATE_LIMITED,
)
MAXIMUM_BYTES = 10_000
KINDS = {
    "not found": (NOT_FOUND, PERMANENT, "there is no such document: shop answered 404"),
    "gone": (GONE, PERMANENT, "the document is gone: shop answered 410"),
    "unprocessable": (Reply(status=422), PERMANENT, "answered 422"),
    "down": (DOWN, TRANSIENT, "answered 503 Service Unavailable to GET /papers/x, 2 times in a row"),
    "busy": (BUSY, RATE_LIMITED, "answered 429"),
    "html": (HTML, TRANSIENT, "not JSON"),
    "cut off": (replace(good("x"), cut_after=5), TRANSIENT, "broke off its answer"),
    "hung up": (Reply(hang_up=True), TRANSIENT, "broke off its answer"),
    "too large": (Reply(b" " * (MAXIMUM_BYTES + 1)), PERMANENT, "sent more than"),
    "too deep": (Reply(b"[" * 5_000 + b"]" * 5_000), PERMANENT, "nested too deeply"),
    "elsewhere": (
        Reply(status=302, headers={"Location": "http://example.com/x"}),
        PERMANENT,
        "another address",
    ),
}


def fetch(
    url: str, identifiers: Sequence[str], *, attempts: int = 2, concurrency: int = 4, **declared: Any
) -> list[Document | FailedItem]:
    """Ask for documents with a client of its own that no row of failures puts off."""
    extract = Documents(path=PATH, identifiers=(), concurrency=concurrency, **declared)
    client = open_client(
        url,
        retry=budget(attempts=attempts),
        maximum_body_bytes=MAXIMUM_BYTES,
        circuit=Circuit("shop", Breaker(failures=1_000)),
    )
    with client:
        return list(fetch_documents(client, extract, enumerate(identifiers)))


@pytest.fixture
def library() -> Iterator[Library]:
    """A library of its own."""
    with running_library() as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_document_costs_no_other(library: Library, kind: str) -> None:
    reply, failure_class, words = KINDS[kind]
    library.tell({"x": reply})
    first, failed, last = fetch(library.server.url, ["a", "x", "b"])
    assert (first, last) == (
        Document("a", "json", good("a").body, 0),
        Document("b", "json", good("b").body, 2),
    )
    assert isinstance(failed, FailedItem)
    assert (failed.identifier, failed.stage, failed.position) == ("x", "extract", 1)
    assert (failed.failure_class, failed.error_type) == (failure_class, "SourceError")
    assert words in failed.message
    assert library.asked.count("x") == (2 if failure_class.retryable else 1)


@pytest.fixture(scope="module")
def shared() -> Iterator[Library]:
    """One library for many examples."""
    with running_library() as running:
        yield running


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["good", "array", *KINDS]), max_size=12),
    concurrency=st.integers(min_value=1, max_value=5),
)
def test_whatever_fails_all_come_in_order(shared: Library, kinds: list[str], concurrency: int) -> None:
    names = [f"{number} {kind}" for number, kind in enumerate(kinds)]
    special = {name: kind for name, kind in zip(names, kinds, strict=True) if kind != "good"}
    shared.tell({name: ARRAY if kind == "array" else KINDS[kind][0] for name, kind in special.items()})
    found = fetch(shared.server.url, names, attempts=1, concurrency=concurrency)
    assert [(one.identifier, one.position) for one in found] == [(name, n) for n, name in enumerate(names)]
    failed = {one.identifier: one.failure_class for one in found if isinstance(one, FailedItem)}
    assert failed == {name: KINDS[kind][1] for name, kind in special.items() if kind != "array"}
    assert sorted(shared.asked) == sorted(names)


def test_a_slow_document_holds_up_no_other_one() -> None:
    last = threading.Event()

    def script(asked: Asked, number: int) -> Reply:
        if asked.path.endswith("/0"):
            assert last.wait(10)
        if asked.path.endswith("/7"):
            last.set()
        return good(asked.path)

    with scripted_server(script) as server:
        found = fetch(server.url, [str(number) for number in range(8)], concurrency=2)
    assert [one.position for one in found] == list(range(8))
    assert all(isinstance(one, Document) for one in found)
    assert server.most_at_once == 2


def test_no_more_are_asked_for_than_the_look_ahead(library: Library) -> None:
    extract = Documents(path=PATH, identifiers=(), concurrency=2)
    with open_client(library.server.url) as client:
        results = fetch_documents(client, extract, ((n, str(n)) for n in range(1_000)))
        next(results)
        assert len(library.asked) <= 2 * LOOK_AHEAD + 1
        results.close()
    assert len(library.asked) <= 2 * LOOK_AHEAD + 1


def test_the_sources_own_limit_holds_too(library: Library) -> None:
    extract = Documents(path=PATH, identifiers=(), concurrency=8)
    with open_client(library.server.url, concurrency=1) as client:
        assert len(list(fetch_documents(client, extract, ((n, str(n)) for n in range(12))))) == 12
    assert library.server.most_at_once == 1


def test_a_refused_token_ends_it_all(library: Library) -> None:
    library.tell({"3": Reply(status=401)})
    with pytest.raises(SourceError, match="401 Unauthorized") as caught:
        fetch(library.server.url, [str(n) for n in range(1_000)], concurrency=1)
    assert caught.value.affects_all
    assert len(library.asked) <= 4 + LOOK_AHEAD


def test_a_source_that_cannot_be_reached_ends_it_all() -> None:
    with running_library() as gone:
        url = gone.server.url
    with pytest.raises(SourceError, match="cannot be reached") as caught:
        fetch(url, NAMES, attempts=1)
    assert caught.value.affects_all
    assert caught.value.failure_class is TRANSIENT


def test_an_open_circuit_ends_it_all(library: Library) -> None:
    names = [str(number) for number in range(50)]
    library.tell(dict.fromkeys(names, DOWN))
    extract = Documents(path=PATH, identifiers=(), concurrency=2)
    with (
        open_client(
            library.server.url, retry=budget(attempts=1), circuit=Circuit("shop", Breaker(failures=3))
        ) as client,
        pytest.raises(SourceError, match="not asking any further") as caught,
    ):
        list(fetch_documents(client, extract, enumerate(names)))
    assert caught.value.affects_all
    assert len(library.asked) < 10


@pytest.mark.parametrize(
    "identifier",
    [
        *("../x", "..\\x", "a/b", "/etc/passwd", "//example.com/x", "http://example.com/", "@example.com"),
        *(
            "?x=1",
            "a#b",
            "a;b",
            "a%2fb",
            "%2e%2e",
            "...",
            "a&b=c",
            "a+b",
            ":80",
            "日本",
            "zażółć",
            "\U0001d518",
        ),
    ],
)
def test_an_identifier_never_leaves_the_path(identifier: str) -> None:
    with scripted_server(lambda asked, number: good("x")) as server:
        (found,) = fetch(f"{server.url}/api", [identifier], parameters={"format": "json"})
    assert isinstance(found, Document)
    (asked,) = server.asked
    assert asked.path.startswith("/api/papers/")
    assert asked.path.count("/") == 3
    assert unquote(asked.path.removeprefix("/api/papers/")) == identifier
    assert asked.parameters == {"format": "json"}


def xml(body: bytes) -> dict[str, Any]:
    """Make an object of an XML document."""
    root = ElementTree.fromstring(body.decode())
    return {child.tag: child.text for child in root}


PREFERRED = DocumentFormat(
    name="xml", path="/xml/{identifier}", parameters={"v": "2"}, accept="application/xml", parse=xml
)
FALLBACK = DocumentFormat(name="json", accept="application/json")
XML, MALFORMED = Reply(b"<paper><title>On x</title></paper>"), Reply(b"<paper><title>")


@pytest.mark.parametrize(
    ("replies", "expected", "asked"),
    [
        ({"xml": XML}, "xml", ["/xml/x"]),
        ({"xml": NOT_FOUND}, "json", ["/xml/x", "/papers/x"]),
        ({"xml": Reply(status=406)}, "json", ["/xml/x", "/papers/x"]),
        ({"xml": MALFORMED}, "json", ["/xml/x", "/papers/x"]),
        # The document is there after all; what a mended parser will need is kept.
        ({"xml": MALFORMED, "papers": NOT_FOUND}, "xml", ["/xml/x", "/papers/x"]),
        ({"xml": NOT_FOUND, "papers": ARRAY}, "json", ["/xml/x", "/papers/x"]),
        ({"xml": NOT_FOUND, "papers": NOT_FOUND}, PERMANENT, ["/xml/x", "/papers/x"]),
        # Perhaps it is only this page that is a proxy's.
        ({"xml": NOT_FOUND, "papers": HTML}, TRANSIENT, ["/xml/x", "/papers/x"]),
        # Another format is no remedy for what may pass by itself.
        ({"xml": DOWN}, TRANSIENT, ["/xml/x"]),
        ({"xml": GONE}, PERMANENT, ["/xml/x"]),
    ],
)
def test_formats_are_tried_in_order(
    replies: dict[str, Reply], expected: str | FailureClass, asked: list[str]
) -> None:
    def script(request: Asked, number: int) -> Reply:
        return replies.get(request.path.split("/")[1]) or good("x")

    with scripted_server(script) as server:
        (found,) = fetch(server.url, ["x"], attempts=1, formats=(PREFERRED, FALLBACK), parameters={"v": "1"})
    assert [request.path for request in server.asked] == asked
    assert [(one.headers["accept"], one.parameters) for one in server.asked] == [
        ("application/xml", {"v": "2"}),
        ("application/json", {"v": "1"}),
    ][: len(asked)]
    assert (found.format if isinstance(found, Document) else found.failure_class) == expected


@pytest.mark.parametrize(
    ("form", "body", "words"),
    [
        ("json", b"{", "the document is no json: the answer is not JSON"),
        ("json", b"[1]", "the document in json is not an object"),
        ("xml", b"<paper>", "the document cannot be read as xml: ParseError"),
        ("pdf", b"%PDF", "came as 'pdf', which the stream no longer declares"),
        (None, b"{}", "came as None, which the stream no longer declares"),
    ],
)
def test_what_cannot_be_read_says_why(form: str | None, body: bytes, words: str) -> None:
    extract = Documents(path=PATH, identifiers=(), formats=(PREFERRED, FALLBACK))
    with pytest.raises(UnreadableDocumentError) as caught:
        read_record(extract, "x", form, body)
    assert words in str(caught.value)
    assert caught.value.failure_class is PERMANENT


def test_a_record_tells_what_it_is() -> None:
    extract = Documents(path=PATH, identifiers=(), formats=(PREFERRED, FALLBACK))
    expected = {"title": "On x", "_identifier": "x", "_format": "xml"}
    assert read_record(extract, "x", "xml", XML.body) == expected
    assert read_record(extract, "x", "json", b'{"_format": "mine"}') == {
        "_identifier": "x",
        "_format": "json",
    }
