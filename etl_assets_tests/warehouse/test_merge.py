"""`merge` through the commit: the newest version wins, whatever was loaded in whichever order."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from etl_assets.outcomes import Counts
from etl_assets.streams.base import Merge, Stream
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import (
    EXTRACT,
    ORDERS,
    SOURCE,
    Orders,
    Row,
    Stager,
    at,
    day,
    order,
    select,
)
from etl_assets_tests.warehouse.samples import unchanged as as_is

CONTENT = "SELECT order_id, status, total, created_on, updated_at, _partition FROM shop.orders ORDER BY ALL"


def test_new_updated_and_older_rows(session: Session, stager: Stager) -> None:
    first = [order("a", at(0, 1)), order("b", at(0, 2), day(-3))]
    assert session.commit(stager.request(ORDERS, 0, first)).counts == Counts(extracted=2, staged=2, loaded=2)
    second = [
        order("a", at(1, 1), status="completed"),
        order("b", at(0, 1), day(-9), status="older"),
        order("c", at(1, 3), day(-1)),
    ]
    result = session.commit(stager.request(ORDERS, 1, second, run_id="run-2"))
    assert result.counts == Counts(extracted=3, staged=3, loaded=2, updated=1, unchanged=1)
    assert result.touched_dates == (day(-1), day(0))
    rows = select(
        session.connection, "SELECT order_id, status, _partition, _run_id FROM shop.orders ORDER BY 1"
    )
    assert rows == [
        ("a", "completed", day(1), "run-2"),
        ("b", "pending", day(0), "run-1"),
        ("c", "pending", day(1), "run-2"),
    ]


def test_an_update_touches_the_date_before_and_after(session: Session, stager: Stager) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 1), day(-5))]))
    result = session.commit(stager.request(ORDERS, 1, [order("a", at(1, 1), day(-2))]))
    assert result.touched_dates == (day(-5), day(-2))


def test_repeats_within_a_day_are_counted_and_the_newest_kept(session: Session, stager: Stager) -> None:
    rows = [
        order("a", at(0, 1), status="x"),
        order("a", at(0, 3), status="z"),
        order("a", at(0, 2), status="y"),
    ]
    result = session.commit(stager.request(ORDERS, 0, [*rows, order("b", at(0, 1))]))
    assert result.counts == Counts(extracted=4, staged=4, loaded=2, deduplicated=2)
    assert select(session.connection, "SELECT status FROM shop.orders WHERE order_id = 'a'") == [("z",)]


def test_same_content_again_repeats_the_deduplicated_count(session: Session, stager: Stager) -> None:
    rows = [order("a", at(0, 1)), order("a", at(0, 3))]
    session.commit(stager.request(ORDERS, 0, rows))
    for _ in range(2):
        again = session.commit(stager.request(ORDERS, 0, rows))
        assert again.unchanged_content
        assert again.counts == Counts(extracted=2, staged=2, unchanged=1, deduplicated=1)


def test_same_content_is_loaded_again_into_an_emptied_table(session: Session, stager: Stager) -> None:
    request = stager.request(ORDERS, 0, [order("a", at(0, 1))])
    session.commit(request)
    session.connection.execute("DELETE FROM shop.orders")
    assert session.commit(request).counts.loaded == 1


def test_a_row_found_in_two_overlapping_windows_keeps_its_own_day(session: Session, stager: Stager) -> None:
    row = order("a", at(0, 23))
    session.commit(stager.request(ORDERS, 1, [row]))
    result = session.commit(stager.request(ORDERS, 0, [row]))
    assert result.counts == Counts(extracted=1, staged=1, unchanged=1)
    assert select(session.connection, "SELECT _partition FROM shop.orders") == [(day(0),)]


def test_an_empty_day_removes_nothing(session: Session, stager: Stager) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 1))]))
    result = session.commit(stager.request(ORDERS, 0, []))
    assert result.status.is_published
    assert select(session.connection, "SELECT count(*) FROM shop.orders") == [(1,)]


EQUAL_VERSIONS = [
    order("a", at(0, 1), status=None, total=1.0),
    order("a", at(0, 1), status=None, total=2.0),
    order("a", at(0, 1), status="pending", total=1.0),
    order("a", at(0, 1), status="pending", total=0.5, created_on=day(-1)),
]


@pytest.mark.parametrize("rows", list(permutations(EQUAL_VERSIONS)))
def test_equal_versions_settle_alike_in_every_order(tmp_path: Path, rows: tuple[Row, ...]) -> None:
    stager = Stager(tmp_path / "staged")
    with Warehouse(tmp_path / "one.duckdb").session("one by one") as session:
        for number, row in enumerate(rows):
            session.commit(stager.request(ORDERS, number, [row]))
        one_by_one = select(session.connection, CONTENT)
    with Warehouse(tmp_path / "two.duckdb").session("at once") as session:
        session.commit(stager.request(ORDERS, 0, rows))
        at_once = select(session.connection, CONTENT)
    greatest = ("a", "pending", 1.0, day(0), at(0, 1), day(0))
    assert one_by_one == at_once == [greatest]


def test_a_missing_value_never_beats_a_present_one(session: Session, stager: Stager) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 1), status=None, total=9.0)]))
    result = session.commit(stager.request(ORDERS, 1, [order("a", at(0, 1), status="", total=0.0)]))
    assert result.counts.updated == 1
    back = session.commit(stager.request(ORDERS, 2, [order("a", at(0, 1), status=None, total=9.0)]))
    assert back.counts.unchanged == 1


PAIRS = Stream(
    source=SOURCE,
    name="pairs",
    owner="team:sales",
    extract=EXTRACT,
    contract=Orders,
    transform=as_is,
    write=Merge(key=("order_id", "created_on"), version="updated_at"),
    window_column="updated_at",
    business_date="created_on",
)


def test_a_key_of_two_columns(session: Session, stager: Stager) -> None:
    rows = [order("a", at(0, 1), day(0)), order("a", at(0, 1), day(1)), order("b", at(0, 1), day(0))]
    session.commit(stager.request(PAIRS, 0, rows))
    result = session.commit(stager.request(PAIRS, 1, [order("a", at(1, 1), day(1), status="new")]))
    assert result.counts == Counts(extracted=1, staged=1, loaded=1, updated=1)
    found = select(session.connection, "SELECT order_id, created_on, status FROM shop.pairs ORDER BY ALL")
    assert found == [("a", day(0), "pending"), ("a", day(1), "new"), ("b", day(0), "pending")]
