"""New days of one transaction are brought in by few statements, and all is as if each had followed the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.outcomes import Counts
from etl_assets.streams.base import Stream
from etl_assets.warehouse.commit_request import CommitResult
from etl_assets.warehouse.dispositions.cdc import ApplyChanges
from etl_assets.warehouse.dispositions.merge import MergeRows
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.feeds import OPEN_GAPS, change, fresh_session, products
from etl_assets_tests.warehouse.samples import ORDERS, Row, Stager, at, day, everything, order, select

Days = list[list[Row]]


@contextmanager
def loaded(
    stream: Stream, before: Days, days: Days, *, together: bool, former: Stream | None = None
) -> Iterator[tuple[Session, list[CommitResult]]]:
    """Load some days one by one, and others after that, in one transaction or one by one too."""
    with fresh_session() as (session, stager):
        first, others = (
            [
                stager.request(declared, start + number, rows, run_id=f"run-{start + number}")
                for number, rows in enumerate(some)
            ]
            for declared, start, some in ((former or stream, 0, before), (stream, len(before), days))
        )
        for request in first:
            session.commit(request)
        yield (
            session,
            session.commit_group(others) if together else [session.commit(request) for request in others],
        )


def everything_in(session: Session) -> dict[str, Any]:
    """Give all tables, of the gaps those that are open: one that is closed in its own transaction need not be told."""
    found = everything(session.connection)
    del found["etl.schema_version"], found["etl.sequence_gaps"]
    return found | {"gaps": select(session.connection, OPEN_GAPS)}


def assert_alike(stream: Stream, before: Days, days: Days, former: Stream | None = None) -> None:
    """Compare days of one transaction with the same days one by one: what is said of them, and all tables."""
    with loaded(stream, before, days, together=False, former=former) as (session, said):
        expected = everything_in(session)
    with loaded(stream, before, days, together=True, former=former) as (session, said_together):
        assert said_together == said
        assert everything_in(session) == expected


@contextmanager
def never_one_by_one(kind: type[Any]) -> Iterator[None]:
    """Have a disposition refuse to apply a load by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "apply", None)
        yield


def orders_of(number: int) -> st.SearchStrategy[Row]:
    """Orders of a day, and now and then of the days around it."""
    hours = st.integers(-26, 26) | st.integers(0, 23)
    return st.builds(
        order,
        order_id=st.sampled_from("abcd"),
        updated_at=hours.map(lambda hour: at(number, hour)),
        created_on=st.integers(0, 2).map(day),
        status=st.sampled_from([None, "pending", "done"]),
    )


@st.composite
def days_of_orders(draw: st.DrawFn) -> Days:
    """Days, some of which bring rows of the day before again, as windows that overlap do."""
    days: Days = []
    for number in range(draw(st.integers(2, 5))):
        again = draw(st.lists(st.sampled_from(days[-1]), unique_by=id)) if days and days[-1] else []
        days.append([*draw(st.lists(orders_of(number), max_size=4)), *again])
    return days


@settings(deadline=None, max_examples=12)
@given(days=days_of_orders(), known=st.integers(0, 1))
def test_days_of_a_merge(days: Days, known: int) -> None:
    assert_alike(ORDERS, days[:known], days[known:])


@st.composite
def days_of_changes(draw: st.DrawFn) -> Days:
    """Days of a feed; a number may be missing, and a day come late."""
    days: Days = []
    lsn, missing = 0, draw(st.none() | st.integers(2, 9))
    for number in range(draw(st.integers(2, 5))):
        days.append([])
        for hour, kind in enumerate(draw(st.lists(st.sampled_from("IUDD"), max_size=5))):
            lsn += 2 if lsn + 1 == missing else 1
            price = draw(st.sampled_from([None, 1.0, 2.0]))
            days[-1].append(change(lsn, kind, at(number, hour), draw(st.sampled_from("ab")), price))
    late = draw(st.integers(0, 3 * len(days)))
    return [*days[:late], *days[late + 1 : late + 2], *days[late : late + 1], *days[late + 2 :]]


@settings(deadline=None, max_examples=12)
@given(
    days=days_of_changes(),
    known=st.integers(0, 1),
    stream=st.sampled_from([products("soft"), products("hard"), products("hard", contiguous=False)]),
)
def test_days_of_a_change_feed(days: Days, known: int, stream: Stream) -> None:
    assert_alike(stream, days[:known], days[known:])


OUT_OF_ORDER: dict[str, tuple[Stream, Days]] = {
    "an older version": (ORDERS, [[order("a", at(1))], [order("a", at(0))]]),
    "a version of two contents": (ORDERS, [[order("a", at(0), total=1.0)], [order("a", at(0), total=2.0)]]),
    "a version of two contents, the greater first": (
        ORDERS,
        [[order("a", at(0), total=2.0)], [order("a", at(0), total=1.0)]],
    ),
    "an older change": (products("soft"), [[change(2, "U", at(0))], [change(1, "I", at(1))]]),
    "two changes of one number": (
        products("soft"),
        [[change(1, "I", at(0), price=1.0)], [change(1, "U", at(1), price=2.0)]],
    ),
    "two changes of one number, the greater first": (
        products("soft"),
        [[change(1, "I", at(0), price=2.0)], [change(1, "U", at(1), price=1.0)]],
    ),
    "two changes of one number in a day": (
        products("hard"),
        [[change(1, "I", at(0), price=2.0), change(1, "U", at(0), price=1.0)], [change(2, "D", at(1))]],
    ),
    "a missing number": (products("hard"), [[change(1, "I", at(0))], [change(3, "U", at(1))]]),
}


