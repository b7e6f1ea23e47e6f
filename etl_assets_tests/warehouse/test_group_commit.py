"""Some partitions in one transaction, of which an audit withholds one after its table was altered for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import duckdb

from etl_assets.outcomes import Status
from etl_assets.streams.base import SchemaPolicy
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.evolving import request_with
from etl_assets_tests.warehouse.samples import ORDERS, Stager, at, order, select


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
