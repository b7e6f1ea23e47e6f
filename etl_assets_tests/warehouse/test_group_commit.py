"""Some partitions in one transaction: it makes no difference to them, also when one is withheld or cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest

from etl_assets.failures import WarehouseError
from etl_assets.outcomes import Status
from etl_assets.streams.base import SchemaPolicy, Stream
from etl_assets.warehouse.bookkeeping import ensure_bookkeeping
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.evolving import request_with
from etl_assets_tests.warehouse.feeds import change, products
from etl_assets_tests.warehouse.samples import (
    LINES,
    ORDERS,
    Row,
    Stager,
    at,
    day,
    everything,
    line,
    order,
    select,
)


def test_a_day_that_an_audit_withholds_adds_no_column_and_says_so_once(
    session: Session, stager: Stager
) -> None:
    stream = replace(ORDERS, schema_changes=SchemaPolicy.EVOLVE)

    def judge(
        connection: duckdb.DuckDBPyConnection, requests: Sequence[CommitRequest]
    ) -> list[CommitRequest]:
        assert select(connection, "SELECT count(*) FROM shop.orders") == [(0,)]
        return [
            replace(request, verdict=Status.WITHHELD, message=f"{request.message}too few")
            if request.partition.day % 2 == 0
            else request
            for request in requests
        ]

    requests = [
        request_with(stager, stream, number, [order(f"{number}", at(number))], [{name: 1}])
        for number, name in enumerate(("x", "y", "z"))
    ]
    results = session.commit_group(requests, judge)
    told = [(result.status, result.message) for result in results]
    withheld = [number for number, request in enumerate(requests) if request.partition.day % 2 == 0]
    assert [number for number, (status, _) in enumerate(told) if status is Status.WITHHELD] == withheld
    assert {message.count("too few") for status, message in told if status is Status.WITHHELD} == {1}
    columns = select(
        session.connection,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders' AND length(column_name) = 1",
    )
    published = {name for number, name in enumerate(("x", "y", "z")) if number not in withheld}
    assert {name for (name,) in columns} == published


def requests_of_all_kinds(stager: Stager) -> list[CommitRequest]:
    """Days of which some are new, loaded already, empty, bad, withheld, or there twice."""
    return [
        stager.request(LINES, 0, [line(0, "a")]),
        stager.request(LINES, 1, [line(1, "a"), line(1, "b", invoiced_at=at(3, 1))], run_id="run-2"),
        stager.request(LINES, 2, []),
        stager.request(LINES, 3, [line(3, "new")], ["x"]),
        stager.request(LINES, 4, [line(4, "a")], verdict=Status.WITHHELD, message="no"),
        stager.request(LINES, 5, [line(5, "a")]),
        stager.request(LINES, 5, [line(5, "b")]),
        stager.request(LINES, 6, [line(6, "same")]),
        stager.request(LINES, 7, [], ["y", "z"]),
        stager.request(LINES, 8, []),
        stager.request(LINES, 9, [line(9, "a")], loaded_at=at(40, 3).replace(tzinfo=UTC)),
    ]


def test_days_of_one_transaction_are_what_they_are_one_by_one(tmp_path: Path, stager: Stager) -> None:
    before = [
        stager.request(LINES, 3, [line(3, "old"), line(3, "older")], ["x"]),
        stager.request(LINES, 6, [line(6, "same")]),
        stager.request(LINES, 8, [line(8, "kept")]),
    ]
    requests = requests_of_all_kinds(stager)
    with Warehouse(tmp_path / "alone.duckdb").session("test") as session:
        for request in before:
            session.commit(request)
        alone = [session.commit(request) for request in requests]
        expected = everything(session.connection)
    with Warehouse(tmp_path / "together.duckdb").session("test") as session:
        session.commit_group(before)
        together = session.commit_group(requests)
        found = everything(session.connection)
    assert together == alone
    assert [result.counts.loaded for result in together] == [1, 2, 0, 1, 0, 1, 1, 0, 0, 0, 1]
    del found["etl.schema_version"], expected["etl.schema_version"]
    assert found == expected


def test_evolved_columns_of_days_that_are_brought_in_together(session: Session, stager: Stager) -> None:
    stream = replace(LINES, schema_changes=SchemaPolicy.EVOLVE)
    requests = [
        request_with(stager, stream, number, [line(number, "a")], [{"note": f"n{number}"} if number else {}])
        for number in range(3)
    ]
    requests.append(stager.request(stream, 3, [line(3, "a")]))
    session.commit_group(requests)
    found = select(session.connection, "SELECT _partition, note FROM shop.order_lines ORDER BY 1")
    assert found == [(day(0), None), (day(1), "n1"), (day(2), "n2"), (day(3), None)]


def test_nothing_is_left_of_a_group_that_cannot_be_committed(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")], ["x"]))
    before = everything(session.connection)
    requests = [stager.request(LINES, number, [line(number, "b")], ["y"]) for number in range(4)]
    wrong = replace(requests[2].counts, staged=2, extracted=3)
    with pytest.raises(WarehouseError, match="2 rows were staged, but the staged file holds 1"):
        session.commit_group([*requests[:2], replace(requests[2], counts=wrong), requests[3]])
    assert everything(session.connection) == before
    broken = cast("Path", requests[3].rows)
    broken.write_bytes(b"broken")
    with pytest.raises(WarehouseError, match=r"cannot commit shop/order_lines 2025-01-01 and 3 more"):
        session.commit_group(requests)
    assert everything(session.connection) == before
    assert [result.load_id for result in session.commit_group(requests[:3])] == [2, 3, 4]
    log = select(session.connection, "SELECT load_id, partition FROM etl.loads ORDER BY 1")
    assert log == [(1, day(0)), (2, day(0)), (3, day(1)), (4, day(2))]


class Counted:
    """A connection that counts statements."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.statements = 0

    def execute(self, *arguments: Any) -> Any:
        """Count a statement, and run it."""
        self.statements += 1
        return self._connection.execute(*arguments)