@pytest.mark.parametrize("case", OUT_OF_ORDER)
def test_days_that_do_not_follow_on_each_other_are_applied_one_by_one(case: str) -> None:
    stream, days = OUT_OF_ORDER[case]
    assert_alike(stream, [], days)
    assert_alike(stream, days[:1], [*days[1:], []])


@pytest.mark.parametrize("deletes", [("soft", "hard"), ("hard", "soft")])
def test_days_of_a_feed_whose_deletes_have_become_others(deletes: tuple[Any, Any]) -> None:
    former, stream = map(products, deletes)
    before = [
        [change(1, "I", at(0), "a", 1.0), change(2, "I", at(0), "b", 1.0)],
        [change(3, "D", at(1), "a")],
    ]
    days = [[change(4, "D", at(2), "a"), change(5, "D", at(2), "b")], [change(6, "I", at(3), "a", 2.0)]]
    assert_alike(stream, before, days, former)


def test_what_became_of_an_order_on_the_way_is_kept_and_told() -> None:
    days = [
        [order("a", at(0, 1), day(0)), order("b", at(0, 2), day(0))],
        [order("a", at(1, 1), day(1), status="paid"), order("b", at(0, 2), day(0))],
        [order("a", at(2, 1), day(2), status="sent"), order("c", at(2, 1)), order("c", at(2, 2))],
    ]
    with never_one_by_one(MergeRows), loaded(ORDERS, [], days, together=True) as (session, said):
        assert [result.counts for result in said] == [
            Counts(extracted=2, staged=2, loaded=2),
            Counts(extracted=2, staged=2, loaded=1, updated=1, unchanged=1),
            Counts(extracted=3, staged=3, loaded=2, updated=1, deduplicated=1),
        ]
        assert [result.touched_dates for result in said] == [
            (day(0),),
            (day(0), day(1)),
            (day(0), day(1), day(2)),
        ]
        rows = "SELECT order_id, status, _partition, _run_id, _brought_by FROM {}.orders ORDER BY ALL"
        assert select(session.connection, rows.format("shop")) == [
            ("a", "sent", day(2), "run-2", None),
            ("b", "pending", day(0), "run-0", [day(0), day(1)]),
            ("c", "pending", day(2), "run-2", None),
        ]
        account = "SELECT status, _brought_by FROM _shop.orders ORDER BY ALL"
        assert select(session.connection, account) == [("paid", [day(1)]), ("pending", [day(0)])]


@pytest.mark.parametrize("delete", ["soft", "hard"])
def test_what_a_feed_did_on_the_way_is_told(delete: Any) -> None:
    days = [
        [
            change(1, "I", at(0), "a", 1.0),
            change(2, "I", at(0), "b", 2.0),
            change(3, "U", at(0, 1), "a", 3.0),
        ],
        [change(4, "D", at(1), "a"), change(5, "U", at(1), "b", 4.0)],
        [change(6, "I", at(2), "a", 5.0), change(7, "D", at(2, 1), "b")],
    ]
    stream = products(delete)
    with never_one_by_one(ApplyChanges), loaded(stream, [], days, together=True) as (session, said):
        counts = [
            (result.counts.loaded, result.counts.updated, result.counts.deduplicated, result.counts.removed)
            for result in said
        ]
        assert counts == [(2, 0, 1, 0), (2, 2, 0, 1), (2, 2, 0, 1)]
        rows = select(
            session.connection, "SELECT product_id, price, op, _run_id FROM shop.products ORDER BY 1"
        )
        marked = [("b", 4.0, "D", "run-2")] if delete == "soft" else []
        assert rows == [("a", 5.0, "I", "run-2"), *marked]
        dead = select(session.connection, "SELECT sequence, run_id FROM etl.tombstones")
        assert dead == ([] if delete == "soft" else [(7, "run-2")])


def test_days_that_were_loaded_before_are_merged_one_by_one(session: Session, stager: Stager) -> None:
    """What mended code makes of a day takes the place of what the former made: nothing of that is done together."""
    days = [[order("a", at(0, 1), status="old")], [order("b", at(1, 1))]]
    session.commit_group([stager.request(ORDERS, number, rows) for number, rows in enumerate(days)])
    mended = [[order("x", at(0, 1), status="new")], [order("b", at(1, 1))], [order("c", at(2, 1))]]
    session.commit_group(
        [stager.request(ORDERS, number, rows, code_version="v2") for number, rows in enumerate(mended)]
    )
    found = select(session.connection, "SELECT order_id, _partition FROM shop.orders ORDER BY 1")
    assert found == [("b", day(1)), ("c", day(2)), ("x", day(0))]
