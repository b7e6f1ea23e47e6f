"""Rollbacks within one session: what random histories (`histories`) meet too seldom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.streams.base import Stream
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.consistency import published_landings, row_differences
from etl_assets.warehouse.history import cost_of
from etl_assets.warehouse.past_loads import Cut, Target, cut_of, days_taken_out, target_at
from etl_assets.warehouse.rollback import Rollback
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import LINES, LOADED_AT, ORDERS, Stager, at, day, line, order, select

MADE_BY = ("c1", "v1")


def cut(session: Session, stream: Stream, load_id: int, made_by: tuple[str, str] = MADE_BY) -> Cut:
    """Tell what going back to right after a load means."""
    return cut_of(session.connection, stream, Target(load_id, LOADED_AT), made_by)


def roll_back(session: Session, stream: Stream, load_id: int, requests: Sequence[CommitRequest]) -> None:
    """Go back; the requests are those of the loads from the first on."""
    by_number = dict(enumerate(requests, start=1))
    session.roll_back([Rollback(stream, cut(session, stream, load_id), by_number)], "undo", LOADED_AT)


@pytest.mark.parametrize("noted", [True, False])
def test_what_mended_code_had_put_in_place_is_put_in_place_again(
    session: Session, stager: Stager, noted: bool
) -> None:
    """Of two equal versions the greater row would win, had the second not taken the place of the first."""
    requests = [
        stager.request(ORDERS, 0, [order("o", at(0, 1), status="z")], landing_version="1", code_version="v0"),
        stager.request(ORDERS, 0, [order("o", at(0, 1), status="a")], landing_version="2"),
        stager.request(ORDERS, 1, [order("o", at(1, 1), status="late")], landing_version="3"),
    ]
    for request in requests:
        session.commit(request)
    if not noted:
        session.connection.execute("UPDATE etl.loads SET restates = NULL")
    roll_back(session, ORDERS, 2, requests)
    assert select(session.connection, "SELECT status FROM shop.orders") == [("a",)]
    assert select(
        session.connection, "SELECT restores, restates FROM etl.loads WHERE load_id > 3 ORDER BY load_id"
    ) == [
        (None, None),
        (None, None),
        (1, False),
        (2, True),
    ]


def test_every_reader_of_the_log_knows_that_a_day_is_not_loaded(session: Session, stager: Stager) -> None:
    requests = [stager.request(LINES, number, [line(number, "a")]) for number in range(2)]
    for request in requests:
        session.commit(request)
    expected = cost_of(session.connection, LINES.id)
    roll_back(session, LINES, 1, requests)
    assert published_landings(session.connection, LINES) == {day(0): "landed-0"}
    assert days_taken_out(session.connection, LINES) == (day(1),)
    assert row_differences(session.connection, LINES) == []
    assert cost_of(session.connection, LINES.id) == expected
    result = session.commit(requests[1])
    assert (result.counts.loaded, result.unchanged_content) == (1, False)
    assert days_taken_out(session.connection, LINES) == ()


def test_the_same_answers_loaded_again_need_not_be_taken_back(session: Session, stager: Stager) -> None:
    for _ in range(3):
        session.commit(stager.request(ORDERS, 0, [order("o", at(0, 1))]))
    assert cut(session, ORDERS, 1).changed == ()


def test_a_load_that_found_its_rows_there_leaves_them_the_run_that_wrote_them(
    session: Session, stager: Stager
) -> None:
    requests = [
        stager.request(
            LINES, 0, [line(0, "a")], run_id=f"run-{n}", landing_version=str(n), content_hash=str(n)
        )
        for n in (1, 2)
    ]
    requests.append(stager.request(LINES, 0, [line(0, "b")], run_id="run-3", landing_version="3"))
    for request in requests:
        session.commit(request)
    roll_back(session, LINES, 2, requests)
    assert select(session.connection, "SELECT line_id, _run_id FROM shop.order_lines") == [("0-a", "run-1")]
    last = "SELECT landing_version FROM etl.loads ORDER BY load_id DESC LIMIT 1"
    assert select(session.connection, last) == [("2",)]


def test_a_time_means_the_last_load_up_to_then(session: Session, stager: Stager) -> None:
    with pytest.raises(ConfigurationError, match="nothing has been loaded"):
        target_at(session.connection, at(0))
    for number in range(2):
        moment = datetime(2025, 6, 1, 12, number, tzinfo=UTC)
        session.commit(stager.request(LINES, number, [line(number, "a")], loaded_at=moment))
    found = [target_at(session.connection, datetime(2025, 6, 1, 12, minute)).load_id for minute in (0, 1, 59)]
    assert found == [1, 2, 2]
    with pytest.raises(ConfigurationError, match="the first load was at 2025-06-01 12:00:00 UTC"):
        target_at(session.connection, datetime(2025, 6, 1, 11, 59))
