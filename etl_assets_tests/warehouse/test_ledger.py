"""Load log, watermark, touched dates, last outcomes, and that a commit is whole or nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from etl_assets.failures import FailureClass, WarehouseError
from etl_assets.outcomes import Counts, FailureRecord, PartitionOutcome, Status
from etl_assets.streams.base import Contract, Decimal3, Field, Stream, Timestamp
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets.warehouse.status import StreamStatus, partition_status, stream_status
from etl_assets_tests.warehouse.samples import (
    LINES,
    LOADED_AT,
    ORDERS,
    Stager,
    at,
    day,
    everything,
    line,
    order,
    select,
)

STAGES = ("commit", "stage", "extract")


def failed(number: int, failure_class: FailureClass, stage: str = "extract") -> PartitionOutcome:
    """Make the outcome of a day that failed."""
    return PartitionOutcome(
        stream=LINES.id,
        partition=day(number),
        status=Status.FAILED,
        counts=Counts(extracted=7),
        failure=FailureRecord(stage, failure_class, "SourceError", "no answer"),
    )


def test_the_load_log_has_all_of_a_load(session: Session, stager: Stager) -> None:
    request = stager.request(LINES, 0, [line(0, "a")], ["x"], warnings={"b": 2, "a": 1})
    request = replace(
        request, counts=replace(request.counts, warned=3), verdict=Status.PUBLISHED_WITH_WARNINGS
    )
    assert session.commit(request).status is Status.PUBLISHED_WITH_WARNINGS
    cursor = session.connection.execute("SELECT * FROM etl.loads")
    row = cursor.fetchone()
    assert row is not None
    assert dict(zip([name[0] for name in cursor.description or ()], row, strict=True)) == {
        "load_id": 1,
        "source": "shop",
        "stream": "order_lines",
        "partition": day(0),
        "run_id": "run-1",
        "verdict": "published_with_warnings",
        "extracted": 2,
        "staged": 1,
        "loaded": 1,
        "updated": 0,
        "unchanged": 0,
        "deduplicated": 0,
        "removed": 0,
        "quarantined": 1,
        "warned": 3,
        "failed_items": 0,
        "warnings": '{"a": 1, "b": 2}',
        "violations": '{"rule_a": 1}',
        "content_hash": request.content_hash,
        "landing_version": "landed-0",
        "watermark": at(1),
        "contract_version": "c1",
        "code_version": "v1",
        "seconds": '{"extract": 0.5, "stage": 0.25}',
        "seconds_total": 0.75,
        "loaded_at": LOADED_AT.replace(tzinfo=None),
        "decisions": "",
        "restores": None,
        "restates": False,
    }


def test_load_ids_go_on_across_sessions(warehouse: Warehouse, stager: Stager) -> None:
    numbers = []
    for number in range(3):
        with warehouse.session("test") as session:
            for stream, rows in ((LINES, [line(number, "a")]), (ORDERS, [order("a", at(number, 1))])):
                numbers.append(session.commit(stager.request(stream, number, rows)).load_id)
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_the_watermark_only_moves_forward(session: Session, stager: Stager) -> None:
    for number, expected in ((3, at(4)), (1, at(4)), (5, at(6))):
        session.commit(stager.request(LINES, number, [line(number, "a")]))
        assert select(session.connection, "SELECT watermark FROM etl.watermarks") == [(expected,)]


def test_a_withheld_day_does_not_move_the_watermark(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")], verdict=Status.WITHHELD, message="no"))
    assert select(session.connection, "SELECT * FROM etl.watermarks") == []


def test_touched_dates_are_recorded_with_their_load(session: Session, stager: Stager) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 1), day(-2)), order("b", at(0, 1), day(-1))]))
    session.commit(stager.request(ORDERS, 1, [order("a", at(1, 1), day(-2), status="done")]))
    found = select(session.connection, "SELECT * FROM etl.touched_dates ORDER BY load_id, business_date")
    assert found == [
        (1, "shop", "orders", day(-2)),
        (1, "shop", "orders", day(-1)),
        (2, "shop", "orders", day(-2)),
    ]


@pytest.mark.parametrize("damaged", ["rows", "quarantine"])
@pytest.mark.parametrize("first", [True, False], ids=["new table", "old table"])
def test_a_damaged_file_leaves_everything_as_it_was(
    session: Session, stager: Stager, damaged: str, *, first: bool
) -> None:
    if not first:
        session.commit(stager.request(LINES, 0, [line(0, "a")], ["x"]))
    before = everything(session.connection)
    request = stager.request(LINES, 0, [line(0, "b"), line(0, "c")], ["y"])
    path: Path = getattr(request, damaged)
    path.write_bytes(path.read_bytes()[:60] + b"broken")
    with pytest.raises(WarehouseError, match="cannot commit shop/order_lines 2025-01-01") as caught:
        session.commit(request)
    assert "\n" not in str(caught.value)
    assert everything(session.connection) == before
    good = session.commit(stager.request(LINES, 0, [line(0, "b"), line(0, "c")], ["y"]))
    assert good.counts.loaded == 2
    assert good.load_id == (1 if first else 2)


@pytest.mark.parametrize("table", ["touched_dates", "partitions"])
def test_an_error_after_the_rows_takes_them_back(session: Session, stager: Stager, table: str) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    request = stager.request(LINES, 0, [line(0, "b")])
    session.connection.execute(f"ALTER TABLE etl.{table} RENAME TO elsewhere")
    with pytest.raises(WarehouseError):
        session.commit(request)
    session.connection.execute(f"ALTER TABLE etl.elsewhere RENAME TO {table}")
    assert select(session.connection, "SELECT line_id FROM shop.order_lines") == [("0-a",)]
    assert len(select(session.connection, "SELECT * FROM etl.loads")) == 1
    again = session.commit(request)
    assert (again.counts.loaded, again.load_id, again.unchanged_content) == (1, 2, False)


def test_errors_do_not_tell_values(session: Session, stager: Stager) -> None:
    class Other(Contract):
        line_id: int = Field()
        amount: Decimal3 = Field()
        invoiced_at: Timestamp = Field()

    other: Stream = replace(LINES, contract=Other, name="others")
    rows = stager.rows_file(LINES, [line(0, "secret@example.org")])
    request = replace(stager.request(LINES, 0, [line(0, "x")]), stream=other, rows=rows)
    with pytest.raises(WarehouseError, match="ConversionException") as caught:
        session.commit(request)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_failures_are_recorded_without_forgetting_the_publication(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "b")]))
    at_noon = datetime(2025, 7, 1, 12, tzinfo=UTC)
    published = PartitionOutcome(stream=LINES.id, partition=day(5), status=Status.PUBLISHED)
    outcomes = [failed(0, FailureClass.TRANSIENT), failed(1, FailureClass.PERMANENT), published]
    session.record_failures(outcomes, "run-9", at_noon)
    found = select(
        session.connection,
        "SELECT partition, status, message, failure_class, run_id, extracted, loaded_rows, published_at "
        "FROM etl.partitions ORDER BY 1",
    )
    assert found == [
        (day(0), "failed", "no answer", "transient", "run-9", 7, 2, LOADED_AT.replace(tzinfo=None)),
        (day(1), "failed", "no answer", "permanent", "run-9", 7, 0, None),
    ]
    again = session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "b")]))
    assert again.unchanged_content
    assert partition_status(session.connection, LINES.id, [day(0)])[0].status is Status.PUBLISHED


def test_what_a_run_settled_can_be_read_back(session: Session, stager: Stager) -> None:
    good = session.commit(stager.request(LINES, 0, [line(0, "a")], ["x"]))
    session.commit(stager.request(LINES, 1, [line(1, "a")], run_id="run-0"))
    session.commit(stager.request(LINES, 2, [], ["x"], verdict=Status.WITHHELD, message="too many bad rows"))
    failures = [failed(3, FailureClass.TRANSIENT), failed(4, FailureClass.PERMANENT, stage="stage")]
    session.record_failures(failures, "run-1", LOADED_AT)
    days = [day(number) for number in range(6)]
    published, withheld, broken = session.settled_in_run(LINES, "run-1", days, STAGES)
    assert (published.partition, published.status, published.counts) == (
        day(0),
        Status.PUBLISHED,
        good.counts,
    )
    assert published.completed == ("extract", "stage", "commit")
    assert (published.violations, published.landing_version) == ({"rule_a": 1}, "landed-0")
    assert (withheld.status, withheld.message) == (Status.WITHHELD, "too many bad rows")
    assert withheld.failure is not None
    assert withheld.failure.failure_class is FailureClass.WITHHELD
    assert withheld.completed == ("extract", "stage")
    assert (broken.partition, broken.completed) == (day(4), ("extract",))
    assert broken.failure == FailureRecord("stage", FailureClass.PERMANENT, "SourceError", "no answer")
    assert session.settled_in_run(LINES, "run-1", days[:1], ("extract",))[0].completed == ("extract",)
    assert session.settled_in_run(ORDERS, "run-1", days, STAGES) == []


def test_status_counts_days_by_their_last_outcome(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "b")]))
    session.commit(stager.request(LINES, 1, [line(1, "a")], verdict=Status.PUBLISHED_WITH_WARNINGS))
    session.commit(stager.request(LINES, 2, [], verdict=Status.WITHHELD, message="no"))
    session.record_failures(
        [failed(3, FailureClass.TRANSIENT), failed(0, FailureClass.TRANSIENT)], "r", LOADED_AT
    )
    session.commit(stager.request(LINES, 8, [line(8, "a")]))
    lines, orders = stream_status(
        session.connection, [LINES.id, ORDERS.id], [day(number) for number in range(6)]
    )
    assert lines == StreamStatus(LINES.id, 0, 1, 1, 2, 2, at(9), 4, LOADED_AT.replace(tzinfo=None))
    assert orders == StreamStatus(ORDERS.id, 0, 0, 0, 0, 6, None, 0, None)


def test_status_without_a_warehouse_is_all_missing() -> None:
    days = [date(2025, 1, 1), date(2025, 1, 2)]
    assert stream_status(None, [LINES.id], days) == [StreamStatus(LINES.id, 0, 0, 0, 0, 2, None, 0, None)]
    assert partition_status(None, LINES.id, days) == []


def test_only_verdicts_can_be_committed(stager: Stager) -> None:
    with pytest.raises(ValueError, match="failed is not a verdict"):
        stager.request(LINES, 0, [], verdict=Status.FAILED)
