"""`snapshot` through the commit: the newest day shows, history follows from the days alone, vanishing is guarded."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from etl_assets.failures import WarehouseError
from etl_assets.outcomes import Counts, Status
from etl_assets.streams.base import Stream
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.feeds import customer, customers
from etl_assets_tests.warehouse.samples import Stager, day, everything, select

Removed = Literal["mark", "delete"]
MARK, DELETE = customers("mark"), customers("delete")
HISTORY = customers("delete", history=True)
GUARDED = customers("mark", guard=0.2)
CURRENT = "SELECT customer_id, name, points, since, _partition"
VERSIONS = (
    "SELECT customer_id, points, valid_from, valid_to, is_current FROM shop.customers_history ORDER BY 1, 3"
)


def _current(session: Session, removed: Removed) -> list[tuple[Any, ...]]:
    mark = "_removed_on" if removed == "mark" else "NULL"
    return sorted(select(session.connection, f"{CURRENT}, {mark} FROM shop.customers"), key=repr)


def test_a_snapshot_against_the_one_before(session: Session, stager: Stager) -> None:
    first = [customer("a"), customer("b"), customer("c", since=day(-5))]
    assert session.commit(stager.request(MARK, 0, first)).counts == Counts(extracted=3, staged=3, loaded=3)
    second = [customer("a"), customer("b", points=7, since=day(-1)), customer("d")]
    result = session.commit(stager.request(MARK, 1, second, run_id="run-2"))
    assert result.counts == Counts(extracted=3, staged=3, loaded=2, updated=1, unchanged=1, removed=1)
    assert result.touched_dates == (day(-5), day(-1), day(0))
    found = select(
        session.connection,
        "SELECT customer_id, points, _partition, _removed_on, _run_id FROM shop.customers ORDER BY 1",
    )
    assert found == [
        ("a", 0, day(0), None, "run-1"),
        ("b", 7, day(1), None, "run-2"),
        ("c", 0, day(0), day(1), "run-2"),
        ("d", 0, day(1), None, "run-2"),
    ]
    assert select(session.connection, "SELECT removed FROM etl.loads ORDER BY load_id") == [(0,), (1,)]


def test_rows_that_are_gone_are_removed_or_come_back(session: Session, stager: Stager) -> None:
    session.commit(stager.request(DELETE, 0, [customer("a"), customer("b")]))
    session.commit(stager.request(DELETE, 1, [customer("a")]))
    assert _current(session, "delete") == [("a", "n", 0, day(0), day(0), None)]
    result = session.commit(stager.request(DELETE, 2, [customer("a"), customer("b")]))
    assert result.counts == Counts(extracted=2, staged=2, loaded=1, unchanged=1)
    assert ("b", "n", 0, day(0), day(2), None) in _current(session, "delete")


def test_an_older_day_changes_the_history_alone(session: Session, stager: Stager) -> None:
    session.commit(stager.request(HISTORY, 0, [customer("a", 1), customer("gone")]))
    session.commit(stager.request(HISTORY, 4, [customer("a", 1), customer("b", 5)]))
    before = select(session.connection, "SELECT * FROM shop.customers ORDER BY 1")
    session.commit(stager.request(HISTORY, 2, [customer("a", 2), customer("gone")], run_id="run-2"))
    assert select(session.connection, VERSIONS) == [
        ("a", 1, day(0), day(2), False),
        ("a", 2, day(2), day(4), False),
        ("a", 1, day(4), None, True),
        ("b", 5, day(4), None, True),
        ("gone", 0, day(0), day(4), False),
    ]
    after = select(session.connection, "SELECT * FROM shop.customers ORDER BY 1")
    assert [row[:4] for row in after] == [row[:4] for row in before]
    # Day 2 tells that "a" has looked the way it does since day 4 only; "b" is not rewritten.
    assert select(session.connection, "SELECT customer_id, _partition, _run_id FROM shop.customers") == [
        ("b", day(4), "run-1"),
        ("a", day(4), "run-2"),
    ]


def test_a_day_that_is_sent_again_takes_the_place_of_its_first_load(session: Session, stager: Stager) -> None:
    for number, points in ((0, 1), (1, 1), (2, 1)):
        session.commit(stager.request(HISTORY, number, [customer("a", points)]))
    session.commit(stager.request(HISTORY, 1, [customer("a", 9)]))
    assert select(session.connection, VERSIONS) == [
        ("a", 1, day(0), day(1), False),
        ("a", 9, day(1), day(2), False),
        ("a", 1, day(2), None, True),
    ]
    session.commit(stager.request(HISTORY, 1, [customer("a", 1)]))
    assert select(session.connection, VERSIONS) == [("a", 1, day(0), None, True)]


def test_repeated_keys_are_counted_and_settle_alike(session: Session, stager: Stager) -> None:
    rows = [customer("a", points) for points in (1, 2, 3)]
    result = session.commit(stager.request(MARK, 0, rows))
    assert result.counts == Counts(extracted=3, staged=3, loaded=1, deduplicated=2)
    first = _current(session, "mark")
    again = session.commit(stager.request(MARK, 0, rows[::-1]))
    assert again.counts == Counts(extracted=3, staged=3, unchanged=1, deduplicated=2)
    assert _current(session, "mark") == first


def test_same_content_again_changes_nothing(session: Session, stager: Stager) -> None:
    session.commit(stager.request(MARK, 0, [customer("a", 1)]))
    session.commit(stager.request(MARK, 1, [customer("a", 2)]))
    for number in (0, 1):
        again = session.commit(stager.request(MARK, number, [customer("a", number + 1)]))
        assert again.unchanged_content
        assert again.counts == Counts(extracted=1, staged=1, unchanged=1)


@pytest.mark.parametrize("stream", [MARK, DELETE, HISTORY], ids=["mark", "delete", "history"])
def test_an_emptied_table_is_filled_again(session: Session, stager: Stager, stream: Stream) -> None:
    request = stager.request(stream, 0, [customer("a"), customer("b")])
    session.commit(request)
    session.connection.execute("DELETE FROM shop.customers")
    result = session.commit(request)
    assert result.counts == Counts(extracted=2, staged=2, unchanged=2)
    assert result.touched_dates == (day(0),)
    assert [row[0] for row in _current(session, "delete")] == ["a", "b"]


def test_a_snapshot_that_would_remove_too_much_is_withheld(session: Session, stager: Stager) -> None:
    session.commit(stager.request(GUARDED, 0, [customer(name) for name in "abcdefghij"]))
    before = everything(session.connection)
    fewer = [customer(name) for name in "abcdefg"]
    result = session.commit(stager.request(GUARDED, 1, fewer))
    assert result.status is Status.WITHHELD
    assert result.message == (
        "3 of 10 rows (30.0%) are gone from the snapshot, more than the guard of 20%; "
        "run again with --confirm-empty to accept"
    )
    after = everything(session.connection)
    assert {name for name in after if after[name] != before[name]} == {"etl.partitions", "etl.check_results"}
    accepted = session.commit(stager.request(GUARDED, 1, fewer, confirm_empty=True))
    assert accepted.status is Status.PUBLISHED
    assert accepted.counts.removed == 3
    result = session.commit(stager.request(GUARDED, 2, fewer[:-1]))
    assert (result.status, result.counts.removed) == (Status.PUBLISHED, 1)


def test_exactly_the_guard_is_let_through(session: Session, stager: Stager) -> None:
    session.commit(stager.request(GUARDED, 0, [customer(name) for name in "abcde"]))
    assert session.commit(stager.request(GUARDED, 1, [customer(name) for name in "abcd"])).counts.removed == 1


@pytest.mark.parametrize("stream", [MARK, DELETE, HISTORY], ids=["mark", "delete", "history"])
def test_an_empty_snapshot_is_withheld_until_confirmed(
    session: Session, stager: Stager, stream: Stream
) -> None:
    assert session.commit(stager.request(stream, 0, [])).status is Status.PUBLISHED
    session.commit(stager.request(stream, 1, [customer("a"), customer("b")]))
    result = session.commit(stager.request(stream, 2, []))
    assert result.status is Status.WITHHELD
    assert result.message == (
        "source returned no rows for a day that follows a snapshot of 2 rows; "
        "run again with --confirm-empty to accept"
    )
    assert session.commit(stager.request(stream, 2, [], confirm_empty=True)).counts.removed == 2


@pytest.mark.parametrize("earlier", [HISTORY, MARK, DELETE], ids=["history", "mark", "delete"])
@pytest.mark.parametrize("later", [HISTORY, MARK, DELETE], ids=["history", "mark", "delete"])
def test_another_way_of_keeping_takes_the_account_over(
    warehouse: Warehouse, stager: Stager, earlier: Stream, later: Stream
) -> None:
    with warehouse.session("as it was") as session:
        session.commit(stager.request(earlier, 0, [customer("a", 1), customer("b", 1)]))
        session.commit(stager.request(earlier, 2, [customer("a", 1), customer("b", 2)]))
    with warehouse.session("otherwise") as session:
        result = session.commit(stager.request(later, 3, [customer("a", 1), customer("b", 3)]))
        assert result.counts == Counts(extracted=2, staged=2, loaded=1, updated=1, unchanged=1)
        session.commit(stager.request(later, 1, [customer("a", 9), customer("b", 9)]))
        found = [(row[0], row[2], row[4]) for row in _current(session, "delete")]
        assert found == [("a", 1, day(2)), ("b", 3, day(3))]
        accounts = select(
            session.connection,
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = 'shop' AND table_name <> 'customers'",
        )
        assert len(accounts) == 1


def test_another_table_with_the_name_of_the_history_is_left_alone(session: Session, stager: Stager) -> None:
    session.connection.execute("CREATE SCHEMA shop")
    session.connection.execute("CREATE TABLE shop.customers_history AS SELECT 1 AS mine")
    with pytest.raises(WarehouseError, match=r"customers_history is not the history of shop/customers"):
        session.commit(stager.request(HISTORY, 0, [customer("a")]))
    session.commit(stager.request(DELETE, 0, [customer("a")]))
    assert select(session.connection, "SELECT * FROM shop.customers_history") == [(1,)]
