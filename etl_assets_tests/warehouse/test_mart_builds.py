"""Marts: rebuilt for exactly the dates that loads touched, and equal to a full rebuild after any history."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from etl_assets.failures import WarehouseError
from etl_assets.marts.catalogue import Mart, discover_marts
from etl_assets.outcomes import Status
from etl_assets.warehouse.marts import rows_of, stretches, touched
from etl_assets.warehouse.session import Session
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

DAILY_SALES = next(mart for mart in discover_marts() if mart.name == "daily_sales")
ORDER_VALUE = Mart(
    name="order_value",
    owner="team:sales",
    business_date="day",
    reads=("shop/orders", "shop/order_lines"),
    description="Orders by the day they were made.",
    sql=(
        "SELECT created_on AS day, count(*) AS orders, sum(total) AS total FROM shop.orders "
        "WHERE created_on IN (SELECT business_date FROM touched_dates) GROUP BY 1"
    ),
)


def rebuild(session: Session, mart: Mart = DAILY_SALES, *, full: bool = False) -> tuple[Any, ...]:
    """Rebuild a mart; give dates, rows and whether it was built whole."""
    result = session.rebuild_mart(mart, "run-1", LOADED_AT, full=full)
    return result.dates, result.rows, result.full


def test_daily_sales_has_the_figures_of_each_day(session: Session, stager: Stager) -> None:
    rows = [
        line(0, "a1", "10.000", customer_id="c1"),
        line(0, "a2", "5.500", customer_id="c1", quantity=3),
        line(0, "b1", "4.000", customer_id="c2"),
        line(0, "c1", "-2.250", quantity=-1, is_cancellation=True),
        line(0, "d1", "0.000"),
    ]
    session.commit(stager.request(LINES, 0, rows))
    only_cancelled = line(1, "c1", "-1.000", quantity=-1, is_cancellation=True)
    session.commit(stager.request(LINES, 1, [only_cancelled]))
    assert rebuild(session) == ((day(0), day(1)), 2, True)
    cursor = session.connection.execute("SELECT * FROM marts.daily_sales ORDER BY day")
    names = [column[0] for column in cursor.description or ()]
    first, second = (dict(zip(names, row, strict=True)) for row in cursor.fetchall())
    assert first == {
        "day": day(0),
        "orders": 3,
        "lines": 5,
        "units": 8,
        "gross_revenue": Decimal("19.500"),
        "refunds": Decimal("2.250"),
        "net_revenue": Decimal("17.250"),
        "customers": 2,
        "average_order_value": Decimal("6.500"),
    }
    assert (second["orders"], second["average_order_value"]) == (0, None)
    assert (second["gross_revenue"], second["refunds"]) == (Decimal("0.000"), Decimal("1.000"))
    types = dict(
        select(
            session.connection,
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE schema_name = 'marts' AND table_name = 'daily_sales'",
        )
    )
    assert types["day"] == "DATE"
    assert {types[name] for name in ("orders", "lines", "units", "customers")} == {"BIGINT"}
    assert types["average_order_value"] == types["refunds"] == types["gross_revenue"] == "DECIMAL(18,3)"


def test_only_touched_dates_are_rebuilt(session: Session, stager: Stager) -> None:
    for number in range(3):
        session.commit(stager.request(LINES, number, [line(number, "a")]))
    rebuild(session)
    session.connection.execute("UPDATE marts.daily_sales SET lines = 99")
    session.commit(stager.request(LINES, 1, [line(1, "a"), line(1, "b")]))
    assert rebuild(session) == ((day(1),), 1, False)
    assert select(session.connection, "SELECT lines FROM marts.daily_sales ORDER BY day") == [
        (99,),
        (2,),
        (99,),
    ]


def test_nothing_pending_changes_nothing(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    rebuild(session)
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    before = everything(session.connection)
    result = session.rebuild_mart(DAILY_SALES, "run-2", LOADED_AT)
    assert (result.dates, result.rows, result.table_rows, result.built) == ((), 0, 1, False)
    assert result.message == "nothing pending"
    assert everything(session.connection) == before


def test_before_any_load_there_is_nothing_to_do(session: Session, stager: Stager) -> None:
    assert session.rebuild_mart(DAILY_SALES, "run-1", LOADED_AT).table_rows == 0
    session.commit(stager.request(LINES, 0, [line(0, "a")], verdict=Status.WITHHELD, message="no"))
    assert rebuild(session) == ((), 0, False)
    assert session.pending_marts([DAILY_SALES]) == ()


def test_a_day_that_became_empty_leaves_the_mart(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    rebuild(session)
    session.commit(stager.request(LINES, 0, [], confirm_empty=True))
    assert rebuild(session) == ((day(0),), 0, False)
    assert select(session.connection, "SELECT * FROM marts.daily_sales") == []


def test_pending_marts_are_those_that_a_rebuild_would_change(session: Session, stager: Stager) -> None:
    marts = (DAILY_SALES, ORDER_VALUE)
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 1))]))
    assert session.pending_marts(marts) == marts
    for mart in marts:
        rebuild(session, mart)
    assert session.pending_marts(marts) == ()
    session.commit(stager.request(ORDERS, 1, [order("b", at(1, 1))]))
    assert session.pending_marts(marts) == (ORDER_VALUE,)
    changed = replace(DAILY_SALES, sql=DAILY_SALES.sql + "\n-- a new thought")
    assert session.pending_marts([changed]) == (changed,)


@pytest.mark.parametrize("reason", ["sql", "asked", "dropped"])
def test_a_full_rebuild_covers_every_date(session: Session, stager: Stager, reason: str) -> None:
    for number in range(3):
        session.commit(stager.request(LINES, number, [line(number, "a")]))
    rebuild(session)
    mart = DAILY_SALES
    if reason == "sql":
        mart = replace(mart, sql=mart.sql.replace("count(*) AS lines", "count(*) AS lines, 1 AS one"))
    if reason == "dropped":
        session.connection.execute("DROP TABLE marts.daily_sales")
    assert rebuild(session, mart, full=reason == "asked") == ((day(0), day(1), day(2)), 3, True)


def test_a_mart_of_a_stream_never_loaded_says_so(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    with pytest.raises(WarehouseError, match=r"reads shop/orders, which has never been loaded"):
        rebuild(session, ORDER_VALUE)


def test_a_failing_query_leaves_the_mart_as_it_was(session: Session, stager: Stager) -> None:
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    rebuild(session)
    before = everything(session.connection)
    with pytest.raises(WarehouseError, match="cannot rebuild mart daily_sales"):
        rebuild(session, replace(DAILY_SALES, sql=DAILY_SALES.sql.replace("quantity", "no_such_column")))
    with pytest.raises(WarehouseError, match="cannot rebuild mart daily_sales"):
        rebuild(session, replace(DAILY_SALES, business_date="no_such_column", sql=DAILY_SALES.sql + " "))
    assert everything(session.connection) == before


def test_a_query_that_forgets_the_dates_does_not_double_days(session: Session, stager: Stager) -> None:
    careless = replace(
        ORDER_VALUE,
        reads=("shop/orders",),
        sql=ORDER_VALUE.sql.replace("WHERE created_on IN", "WHERE true OR created_on IN"),
    )
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 1), day(0))]))
    rebuild(session, careless)
    session.commit(stager.request(ORDERS, 1, [order("b", at(1, 1), day(1))]))
    rebuild(session, careless)
    found = select(session.connection, "SELECT day, orders FROM marts.order_value ORDER BY day")
    assert found == [(day(0), 1), (day(1), 1)]


def test_a_mart_cannot_change_the_databases_settings(session: Session) -> None:
    with pytest.raises(Exception, match="locked"):
        session.connection.execute("SET memory_limit = '50GB'")


def test_old_dates_among_new_ones_give_what_a_full_rebuild_gives(session: Session, stager: Stager) -> None:
    numbers = (-4_000, -3_999, -400, 0, 1, 30)
    for number in numbers:
        session.commit(stager.request(LINES, number, [line(number, "a"), line(number, "b", "2.500")]))
    assert rebuild(session)[1:] == (6, True)
    for number in (numbers[0], numbers[2], numbers[-1]):
        session.commit(stager.request(LINES, number, [line(number, "a"), line(number, "c", "7.500")]))
    assert rebuild(session) == ((day(numbers[0]), day(numbers[2]), day(30)), 3, False)
    found = select(session.connection, "SELECT * FROM marts.daily_sales ORDER BY day")
    rebuild(session, full=True)
    assert select(session.connection, "SELECT * FROM marts.daily_sales ORDER BY day") == found


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], []),
        ([5], [[5]]),
        ([0, 1, 8, 9], [[0, 1, 8, 9]]),
        ([0, 1, 9, 10], [[0, 1], [9, 10]]),
        ([0, 400, 401, 4_000], [[0], [400, 401], [4_000]]),
    ],
)
def test_dates_are_cut_where_nothing_is_between_them(numbers: list[int], expected: list[list[int]]) -> None:
    cut = stretches([day(number) for number in numbers])
    assert cut == [[day(number) for number in stretch] for stretch in expected]


def test_many_dates_are_cut_at_their_widest_gaps_alone() -> None:
    dates = [day(number * 10 + (number // 10) * 1_000) for number in range(300)]
    cut = stretches(dates)
    assert [date for stretch in cut for date in stretch] == dates
    assert len(cut) == 20
    assert all(len(stretch) % 10 == 0 for stretch in cut)


def test_a_large_table_is_read_near_the_touched_dates_alone(session: Session, stager: Stager) -> None:
    """Seen in DuckDB's own account of the rows that it looked at; with a mart of the mart's SQL and its wrapping."""
    session.commit(stager.request(LINES, 0, [line(0, "a")]))
    connection = session.connection
    connection.execute(
        "INSERT INTO shop.order_lines BY NAME SELECT rows.* REPLACE (rows.invoiced_at - to_minutes(i) AS invoiced_at) "
        "FROM shop.order_lines AS rows, range(1, 400000) AS r(i)"
    )
    with touched(connection, [day(-3), day(-2)]):
        found = connection.execute(f"EXPLAIN (ANALYZE, FORMAT json) {rows_of(DAILY_SALES)}").fetchall()[0][1]
    assert 0 < _scanned(json.loads(found), "order_lines") < 250_000


def _scanned(operator: dict[str, Any], table: str) -> int:
    """Add up the rows of a table that the operators of a plan looked at."""
    own = (
        operator["operator_rows_scanned"] if table in str(operator.get("extra_info", {}).get("Table")) else 0
    )
    return int(own) + sum(_scanned(child, table) for child in operator.get("children", []))
