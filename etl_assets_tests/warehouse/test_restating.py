"""A mended transform or contract: what it makes of rows that were loaded before takes their place."""

from __future__ import annotations

from itertools import permutations
from typing import Literal

import pytest

from etl_assets.outcomes import Counts, Status
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.feeds import change, customer, customers, products
from etl_assets_tests.warehouse.samples import ORDERS, Stager, at, day, order, select


@pytest.mark.parametrize("changed", [{"code_version": "v2"}, {"contract_version": "c2"}])
def test_a_mended_transform_replaces_rows_of_the_same_version(
    session: Session, stager: Stager, changed: dict[str, str]
) -> None:
    wrong = order("a", at(0, 9), status="wrong")
    mended = order("a", at(0, 9), status="good")
    assert mended["status"] < wrong["status"], "by content alone the wrong row would win"
    session.commit(stager.request(ORDERS, 0, [wrong]))
    result = session.commit(stager.request(ORDERS, 0, [mended], **changed))
    assert (result.counts.loaded, result.counts.updated) == (1, 1)
    assert select(session.connection, "SELECT status FROM shop.orders") == [("good",)]


def test_a_mended_transform_does_not_bring_an_older_version_back(session: Session, stager: Stager) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="old")]))
    session.commit(stager.request(ORDERS, 1, [order("a", at(1, 9), status="new")]))
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="mended")], code_version="v2"))
    assert select(session.connection, "SELECT status FROM shop.orders") == [("new",)]


def test_without_a_change_of_code_the_order_of_loads_does_not_matter(
    session: Session, stager: Stager
) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="b")]))
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="a")]))
    assert select(session.connection, "SELECT status FROM shop.orders") == [("b",)]


def test_a_mended_transform_restates_even_when_it_makes_what_the_last_load_made(
    session: Session, stager: Stager
) -> None:
    last = [order("a", at(0, 9), status="a")]
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="b")]))
    session.commit(stager.request(ORDERS, 0, last))
    result = session.commit(stager.request(ORDERS, 0, last, code_version="v2"))
    assert (result.unchanged_content, result.counts.updated) == (False, 1)
    assert select(session.connection, "SELECT status FROM shop.orders") == [("a",)]
    again = session.commit(stager.request(ORDERS, 0, last, code_version="v2"))
    assert again.unchanged_content


@pytest.mark.parametrize("times", [1, 2])
def test_a_day_loaded_again_after_a_mended_load_of_another_one_has_its_row_compared(
    session: Session, stager: Stager, times: int
) -> None:
    other = stager.request(ORDERS, 1, [order("a", at(0, 9), status="c")], code_version="v2")
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="b")]))
    for _ in range(times - 1):
        session.commit(other)
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="a")], code_version="v2"))
    assert not session.commit(other).unchanged_content
    assert select(session.connection, "SELECT status FROM shop.orders") == [("c",)], (
        "whether it was loaded before the mended load or not"
    )
    assert session.commit(other).unchanged_content


MERGED = "SELECT order_id, status, _run_id FROM shop.orders ORDER BY 1"


def test_a_row_under_a_former_key_goes_and_what_other_days_brought_of_that_key_shows(
    session: Session, stager: Stager
) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="of day 0")], run_id="r0"))
    session.commit(
        stager.request(ORDERS, 1, [order("a", at(1, 9), day(-7), status="b in truth")], run_id="r1")
    )
    session.commit(stager.request(ORDERS, 2, [order("c", at(2, 9))], run_id="r2"))
    mended = stager.request(ORDERS, 1, [order("b", at(1, 9))], run_id="mended", code_version="v2")
    result = session.commit(mended)
    assert select(session.connection, MERGED) == [
        ("a", "of day 0", "mended"),
        ("b", "pending", "mended"),
        ("c", "pending", "r2"),
    ]
    assert result.counts == Counts(extracted=1, staged=1, loaded=1)
    assert result.touched_dates == (day(-7), day(0)), "dates of rows that went, came, and show again"


def test_a_key_that_only_the_mended_day_had_leaves_the_table(session: Session, stager: Stager) -> None:
    session.commit(stager.request(ORDERS, 0, [order(" a", at(0, 9), day(-3)), order("b", at(0, 9))]))
    mended = [order("a", at(0, 9), day(-3)), order("b", at(0, 9))]
    result = session.commit(stager.request(ORDERS, 0, mended, run_id="mended", code_version="v2"))
    assert result.counts == Counts(extracted=2, staged=2, loaded=1, unchanged=1, removed=1)
    assert result.touched_dates == (day(-3),)
    assert select(session.connection, MERGED) == [("a", "pending", "mended"), ("b", "pending", "run-1")]


