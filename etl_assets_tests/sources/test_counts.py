"""What sources tell of a day without handing it over: counts of APIs and databases, and what a folder shows."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.sources.comparison import Comparison, Held, Match
from etl_assets.sources.counts import compare_window
from etl_assets.streams.base import (
    AfterSequence,
    Count,
    Cursor,
    LinkHeader,
    NextUrl,
    OffsetLimit,
    PageNumber,
    Rest,
    Window,
    WindowParameters,
)
from etl_assets.streams.paging import Paginator
from etl_assets_tests.sources.clients import open_client
from etl_assets_tests.sources.databases import open_database, stock
from etl_assets_tests.sources.folders_of_files import files, open_folder, read
from etl_assets_tests.sources.scripted import Reply, Script, ScriptedServer, in_turn, scripted_server

DAY = date(2025, 1, 31)
WINDOW = Window.of_day(DAY)
ASKED = {"from": "2025-01-31T00:00:00Z", "to": "2025-02-01T00:00:00Z", "expand": "all"}
READ_AT = datetime(2025, 2, 1, 2, tzinfo=UTC)
HELD = Held(records=60, read_at=READ_AT)
LINES = Rest(
    path="/v1/order-lines",
    window=WindowParameters("from", "to"),
    paginator=Cursor(page_size=500),
    records="data",
    parameters={"expand": "all"},
)
FEED = replace(LINES, paginator=AfterSequence(), records="changes")
EQUAL, UNKNOWN = Comparison(Match.EQUAL, 60), Match.UNKNOWN


def told(body: Any, **headers: str) -> Script:
    """A server that gives one answer."""
    return in_turn(Reply(json.dumps(body).encode(), headers={"Content-Type": "application/json", **headers}))


def compare(script: Script, rest: Rest, held: Held = HELD) -> tuple[Comparison, ScriptedServer]:
    """Compare a day; gives what came of it and what the server was asked."""
    with scripted_server(script) as server, open_client(server.url) as client:
        return compare_window(client, rest, WINDOW, held), server


@pytest.mark.parametrize("there", [0, 59, 60, 61])
@pytest.mark.parametrize(
    ("count", "answer"),
    [
        (Count(header="X-Total-Count"), lambda n: told({"data": []}, **{"X-Total-Count": str(n)})),
        (Count(field="page.total"), lambda n: told({"data": [], "page": {"total": n}})),
        (Count(path="/v1/order-lines/count", field="n"), lambda n: told({"n": str(n)})),
        (Count(path="/v1/order-lines/count"), told),
    ],
    ids=["header", "field", "path", "bare number"],
)
def test_a_number_is_found_wherever_it_is_declared_and_costs_one_small_request(
    count: Count, answer: Callable[[int], Script], there: int
) -> None:
    found, server = compare(answer(there), replace(LINES, count=count))
    assert found == Comparison(Match.EQUAL if there == 60 else Match.DRIFTED, there)
    (request,) = server.asked
    smallest = {} if count.path else {"limit": "1"}
    assert (request.path, request.parameters) == (count.path or LINES.path, ASKED | smallest)


@pytest.mark.parametrize(
    ("paginator", "size"),
    [
        (Cursor(), "limit"),
        (AfterSequence(), "limit"),
        (NextUrl(), "limit"),
        (LinkHeader(), "per_page"),
        (PageNumber(), "per_page"),
        (OffsetLimit(), "limit"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_way_of_paging_can_ask_for_the_smallest_page(paginator: Paginator, size: str) -> None:
    rest = replace(LINES, paginator=paginator, count=Count(header="X-Total-Count"))
    _, server = compare(told([], **{"X-Total-Count": "60"}), rest)
    assert server.asked[0].parameters[size] == "1"


def test_the_total_of_a_paging_needs_no_declaration() -> None:
    rest = Rest(path="/v1/customers", paginator=OffsetLimit(total="total"), records="items")
    found, server = compare(told({"items": [], "total": 60}), rest)
    assert (found, server.asked[0].parameters) == (EQUAL, {"offset": "0", "limit": "1"})


def test_a_count_asks_with_parameters_of_its_own() -> None:
    count = Count(path="/count", parameters={"expand": "none", "exact": "1"})
    _, server = compare(told(60), replace(LINES, count=count))
    assert server.asked[0].parameters == {**ASKED, "expand": "none", "exact": "1"}


@pytest.mark.parametrize(
    ("rest", "reason", "requests"),
    [
        (LINES, "the stream declares no count", 0),
        (replace(LINES, count=Count(header="X-Total-Count")), "the answer has no header X-Total-Count", 1),
        (replace(LINES, count=Count(field="total")), "the answer has no field 'total'", 1),
    ],
    ids=["undeclared", "header", "field"],
)
def test_a_source_that_tells_nothing_is_no_error(rest: Rest, reason: str, requests: int) -> None:
    found, server = compare(told({"data": []}), rest)
    assert (found, len(server.asked)) == (Comparison.unknown(reason, whole_stream=True), requests)


@pytest.mark.parametrize("number", ["many", "-1", "1.5", "", True, [60], 10**18])
def test_what_is_no_number_of_records_is_refused(number: Any) -> None:
    with pytest.raises(SourceError, match="told no number of records to GET /v1/order-lines") as caught:
        compare(told({"total": number}), replace(LINES, count=Count(field="total")))
    assert caught.value.failure_class is FailureClass.PERMANENT


def test_a_count_is_asked_for_again_after_a_failure_that_passes() -> None:
    script = in_turn(Reply(status=503), Reply(b"60"))
    found, server = compare(script, replace(LINES, count=Count(path="/count")))
    assert (found, len(server.asked)) == (EQUAL, 2)


def landed(last: Any) -> Held:
    """A day of a change feed whose last page told a last number."""
    return replace(HELD, last_page=lambda: json.dumps({"changes": [], "last_lsn": last}).encode())


@pytest.mark.parametrize("more", [True, False])
def test_a_change_feed_tells_of_changes_after_the_last_one(more: bool) -> None:
    answer = told({"changes": [{"lsn": 1_813}] if more else [], "last_lsn": 1_813, "has_more": False})
    found, server = compare(answer, FEED, landed(1_812))
    assert found.match is (Match.DRIFTED if more else Match.EQUAL)
    assert found.reason == ("changes after number 1,812" if more else "")
    assert server.asked[0].parameters == ASKED | {"after_lsn": "1812", "limit": "1"}


@pytest.mark.parametrize("held", [HELD, landed(None), landed(True)], ids=["gone", "null", "true"])
def test_without_the_last_number_a_change_feed_cannot_tell(held: Held) -> None:
    found, server = compare(told({}), FEED, held)
    assert (found.match, found.whole_stream, server.asked) == (UNKNOWN, False, [])


def test_a_change_feed_of_another_shape_is_told() -> None:
    with pytest.raises(SourceError, match="another shape"):
        compare(told({"data": []}), FEED, landed(5))


@pytest.mark.parametrize(
    "wrong",
    [{}, {"field": "a", "header": "b"}, {"header": "two words"}, {"path": "count"}, {"path": "//host"}],
    ids=["nothing", "two", "header", "relative", "host"],
)
def test_counts_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Count"):
        Count(**wrong)


@pytest.mark.parametrize("source", ["table", "query"])
def test_a_database_counts_the_rows_of_the_window(tmp_path: Path, source: str) -> None:
    with sqlite3.connect(tmp_path / "erp.db") as connection:
        connection.execute("CREATE TABLE stock_levels (warehouse TEXT, sku INT, level INT, counted_at TEXT)")
        times = [
            "2025-01-30 23:59:59",
            "2025-01-31 00:00:00",
            "2025-01-31 23:59:59",
            "2025-02-01 00:00:00",
            None,
        ]
        connection.executemany("INSERT INTO stock_levels VALUES ('w', ?, 1, ?)", enumerate(times))
    connection.close()
    declared = stock() if source == "table" else stock(query="SELECT * FROM stock_levels WHERE sku <> 2")
    rows = 2 if source == "table" else 1
    with open_database(f"sqlite:///{tmp_path}/erp.db") as reader:
        assert reader.compare(declared, DAY, HELD) == Comparison(Match.DRIFTED, rows)
        assert reader.compare(declared, DAY, replace(HELD, records=rows)) == Comparison(Match.EQUAL, rows)
        wider = replace(declared, overlap=timedelta(hours=1))
        assert reader.compare(wider, DAY, HELD).there == rows + 1


def test_a_database_that_is_not_there_cannot_be_asked(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/erp.db") as reader, pytest.raises(SourceError) as caught:
        reader.compare(stock(), DAY, HELD)
    assert caught.value.affects_all


OLD = (READ_AT - timedelta(hours=1)).timestamp()
NEW = (READ_AT + timedelta(hours=1)).timestamp()


def deliver(folder: Path, name: str, content: bytes, moment: float = OLD) -> None:
    """Put a file into a folder, written at a time."""
    (folder / name).write_bytes(content)
    os.utime(folder / name, (moment, moment))


@pytest.mark.parametrize("path", ["a_{day}.csv", "*_{day}.csv"])
def test_files_that_are_as_they_were_are_equal(tmp_path: Path, path: str) -> None:
    deliver(tmp_path, f"a_{DAY}.csv", b"n\n1\n2\n")
    declared = files(path)
    held = replace(HELD, page_bytes=[len(page.body) for page in read(tmp_path, declared)])
    with open_folder(tmp_path) as reader:
        assert reader.compare(declared, DAY, held) == Comparison(Match.EQUAL)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"a": (b"n\n1\n2\n3\n", OLD)}, "8 bytes instead of 6"),
        ({"a": (b"n\n1\n3\n", NEW)}, "1 file written to since"),
        ({"b": (b"n\n", OLD)}, "2 files instead of 1"),
    ],
    ids=["longer", "rewritten", "another"],
)
def test_files_that_changed_are_noticed_unopened(
    tmp_path: Path, changes: dict[str, tuple[bytes, float]], reason: str
) -> None:
    deliver(tmp_path, f"a_{DAY}.csv", b"n\n1\n2\n")
    declared = files("*_{day}.csv")
    held = replace(HELD, page_bytes=[len(page.body) for page in read(tmp_path, declared)])
    for name, (content, moment) in changes.items():
        deliver(tmp_path, f"{name}_{DAY}.csv", content, moment)
    with open_folder(tmp_path) as reader:
        assert reader.compare(declared, DAY, held) == Comparison(Match.DRIFTED, reason=reason)


def test_packed_files_are_told_by_their_time_and_missing_ones_by_nothing(tmp_path: Path) -> None:
    declared = files("a_{day}.csv.gz")
    held = replace(HELD, page_bytes=[1_000, 0])
    with open_folder(tmp_path) as reader:
        gone = reader.compare(declared, DAY, held)
        deliver(tmp_path, f"a_{DAY}.csv.gz", b"not looked into")
        equal = reader.compare(declared, DAY, held)
        deliver(tmp_path, f"a_{DAY}.csv.gz", b"not looked into", NEW)
        changed = reader.compare(declared, DAY, replace(held, page_bytes=None))
    assert (gone.match, equal.match, changed.match) == (UNKNOWN, Match.EQUAL, Match.DRIFTED)
