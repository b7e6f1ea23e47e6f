"""`append` through the commit: rows are added once, whatever is loaded in whichever order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etl_assets.outcomes import Counts, Status
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.feeds import CLICKS, click
from etl_assets_tests.warehouse.samples import Stager, at, day, select

CONTENT = "SELECT page, seconds, clicked_at, _partition FROM shop.clicks"


def test_rows_are_added_once(session: Session, stager: Stager) -> None:
    first = [click("a", at(0, 1)), click("b", at(0, 1)), click("a", at(0, 1)), click(None, at(0, 2), None)]
    result = session.commit(stager.request(CLICKS, 0, first))
    assert result.counts == Counts(extracted=4, staged=4, loaded=3, deduplicated=1)
    assert result.touched_dates == (day(0),)
    second = [*first[:2], click(None, at(0, 2), None), click("c", at(0, 5))]
    result = session.commit(stager.request(CLICKS, 0, second, run_id="run-2"))
    assert result.counts == Counts(extracted=4, staged=4, loaded=1, unchanged=3)
    found = select(session.connection, "SELECT page FROM shop.clicks WHERE _run_id = 'run-2'")
    assert found == [("c",)]


def test_a_day_sent_again_with_fewer_rows_removes_nothing(session: Session, stager: Stager) -> None:
    session.commit(stager.request(CLICKS, 0, [click("a", at(0, 1)), click("b", at(0, 1))]))
    for rows in ([click("a", at(0, 1))], []):
        result = session.commit(stager.request(CLICKS, 0, rows))
        assert result.status.is_published
        assert result.counts.loaded == 0
        assert result.touched_dates == ()
    assert select(session.connection, "SELECT count(*) FROM shop.clicks") == [(2,)]


def test_a_row_found_in_two_overlapping_windows_is_added_once(session: Session, stager: Stager) -> None:
    row = click("late", at(0, 23))
    session.commit(stager.request(CLICKS, 1, [row, click("x", at(1, 1))]))
    assert session.commit(stager.request(CLICKS, 0, [row])).counts.unchanged == 1
    found = select(session.connection, "SELECT page, _partition FROM shop.clicks ORDER BY 1")
    assert found == [("late", day(0)), ("x", day(1))]


def test_same_content_is_loaded_again_into_an_emptied_table(session: Session, stager: Stager) -> None:
    request = stager.request(CLICKS, 0, [click("a", at(0, 1))])
    session.commit(request)
    assert session.commit(request).unchanged_content
    session.connection.execute("DELETE FROM shop.clicks")
    assert session.commit(request).counts.loaded == 1


BROUGHT_BY = "SELECT page, _partition, _brought_by FROM shop.clicks ORDER BY ALL"


@pytest.mark.parametrize("changed", [{"code_version": "v2"}, {"contract_version": "c2"}])
def test_a_mended_transform_takes_back_what_its_day_brought(
    session: Session, stager: Stager, changed: dict[str, str]
) -> None:
    session.commit(stager.request(CLICKS, 0, [click("wrong", at(0, 1)), click("same", at(0, 2))]))
    session.commit(stager.request(CLICKS, 0, [click("sent later", at(0, 3))]))
    session.commit(stager.request(CLICKS, 1, [click("other day", at(1, 1))]))
    mended = [click("right", at(0, 1)), click("same", at(0, 2)), click("right", at(0, 1))]
    result = session.commit(stager.request(CLICKS, 0, mended, run_id="run-2", **changed))
    assert result.counts == Counts(extracted=3, staged=3, loaded=1, unchanged=1, deduplicated=1, removed=2)
    assert result.touched_dates == (day(0),)
    found = select(session.connection, "SELECT page, _run_id FROM shop.clicks ORDER BY 1")
    assert found == [("other day", "run-1"), ("right", "run-2"), ("same", "run-1")]


def test_a_row_that_another_day_brought_too_stays_until_that_day_is_mended(
    session: Session, stager: Stager
) -> None:
    wrong, right = click("wrong", at(0, 23)), click("right", at(0, 23))
    session.commit(stager.request(CLICKS, 0, [wrong]))
    session.commit(stager.request(CLICKS, 1, [wrong]))
    assert select(session.connection, BROUGHT_BY) == [("wrong", day(0), [day(0), day(1)])]
    first = session.commit(stager.request(CLICKS, 0, [right], code_version="v2"))
    assert (first.counts.loaded, first.counts.removed) == (1, 0)
    assert select(session.connection, BROUGHT_BY) == [
        ("right", day(0), None),
        ("wrong", day(0), [day(1)]),
    ]
    second = session.commit(stager.request(CLICKS, 1, [right], code_version="v2"))
    assert (second.counts.unchanged, second.counts.removed) == (1, 1)
    assert select(session.connection, BROUGHT_BY) == [("right", day(0), [day(0), day(1)])]


def test_a_mended_transform_that_leaves_no_row_is_withheld(session: Session, stager: Stager) -> None:
    session.commit(stager.request(CLICKS, 0, [click("a", at(0, 1)), click("b", at(0, 1))]))
    nothing = stager.request(CLICKS, 0, [], ["{}"], code_version="v2")
    result = session.commit(nothing)
    assert result.status is Status.WITHHELD
    assert result.message.startswith(
        "none of the source's 1 rows is good for a day that brought 2 rows before;"
    )
    confirmed = session.commit(replace(nothing, confirm_empty=True))
    assert (confirmed.counts.removed, confirmed.touched_dates) == (2, (day(0),))
    assert select(session.connection, BROUGHT_BY) == []


def test_a_table_from_before_the_days_were_noted_counts_rows_to_their_own_day(
    warehouse: Warehouse, stager: Stager
) -> None:
    with warehouse.session("before") as session:
        session.commit(stager.request(CLICKS, 0, [click("wrong", at(0, 1)), click("wrong", at(-1, 23))]))
        session.connection.execute("ALTER TABLE shop.clicks DROP COLUMN _brought_by")
    with warehouse.session("after") as session:
        result = session.commit(stager.request(CLICKS, 0, [click("right", at(0, 1))], code_version="v2"))
        assert (result.counts.loaded, result.counts.removed) == (1, 1)
        assert [row[0] for row in select(session.connection, BROUGHT_BY)] == ["right", "wrong"]