DAYS_OF: dict[str, tuple[Stream, Callable[[int], list[Row]]]] = {
    "replace_partition": (LINES, lambda number: [line(number, "a")]),
    "merge": (ORDERS, lambda number: [order("a", at(number)), order(f"{number}", at(number))]),
    "cdc": (products("soft"), lambda number: [change(number + 1, "U", at(number))]),
    "cdc, hard": (products("hard"), lambda number: [change(number + 1, "ID"[number % 2], at(number))]),
}


@pytest.mark.parametrize("kind", DAYS_OF)
def test_a_group_takes_no_more_statements_for_more_days(tmp_path: Path, stager: Stager, kind: str) -> None:
    stream, rows_of = DAYS_OF[kind]
    with duckdb.connect(tmp_path / "w.duckdb") as connection:
        ensure_bookkeeping(connection)
        counted = Counted(connection)
        session = Session(cast("duckdb.DuckDBPyConnection", counted), tmp_path / "w.duckdb")
        taken = []
        for days in ([0, 1], [2, 3], [4, 5], range(6, 22), [0, 1], [2, 3], range(4, 22)):
            requests = [stager.request(stream, number, rows_of(number)) for number in days]
            before = counted.statements
            session.commit_group(requests)
            taken.append(counted.statements - before)
    assert taken[2] == taken[3]
    if stream is LINES:
        # Of other streams it is looked up for each day again whether the table was emptied.
        assert taken[5] == taken[6]


def test_small_commits_use_one_thread_and_marts_all_of_them(session: Session, stager: Stager) -> None:
    threads = "SELECT current_setting('threads')"
    seen: list[Any] = []

    def look(connection: duckdb.DuckDBPyConnection, requests: Sequence[CommitRequest]) -> list[CommitRequest]:
        seen.extend(select(connection, threads))
        return list(requests)

    small = stager.request(LINES, 0, [line(0, "a")])
    session.commit(small, look)
    everywhere = duckdb.connect().execute(threads).fetchall()
    assert seen == [(1,)]
    assert select(session.connection, threads) == everywhere
    with pytest.raises(duckdb.Error, match="locked"):
        session.connection.execute("SET threads = 1")
    session.commit(small, look)
    assert seen[1:] == everywhere
