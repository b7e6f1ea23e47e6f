"""`cdc` through the commit: the newest change of a key wins, and deletes stay dead until a newer change."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl_assets.outcomes import Counts, Status
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.feeds import OPEN_GAPS, change, fresh_session, products
from etl_assets_tests.warehouse.samples import LOADED_AT, Stager, at, day, select

Delete = Literal["soft", "hard"]
SOFT, HARD = products("soft"), products("hard")
CONTENT = "SELECT product_id, lsn, op, changed_at, price, name, _partition"
TABLE = {
    "soft": f"{CONTENT}, _deleted_at, _values_sequence FROM shop.products",
    "hard": f"{CONTENT}, NULL, NULL FROM shop.products",
}
TOMBSTONES = "SELECT key_json, sequence, deleted_at, partition FROM etl.tombstones"
RANGES = "SELECT first_sequence, last_sequence FROM etl.sequence_ranges ORDER BY 1"


def test_changes_of_a_day_are_applied_in_their_order(session: Session, stager: Stager) -> None:
    rows = [
        change(2, "U", at(0, 2), "a", 2.0, "A"),
        change(1, "I", at(0, 1), "a", 1.0, "a"),
        change(3, "I", at(0, 3), "b", 5.0, "b"),
        change(4, "D", at(0, 4), "b"),
    ]
    result = session.commit(stager.request(SOFT, 0, rows))
    assert result.counts == Counts(extracted=4, staged=4, loaded=2, deduplicated=2)
    assert result.touched_dates == (day(0),)
    assert select(session.connection, TABLE["soft"] + " ORDER BY 1") == [
        ("a", 2, "U", at(0, 2), 2.0, "A", day(0), None, None),
        ("b", 4, "D", at(0, 4), 5.0, "b", day(0), at(0, 4), 3),
    ]


def test_a_delete_marks_the_row_and_keeps_its_values(session: Session, stager: Stager) -> None:
    session.commit(stager.request(SOFT, 0, [change(1, "I", at(0), "a", 1.0, "first")]))
    result = session.commit(stager.request(SOFT, 1, [change(2, "D", at(1), "a")], run_id="run-2"))
    assert result.counts == Counts(extracted=1, staged=1, loaded=1, updated=1, removed=1)
    assert result.touched_dates == (day(0), day(1))
    assert select(session.connection, TABLE["soft"]) == [("a", 2, "D", at(1), 1.0, "first", day(1), at(1), 1)]
    loads = select(session.connection, "SELECT loaded, updated, removed FROM etl.loads ORDER BY load_id")
    assert loads == [(1, 0, 0), (1, 1, 1)]
    assert select(session.connection, TOMBSTONES) == []


def test_a_delete_removes_the_row_and_leaves_a_tombstone(session: Session, stager: Stager) -> None:
    session.commit(stager.request(HARD, 0, [change(1, "I", at(0), "a", 1.0), change(2, "I", at(0), "b")]))
    result = session.commit(stager.request(HARD, 1, [change(3, "D", at(1), "a")]))
    assert result.counts == Counts(extracted=1, staged=1, loaded=1, updated=1, removed=1)
    assert result.touched_dates == (day(0),)
    assert select(session.connection, "SELECT product_id FROM shop.products") == [("b",)]
    assert select(session.connection, TOMBSTONES) == [('{"product_id":"a"}', 3, at(1), day(1))]


@pytest.mark.parametrize("stream", [SOFT, HARD], ids=["soft", "hard"])
def test_an_older_change_that_comes_late_does_not_bring_a_row_back(
    session: Session, stager: Stager, stream: Any
) -> None:
    session.commit(stager.request(stream, 1, [change(5, "D", at(1), "a")]))
    late = session.commit(stager.request(stream, 0, [change(4, "U", at(0), "a", 4.0)]))
    alive = "SELECT count(*) FROM shop.products WHERE op <> 'D'"
    assert select(session.connection, alive) == [(0,)]
    assert late.counts.conserved
    newer = session.commit(stager.request(stream, 2, [change(6, "I", at(2), "a", 6.0, "back")]))
    assert newer.counts.loaded == newer.counts.updated == 1
    found = select(session.connection, TABLE[stream.write.delete])
    assert found == [("a", 6, "I", at(2), 6.0, "back", day(2), None, None)]
    assert select(session.connection, TOMBSTONES) == []


def test_values_that_come_after_the_delete_fill_the_marked_row(session: Session, stager: Stager) -> None:
    session.commit(stager.request(SOFT, 3, [change(9, "D", at(3), "a")]))
    assert session.commit(stager.request(SOFT, 2, [change(5, "U", at(2), "a", 5.0)])).counts.loaded == 1
    older = session.commit(stager.request(SOFT, 1, [change(2, "I", at(1), "a", 2.0)]))
    assert older.counts == Counts(extracted=1, staged=1, unchanged=1)
    assert older.touched_dates == ()
    assert select(session.connection, TABLE["soft"]) == [("a", 9, "D", at(3), 5.0, None, day(3), at(3), 5)]


def test_same_content_again_changes_nothing(session: Session, stager: Stager) -> None:
    rows = [change(1, "I", at(0), "a", 1.0), change(2, "U", at(0), "a", 2.0), change(3, "D", at(0), "b")]
    for stream in (SOFT, HARD):
        session.commit(stager.request(stream, 0, rows))
        again = session.commit(stager.request(stream, 0, rows))
        assert again.unchanged_content
        assert again.counts == Counts(extracted=3, staged=3, unchanged=2, deduplicated=1)


def test_a_hard_delete_is_kept_when_deletes_become_soft(session: Session, stager: Stager) -> None:
    session.commit(stager.request(HARD, 1, [change(2, "D", at(1), "a")]))
    session.connection.execute("ALTER TABLE shop.products ADD COLUMN _deleted_at TIMESTAMP")
    session.connection.execute("ALTER TABLE shop.products ADD COLUMN _values_sequence BIGINT")
    session._layouts.clear()
    session.commit(stager.request(SOFT, 0, [change(1, "I", at(0), "a", 1.0)]))
    assert select(session.connection, TABLE["soft"]) == [("a", 2, "D", at(1), 1.0, None, day(1), at(1), 1)]
    assert select(session.connection, TOMBSTONES) == []


ALIKE = [
    change(7, "I", at(0, 1), "a", 1.0, None),
    change(7, "U", at(0, 1), "a", 1.0, "x"),
    change(7, "U", at(0, 2), "a", 1.0, "x"),
    change(7, "D", at(0, 0), "a"),
]


@pytest.mark.parametrize("delete", ["soft", "hard"])
def test_changes_numbered_alike_settle_alike_in_any_order(delete: Delete) -> None:
    stream = products(delete)
    ends = set()
    for rows in list(permutations(ALIKE))[::3]:
        with fresh_session() as (session, stager):
            for number, row in enumerate(rows):
                session.commit(stager.request(stream, number, [row]))
            ends.add(repr(select(session.connection, TABLE[delete]) + select(session.connection, TOMBSTONES)))
    assert len(ends) == 1


@pytest.mark.parametrize("delete", ["soft", "hard"])
def test_a_mended_transform_restates_changes_that_were_loaded(
    session: Session, stager: Stager, delete: Delete
) -> None:
    stream = products(delete)
    changes = [change(1, "I", at(0), "a", 9.0, "wrong"), change(2, "I", at(0), "b", 1.0)]
    session.commit(stager.request(stream, 0, changes))
    session.commit(stager.request(stream, 1, [change(3, "U", at(1), "b", 3.0)]))
    mended = [change(1, "I", at(0), "a", 1.0, "right"), change(2, "I", at(0), "b", 8.0)]
    session.commit(stager.request(stream, 0, mended))
    found = "SELECT product_id, price, name FROM shop.products ORDER BY 1"
    assert select(session.connection, found) == [("a", 9.0, "wrong"), ("b", 3.0, None)]
    session.commit(stager.request(stream, 0, changes, code_version="v2"))
    session.commit(stager.request(stream, 0, mended, code_version="v3"))
    assert select(session.connection, found) == [("a", 1.0, "right"), ("b", 3.0, None)]


@pytest.mark.parametrize("delete", ["soft", "hard"])
def test_a_key_that_a_mended_day_took_out_comes_back_with_the_days_before(
    session: Session, stager: Stager, delete: Delete
) -> None:
    stream = products(delete)
    before, after = [change(1, "I", at(0), "a", 1.0)], [change(2, "U", at(1), "a", 2.0)]
    session.commit_group([stager.request(stream, 0, before), stager.request(stream, 1, after)])
    mended = [change(2, "U", at(1), "b", 2.0)]
    session.commit(stager.request(stream, 0, before, code_version="v2"))
    request = stager.request(stream, 1, mended, code_version="v2")
    assert session.commit(request).status is Status.WITHHELD
    assert session.commit(replace(request, confirm_empty=True)).counts.removed == 1
    again = session.commit(stager.request(stream, 0, before, code_version="v2"))
    assert (again.counts.loaded, again.unchanged_content) == (1, False)
    assert select(session.connection, "SELECT product_id, lsn FROM shop.products ORDER BY 1") == [
        ("a", 1),
        ("b", 2),
    ]
    assert session.commit(stager.request(stream, 0, before, code_version="v2")).unchanged_content


def test_gaps_are_noticed_and_closed(session: Session, stager: Stager) -> None:
    def load(number: int, *lsns: int) -> None:
        rows = [change(lsn, "U", at(number), "a", float(lsn)) for lsn in lsns]
        session.commit(stager.request(SOFT, number, rows, run_id=f"run-{number}"))

    load(1, 10, 11, 14)
    assert select(session.connection, OPEN_GAPS) == [(11, 14)]
    load(3, 20, 21)
    assert select(session.connection, OPEN_GAPS) == [(11, 14), (14, 20)]
    load(2, 15, 16, 19)
    assert select(session.connection, OPEN_GAPS) == [(11, 14), (16, 19)]
    load(0, 8, 9)
    load(1, 10, 11, 12, 13, 14)
    assert select(session.connection, OPEN_GAPS) == [(16, 19)]
    load(4, 17, 18, 22)
    everything = select(
        session.connection,
        "SELECT after_sequence, before_sequence, partition, run_id, noticed_at, closed_at "
        "FROM etl.sequence_gaps ORDER BY after_sequence, before_sequence",
    )
    now = LOADED_AT.replace(tzinfo=None)
    assert everything == [
        (11, 14, day(1), "run-1", now, now),
        (14, 20, day(3), "run-3", now, now),
        (16, 19, day(2), "run-2", now, now),
    ]
    assert select(session.connection, RANGES) == [(8, 22)]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4), st.integers(1, 2)), min_size=2, max_size=6))
@example([(4, 2, 1), (8, 2, 1), (0, 2, 1), (2, 2, 1), (6, 2, 1)])
@example([(8, 2, 1), (2, 2, 1)])
def test_the_account_follows_from_the_numbers_alone(loads: list[tuple[int, int, int]]) -> None:
    """Loads of a few numbers each, with gaps in them or without."""
    known: set[int] = set()
    with fresh_session() as (session, stager):
        for number, (first, count, step) in enumerate(loads):
            numbers = range(first, first + count * step, step)
            rows = [change(lsn, "I", at(number), str(lsn)) for lsn in numbers]
            session.commit(stager.request(SOFT, number, rows))
            known |= set(numbers)
            starts = sorted(lsn for lsn in known if lsn - 1 not in known)
            ends = sorted(lsn for lsn in known if lsn + 1 not in known)
            ranges = list(zip(starts, ends, strict=True))
            assert select(session.connection, RANGES) == ranges
            assert select(session.connection, OPEN_GAPS) == [
                (before[1], after[0]) for before, after in pairwise(ranges)
            ]


@settings(deadline=None, max_examples=10)
@given(
    st.lists(
        st.tuples(st.sampled_from("IUD"), st.sampled_from("ab"), st.integers(0, 1)), min_size=1, max_size=6
    )
)
def test_a_day_with_several_changes_of_a_key_is_as_these_changes_a_day_each(
    changes: list[tuple[str, str, int]],
) -> None:
    rows = [
        change(lsn, kind, at(0, lsn), key, None if kind == "D" else float(price))
        for lsn, (kind, key, price) in enumerate(changes, start=1)
    ]
    for delete in ("soft", "hard"):
        stream, ends = products(delete), []
        for days in ([rows], [[row] for row in rows]):
            with fresh_session() as (session, stager):
                for number, some in enumerate(days):
                    session.commit(stager.request(stream, number, some))
                found = select(session.connection, f"{TABLE[delete]} ORDER BY 1")
                ends.append(
                    (found, [row[:3] for row in select(session.connection, TOMBSTONES + " ORDER BY 1")])
                )
        assert ends[0] == ends[1]


def test_gaps_at_the_ends_of_the_numbers(session: Session, stager: Stager) -> None:
    ends = -(2**63), 2**63 - 1
    session.commit(stager.request(SOFT, 0, [change(lsn, "I", at(0), str(lsn)) for lsn in ends]))
    assert select(session.connection, OPEN_GAPS) == [ends]


def test_a_source_that_leaves_numbers_out_has_no_gaps(session: Session, stager: Stager) -> None:
    stream = products("soft", contiguous=False)
    session.commit(stager.request(stream, 0, [change(lsn, "I", at(0), str(lsn)) for lsn in (1, 5, 900)]))
    assert select(session.connection, "SELECT * FROM etl.sequence_gaps") == []
