"""`replace_partition` through the commit: what a day holds after any number of loads."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from etl_assets.failures import WarehouseError
from etl_assets.outcomes import Counts, Status
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import LINES, Stager, at, day, everything, line, select

VISIBLE = "SELECT line_id, amount, _partition, _run_id FROM shop.order_lines ORDER BY ALL"


def test_first_load_makes_the_table_and_writes_all_rows(session: Session, stager: Stager) -> None:
    result = session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "b", "2.000")]))
    assert result.status is Status.PUBLISHED
    assert result.counts == Counts(extracted=2, staged=2, loaded=2)
    assert result.touched_dates == (day(0),)
    assert result.load_id == 1
    assert not result.unchanged_content
    rows = select(session.connection, "SELECT line_id, amount, invoiced_at FROM shop.order_lines ORDER BY 1")
    assert [(row[0], str(row[1]), row[2]) for row in rows] == [
        ("0-a", "1.500", at(0, 9)),
        ("0-b", "2.000", at(0, 9)),
    ]


def test_table_has_the_contracts_types_and_descriptions(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, []))
    columns = select(
        session.connection,
        "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = 'order_lines'",
    )
    assert [(name, kind) for name, kind, _ in columns] == [
        ("line_id", "VARCHAR"),
        ("invoice_no", "VARCHAR"),
        ("quantity", "BIGINT"),
        ("amount", "DECIMAL(18,3)"),
        ("invoiced_at", "TIMESTAMP"),
        ("customer_id", "VARCHAR"),
        ("is_cancellation", "BOOLEAN"),
        ("_partition", "DATE"),
        ("_run_id", "VARCHAR"),
        ("_loaded_at", "TIMESTAMP"),
    ]
    assert columns[0][2] == "The line's own name"


def test_a_load_replaces_its_own_day_alone(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "b")]))
    session.commit(stager.request(LINES, 1, [line(1, "a")]))
    result = session.commit(stager.request(LINES, 0, [line(0, "c")], run_id="run-2"))
    assert result.counts.loaded == 1
    assert [(row[0], row[3]) for row in select(session.connection, VISIBLE)] == [
        ("0-c", "run-2"),
        ("1-a", "run-1"),
    ]


def test_same_content_again_touches_nothing_but_is_logged(session: Session, stager: Stager) -> None:
    rows = [line(0, "a"), line(0, "b")]
    session.commit(stager.request(LINES, 0, rows))
    before = select(session.connection, "SELECT * FROM shop.order_lines ORDER BY 1")
    again = session.commit(stager.request(LINES, 0, rows, run_id="run-2"))
    assert again.unchanged_content
    assert again.counts == Counts(extracted=2, staged=2, unchanged=2)
    assert again.touched_dates == ()
    assert select(session.connection, "SELECT * FROM shop.order_lines ORDER BY 1") == before
    log = select(session.connection, "SELECT load_id, run_id, loaded, unchanged FROM etl.loads ORDER BY 1")
    assert log == [(1, "run-1", 2, 0), (2, "run-2", 0, 2)]
    assert select(session.connection, "SELECT load_id FROM etl.touched_dates") == [(1,)]


@pytest.mark.parametrize("change", [{"content_hash": "other"}, {"contract_version": "c2"}])
def test_equal_rows_under_another_hash_are_left_alone(
    session: Session, stager: Stager, change: dict[str, str]
) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "b")]))
    rows = [line(0, "b"), line(0, "a")]
    again = session.commit(stager.request(LINES, 0, rows, run_id="run-2", **change))
    assert not again.unchanged_content
    assert again.counts == Counts(extracted=2, staged=2, unchanged=2)
    assert again.touched_dates == ()
    assert {row[3] for row in select(session.connection, VISIBLE)} == {"run-1"}


def test_rows_removed_by_hand_come_back(session: Session, stager: Stager) -> None:
    request = stager.request(LINES, 0, [line(0, "a"), line(0, "b")])
    session.commit(request)
    session.connection.execute("DELETE FROM shop.order_lines WHERE line_id = '0-a'")
    assert session.commit(request).counts.loaded == 2
    assert len(select(session.connection, VISIBLE)) == 2


def test_a_row_more_often_than_before_is_a_change(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "a"), line(0, "b")]))
    result = session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "b"), line(0, "b")]))
    assert result.counts.loaded == 3
    assert [row[0] for row in select(session.connection, VISIBLE)] == ["0-a", "0-b", "0-b"]


def test_touched_dates_are_those_whose_rows_differ(session: Session, stager: Stager) -> None:
    late = line(0, "b", invoiced_at=at(3, 1))
    session.commit(stager.request(LINES, 0, [line(0, "a"), late, line(0, "c")]))
    later = line(0, "d", invoiced_at=at(5))
    result = session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "c"), later]))
    assert result.touched_dates == (day(3), day(5))


def test_an_empty_answer_does_not_wipe_a_day(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a"), line(0, "b")]))
    before = everything(session.connection)
    result = session.commit(stager.request(LINES, 0, []))
    assert result.status is Status.WITHHELD
    assert result.message == (
        "source returned no rows for a day that holds 2 rows; run again with --confirm-empty to accept"
    )
    assert result.load_id is None
    after = everything(session.connection)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"etl.partitions", "etl.check_results"}
    assert select(
        session.connection, "SELECT status, loaded_rows, published_at IS NOT NULL FROM etl.partitions"
    ) == [("withheld", 2, True)]


def test_a_day_of_only_bad_rows_does_not_wipe_a_day(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    result = session.commit(stager.request(LINES, 0, [], ["{}", "{}"]))
    assert result.status is Status.WITHHELD
    assert result.message.startswith("none of the source's 2 rows is good for a day that holds 1 row;")


def test_a_confirmed_empty_answer_empties_the_day(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    result = session.commit(stager.request(LINES, 0, [], confirm_empty=True))
    assert result.status is Status.PUBLISHED
    assert result.touched_dates == (day(0),)
    assert select(session.connection, VISIBLE) == []
    again = session.commit(stager.request(LINES, 0, []))
    assert again.status is Status.PUBLISHED


def test_a_day_that_was_always_empty_is_published(session: Session, stager: Stager) -> None:
    result = session.commit(replace(stager.request(LINES, 0, []), rows=None))
    assert result.status is Status.PUBLISHED
    assert result.counts == Counts()
    assert result.touched_dates == ()
    assert select(session.connection, "SELECT status, loaded_rows FROM etl.partitions") == [("published", 0)]


def test_more_rows_than_fit_into_one_row_group(warehouse: Warehouse, stager: Stager) -> None:
    rows = [line(0, f"n{number}") for number in range(3000)]
    with warehouse.session("test") as session:
        assert session.commit(stager.request(LINES, 0, rows)).counts.loaded == 3000
    changed = [*rows[:-1], line(0, "n2999", "9.000")]
    with warehouse.session("test") as session:
        assert session.commit(stager.request(LINES, 0, changed)).counts.loaded == 3000
        assert select(
            session.connection, "SELECT count(*), sum(amount) FROM shop.order_lines WHERE amount = 9"
        ) == [(1, 9)]


def test_counts_that_the_file_does_not_bear_out_are_refused(session: Session, stager: Stager) -> None:
    request = stager.request(LINES, 0, [line(0, "a")])
    wrong = replace(request, counts=Counts(extracted=2, staged=2))
    with pytest.raises(WarehouseError, match="2 rows were staged, but the staged file holds 1"):
        session.commit(wrong)
    lost = replace(request, counts=Counts(extracted=3, staged=1))
    with pytest.raises(WarehouseError, match="3 rows extracted, but 1 staged and 0 quarantined"):
        session.commit(lost)
    assert select(session.connection, "SELECT * FROM etl.loads") == []


def test_a_date_far_off_is_a_date(session: Session, stager: Stager) -> None:
    old = date(1899, 12, 31)
    rows = [line(0, "a", invoiced_at=at(0) + (old - day(0)) + timedelta(hours=23))]
    assert session.commit(stager.request(LINES, 0, rows)).touched_dates == (old,)
