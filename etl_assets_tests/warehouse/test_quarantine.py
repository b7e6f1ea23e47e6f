"""The quarantine: bad rows are kept, known again, counted, and moved with a trace, never deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from etl_assets.failures import WarehouseError
from etl_assets.outcomes import Counts, Status
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import LINES, LOADED_AT, Stager, day, line, select

ROWS = (
    "SELECT raw_payload, occurrence, attempts, state, first_seen = last_seen FROM etl.quarantine "
    "WHERE partition = '2025-01-01' ORDER BY raw_payload, occurrence"
)


def later(request: CommitRequest, hours: int) -> CommitRequest:
    """Make the request of a later run."""
    return replace(request, loaded_at=LOADED_AT + timedelta(hours=hours), run_id=f"run-{hours}")


def test_bad_rows_are_recorded_with_rule_reason_and_payload(session: Session, stager: Stager) -> None:
    result = session.commit(stager.request(LINES, 0, [line(0, "a")], ['{"x": 1}']))
    assert result.counts == Counts(extracted=2, staged=1, quarantined=1, loaded=1)
    found = select(
        session.connection,
        "SELECT source, stream, partition, row_number, rule, rules, reason, raw_payload, state, run_id, "
        "contract_version, last_seen FROM etl.quarantine",
    )
    seen = LOADED_AT.replace(tzinfo=None)
    expected = ("shop", "order_lines", day(0), 0, "rule_a", ["rule_a", "rule_b"], "a; b", '{"x": 1}')
    assert found == [(*expected, "pending", "run-1", "c1", seen)]


def test_the_same_bad_row_again_counts_an_attempt(session: Session, stager: Stager) -> None:
    request = stager.request(LINES, 0, [line(0, "a")], ["x", "x", "y"])
    session.commit(request)
    session.commit(later(request, 1))
    assert select(session.connection, ROWS) == [
        ("x", 1, 2, "pending", False),
        ("x", 2, 2, "pending", False),
        ("y", 1, 2, "pending", False),
    ]


def test_a_row_that_is_sent_no_more_is_superseded_and_may_come_back(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")], ["x", "x", "y"], landing_version="first"))
    session.commit(later(stager.request(LINES, 0, [line(0, "a")], ["x", "z"]), 1))
    assert [row[:4] for row in select(session.connection, ROWS)] == [
        ("x", 1, 2, "pending"),
        ("x", 2, 1, "superseded"),
        ("y", 1, 1, "superseded"),
        ("z", 1, 1, "pending"),
    ]
    session.commit(later(stager.request(LINES, 0, [line(0, "a")], landing_version="later"), 2))
    assert {row[3] for row in select(session.connection, ROWS)} == {"superseded"}
    session.commit(later(stager.request(LINES, 0, [line(0, "a")], ["y"]), 3))
    assert [row[3] for row in select(session.connection, ROWS)] == [
        "superseded",
        "superseded",
        "pending",
        "superseded",
    ]


def test_a_row_of_the_same_answers_that_is_good_now_was_replayed(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")], ["x", "y"]))
    # The first row is still bad, and kept with another payload.
    session.commit(later(stager.request(LINES, 0, [line(0, "a")], ["masked x"]), 1))
    assert [(row[0], row[3]) for row in select(session.connection, ROWS)] == [
        ("masked x", "pending"),
        ("x", "superseded"),
        ("y", "replayed"),
    ]
    moves = (
        "SELECT from_state, to_state, action, moved_by, reason, run_id FROM etl.quarantine_moves ORDER BY ALL"
    )
    assert select(session.connection, moves) == [
        ("pending", "replayed", "load", "load", "it keeps the contract now", "run-1"),
        ("pending", "superseded", "load", "load", "the same row is kept with another payload now", "run-1"),
    ]


def test_other_partitions_are_left_alone(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")], ["x"]))
    session.commit(stager.request(LINES, 1, [line(1, "a")], ["x"]))
    session.commit(later(stager.request(LINES, 1, [line(1, "a")]), 1))
    assert select(session.connection, ROWS) == [("x", 1, 1, "pending", True)]


def test_a_withheld_partition_records_its_bad_rows_alone(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")], ["x"]))
    before = select(session.connection, "SELECT * FROM shop.order_lines")
    withheld = stager.request(
        LINES, 0, [line(0, "b")], ["y", "z"], verdict=Status.WITHHELD, message="67 % of the rows are bad"
    )
    result = session.commit(later(withheld, 1))
    assert (result.status, result.message) == (Status.WITHHELD, "67 % of the rows are bad")
    assert result.counts == Counts(extracted=3, staged=1, quarantined=2)
    assert (result.load_id, result.touched_dates) == (None, ())
    assert select(session.connection, "SELECT * FROM shop.order_lines") == before
    assert [row[:4] for row in select(session.connection, ROWS)] == [
        ("x", 1, 1, "pending"),
        ("y", 1, 1, "pending"),
        ("z", 1, 1, "pending"),
    ]
    assert len(select(session.connection, "SELECT * FROM etl.loads")) == 1
    partitions = (
        "SELECT status, message, failure_class, failure_stage, extracted, quarantined FROM etl.partitions"
    )
    assert select(session.connection, partitions) == [
        ("withheld", "67 % of the rows are bad", "withheld", "commit", 3, 2)
    ]


def test_a_file_with_fewer_bad_rows_than_counted_is_refused(session: Session, stager: Stager) -> None:
    request = stager.request(LINES, 0, [line(0, "a")], ["x"])
    wrong = replace(request, counts=Counts(extracted=3, staged=1, quarantined=2))
    with pytest.raises(WarehouseError, match="2 rows were quarantined, but the staged file holds 1"):
        session.commit(wrong)
    assert select(session.connection, ROWS) == []
