"""`append` through the commit: rows are added once, whatever is loaded in whichever order."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.outcomes import Counts
from etl_assets.warehouse.database import Session
from etl_assets_tests.warehouse.feeds import CLICKS, click, fresh_session
from etl_assets_tests.warehouse.samples import Row, Stager, at, day, select

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


CLICK = st.builds(
    click,
    page=st.sampled_from([None, "", "a", "b"]),
    clicked_at=st.integers(0, 5).map(lambda hours: at(0, hours * 12)),
    seconds=st.sampled_from([None, 0.0, 1.5]),
)
LOADS = st.lists(st.tuples(st.integers(0, 2), st.lists(CLICK, max_size=6)), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(loads=LOADS, data=st.data())
def test_any_loads_in_any_order_equal_a_set(loads: list[tuple[int, list[Row]]], data: st.DataObject) -> None:
    loads = data.draw(st.permutations(loads))
    repeats = data.draw(st.lists(st.sampled_from(loads), max_size=2))
    model: set[tuple[Any, ...]] = set()
    with fresh_session() as (session, stager):
        for number, rows in [*loads, *repeats]:
            given_rows = [(*row.values(), row["clicked_at"].date()) for row in rows]
            new = set(given_rows) - model
            model |= new
            result = session.commit(stager.request(CLICKS, number, rows))
            assert result.counts.conserved
            assert result.counts.loaded == len(new)
            assert result.counts.deduplicated == len(rows) - len(set(given_rows))
            assert set(result.touched_dates) == {row[-1] for row in new}
            assert sorted(select(session.connection, CONTENT), key=repr) == sorted(model, key=repr)