def test_a_row_of_two_overlapping_days_goes_with_the_second_of_them(session: Session, stager: Stager) -> None:
    for number in (0, 1):
        session.commit(stager.request(ORDERS, number, [order(" a", at(0, 23))]))
    mended = [order("a", at(0, 23))]
    session.commit(stager.request(ORDERS, 0, mended, code_version="v2"))
    assert [key for key, *_ in select(session.connection, MERGED)] == [" a", "a"]
    session.commit(stager.request(ORDERS, 1, mended, code_version="v2"))
    assert [key for key, *_ in select(session.connection, MERGED)] == ["a"]
    assert select(session.connection, "SELECT _partition, _brought_by FROM shop.orders") == [
        (day(0), [day(0), day(1)])
    ]


@pytest.mark.parametrize("days", list(permutations(range(3))), ids=str)
def test_mended_days_come_to_the_same_in_any_order(
    session: Session, stager: Stager, days: tuple[int, ...]
) -> None:
    for number in range(3):
        session.commit(stager.request(ORDERS, number, [order("x", at(number, 9), status=str(number))]))
    for number in days:
        key = "x" if number == 1 else f"y{number}"
        row = order(key, at(number, 9), status=f"mended {number}")
        session.commit(stager.request(ORDERS, number, [row], code_version="v2"))
    found = [(key, status) for key, status, _ in select(session.connection, MERGED)]
    assert found == [("x", "mended 1"), ("y0", "mended 0"), ("y2", "mended 2")]


def test_a_mended_transform_that_makes_nothing_takes_nothing_back_unasked(
    session: Session, stager: Stager
) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9))]))
    result = session.commit(stager.request(ORDERS, 0, [], code_version="v2"))
    assert (result.status, len(select(session.connection, MERGED))) == (Status.WITHHELD, 1)
    assert "a day that brought 1 row before" in result.message
    result = session.commit(stager.request(ORDERS, 0, [], code_version="v2", confirm_empty=True))
    assert (result.counts.removed, select(session.connection, MERGED)) == (1, [])


@pytest.mark.parametrize("delete", ["soft", "hard"])
def test_a_change_feed_under_other_keys_is_withheld_until_confirmed(
    session: Session, stager: Stager, delete: Literal["soft", "hard"]
) -> None:
    feed = products(delete)
    session.commit(stager.request(feed, 0, [change(1, "I", at(0, 1), "b"), change(2, "I", at(0, 2), " a")]))
    session.commit(stager.request(feed, 1, [change(3, "D", at(1, 1), " a"), change(4, "U", at(1, 2), "b")]))
    mended = [change(3, "D", at(1, 1), "a"), change(4, "U", at(1, 2), "b")]
    result = session.commit(stager.request(feed, 1, mended, code_version="v2"))
    assert result.status is Status.WITHHELD
    assert "other keys of 1 that are applied already; run again with --confirm-empty" in result.message
    keys = "SELECT product_id FROM shop.products UNION SELECT key_json FROM etl.tombstones ORDER BY 1"
    dead = {"soft": ["{}"], "hard": ['{{"product_id":"{}"}}']}[delete][0]
    assert select(session.connection, keys) == sorted([("b",), (dead.format(" a"),)])
    session.commit(stager.request(feed, 1, mended, code_version="v2", confirm_empty=True))
    assert select(session.connection, keys) == sorted([("b",), (dead.format("a"),)])


def test_a_snapshot_under_other_keys_is_that_of_the_mended_day(session: Session, stager: Stager) -> None:
    stream = customers("delete")
    for number in (0, 1):
        session.commit(stager.request(stream, number, [customer(" a"), customer("b")]))
    for number in (0, 1):
        rows = [customer("a"), customer("b")]
        session.commit(stager.request(stream, number, rows, code_version="v2", confirm_empty=True))
    assert select(session.connection, "SELECT customer_id, _partition FROM shop.customers ORDER BY 1") == [
        ("a", day(0)),
        ("b", day(0)),
    ]
