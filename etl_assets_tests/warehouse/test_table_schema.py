"""Tables made from contracts: types, new columns, columns that went away, incompatible types."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Literal

import pytest

from etl_assets.failures import ConfigurationError, WarehouseError
from etl_assets.streams.base import Contract, Date, Decimal2, Field, Merge, Stream, Timestamp
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.identifiers import qualified, quoted, text_literal
from etl_assets.warehouse.schema import layout_of
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.feeds import Customers, customer, customers
from etl_assets_tests.warehouse.samples import ORDERS, Orders, Stager, at, day, order, select


class OrdersWithMore(Orders):
    """A later version of the contract, with one column more."""

    paid: Decimal2 = Field(missing="allow", description="What's been paid")


class OrdersWithLess(Contract):
    """A later version without `status` and `total`."""

    order_id: str = Field()
    created_on: Date = Field()
    updated_at: Timestamp = Field()


class OrdersWithOtherType(Orders):
    """A later version whose total is a yes or no."""

    total: bool = Field()


class OrdersWithWholeTotal(Orders):
    """A later version whose total is a whole number."""

    total: int = Field()


class OrdersWithTextTotal(Orders):
    """A later version whose total is text."""

    total: str = Field()  # type: ignore[assignment]


class OrdersWithExactTotal(Orders):
    """A later version whose total has two places."""

    total: Decimal2 = Field()  # type: ignore[assignment]


def version(contract: type[Contract]) -> Stream:
    """Give the stream with another contract."""
    return replace(ORDERS, contract=contract)


def test_every_contract_type_has_a_column_type() -> None:
    class Everything(Orders):
        number: int = Field()
        share: float = Field()
        flag: bool = Field()
        price: Decimal2 = Field()

    types = {column.name: column.sql_type for column in layout_of(version(Everything)).columns}
    assert types == {
        "order_id": "VARCHAR",
        "status": "VARCHAR",
        "total": "DOUBLE",
        "created_on": "DATE",
        "updated_at": "TIMESTAMP",
        "number": "BIGINT",
        "share": "DOUBLE",
        "flag": "BOOLEAN",
        "price": "DECIMAL(18,2)",
    }


def test_a_new_column_is_added_and_filled_by_a_replay(warehouse: Warehouse, stager: Stager) -> None:
    rows = [order("a", at(0, 1)), order("b", at(0, 1))]
    with warehouse.session("old contract") as session:
        session.commit(stager.request(ORDERS, 0, rows))
    newer = version(OrdersWithMore)
    with warehouse.session("new contract") as session:
        session.commit(stager.request(newer, 1, [order("c", at(1, 1), paid=Decimal("2.50"))]))
        found = "SELECT order_id, paid FROM shop.orders ORDER BY 1"
        assert select(session.connection, found) == [("a", None), ("b", None), ("c", Decimal("2.50"))]
        replayed = [order("a", at(0, 1), paid=Decimal("1.00")), order("b", at(0, 1), paid=None)]
        result = session.commit(stager.request(newer, 0, replayed, contract_version="c2"))
        assert (result.counts.updated, result.counts.unchanged) == (1, 1)
        assert select(session.connection, found)[0] == ("a", Decimal("1.00"))
        comment = "SELECT comment FROM duckdb_columns() WHERE column_name = 'paid' AND schema_name = 'shop'"
        assert select(session.connection, comment) == [("What's been paid",)]


def test_a_column_that_went_away_stays_and_is_null_for_new_rows(warehouse: Warehouse, stager: Stager) -> None:
    with warehouse.session("old contract") as session:
        session.commit(stager.request(ORDERS, 0, [order("a", at(0, 1)), order("b", at(0, 1))]))
    fewer = version(OrdersWithLess)
    row = {"order_id": "c", "created_on": day(0), "updated_at": at(1, 1)}
    with warehouse.session("new contract") as session:
        session.commit(stager.request(fewer, 1, [row, {**row, "order_id": "b"}]))
        found = select(session.connection, "SELECT order_id, status FROM shop.orders ORDER BY 1")
        assert found == [("a", "pending"), ("b", None), ("c", None)]


def test_an_incompatible_type_is_told_in_one_line(warehouse: Warehouse, stager: Stager) -> None:
    with warehouse.session("old contract") as session:
        session.commit(stager.request(ORDERS, 0, [order("a", at(0, 1))]))
    request = stager.request(version(OrdersWithOtherType), 1, [order("b", at(1, 1), total=True)])
    with (
        warehouse.session("new contract") as session,
        pytest.raises(
            WarehouseError, match=r"table shop\.orders: column total is DOUBLE, the contract says BOOLEAN"
        ),
    ):
        session.commit(request)


TOTALS = "SELECT order_id, total, typeof(total) FROM shop.orders ORDER BY 1"
RECORDED = "SELECT partition, change, column_name, before, after FROM etl.schema_changes"


@pytest.mark.parametrize(
    ("first", "then", "rows", "recorded"),
    [
        (
            Orders,
            OrdersWithTextTotal,
            [("a", "1.0", "VARCHAR"), ("b", "much", "VARCHAR")],
            ("widened", "total", "DOUBLE", "VARCHAR"),
        ),
        (
            OrdersWithWholeTotal,
            Orders,
            [("a", 1.0, "DOUBLE"), ("b", 0.5, "DOUBLE")],
            ("widened", "total", "BIGINT", "DOUBLE"),
        ),
        (
            OrdersWithWholeTotal,
            OrdersWithExactTotal,
            [("a", Decimal("1.00"), "DECIMAL(18,2)"), ("b", Decimal("0.50"), "DECIMAL(18,2)")],
            ("widened", "total", "BIGINT", "DECIMAL(18,2)"),
        ),
        (
            Orders,
            OrdersWithWholeTotal,
            [("a", 1.0, "DOUBLE"), ("b", 3.0, "DOUBLE")],
            ("narrowed", "total", "DOUBLE", "BIGINT"),
        ),
        (
            OrdersWithTextTotal,
            OrdersWithWholeTotal,
            [("a", "1", "VARCHAR"), ("b", "3", "VARCHAR")],
            ("narrowed", "total", "VARCHAR", "BIGINT"),
        ),
    ],
    ids=["double-to-text", "whole-to-double", "whole-to-decimal", "double-to-whole", "text-to-whole"],
)
def test_a_changed_type_widens_the_column_or_leaves_it_wide(
    warehouse: Warehouse,
    stager: Stager,
    first: type[Contract],
    then: type[Contract],
    rows: list[tuple[str, object, str]],
    recorded: tuple[str, ...],
) -> None:
    total = {OrdersWithTextTotal: "1", OrdersWithWholeTotal: 1}.get(first, 1.0)
    with warehouse.session("old contract") as session:
        session.commit(stager.request(version(first), 0, [order("a", at(0, 1), total=total)]))
    values = {OrdersWithTextTotal: "much", OrdersWithWholeTotal: 3, OrdersWithExactTotal: Decimal("0.50")}
    for _ in range(2):
        with warehouse.session("new contract") as session:
            new = [order("b", at(1, 1), total=values.get(then, 0.5))]
            session.commit(stager.request(version(then), 1, new, contract_version="c2"))
            assert select(session.connection, TOTALS) == rows
            assert select(session.connection, RECORDED) == [(day(1), *recorded)]


def test_a_column_whose_values_do_not_fit_is_not_widened(warehouse: Warehouse, stager: Stager) -> None:
    with warehouse.session("old contract") as session:
        large = [order("a", at(0, 1), total=2**53 + 1), order("b", at(0, 1), total=2)]
        session.commit(stager.request(version(OrdersWithWholeTotal), 0, large))
    wanted = "column total is BIGINT, the contract says DOUBLE; 1 of its values do not fit"
    with warehouse.session("new contract") as session, pytest.raises(WarehouseError, match=wanted):
        session.commit(stager.request(ORDERS, 1, [order("c", at(1, 1))]))


def test_a_column_that_rows_are_ordered_by_keeps_its_type(warehouse: Warehouse, stager: Stager) -> None:
    numbered = replace(version(OrdersWithWholeTotal), write=Merge(key="order_id", version="total"))
    with warehouse.session("old contract") as session:
        session.commit(stager.request(numbered, 0, [order("a", at(0, 1), total=9)]))
    spelled = replace(version(OrdersWithTextTotal), write=numbered.write)
    with (
        warehouse.session("new contract") as session,
        pytest.raises(WarehouseError, match="column total is BIGINT, the contract says VARCHAR"),
    ):
        session.commit(stager.request(spelled, 1, [order("a", at(1, 1), total="10")]))


def test_a_column_of_the_contract_that_is_added_is_recorded(warehouse: Warehouse, stager: Stager) -> None:
    with warehouse.session("old contract") as session:
        session.commit(stager.request(ORDERS, 0, [order("a", at(0, 1))]))
        assert select(session.connection, RECORDED) == []
    with warehouse.session("new contract") as session:
        session.commit(stager.request(version(OrdersWithMore), 1, [order("b", at(1, 1), paid=None)]))
        assert select(session.connection, RECORDED) == [(day(1), "added", "paid", None, "DECIMAL(18,2)")]


@pytest.mark.parametrize(("removed", "history"), [("mark", False), ("delete", False), ("delete", True)])
def test_a_widened_column_makes_no_new_versions(
    warehouse: Warehouse, stager: Stager, removed: Literal["mark", "delete"], history: bool
) -> None:
    class Exact(Customers):
        points: Decimal2 = Field()  # type: ignore[assignment]

    stream = customers(removed, history=history)
    with warehouse.session("old contract") as session:
        session.commit(stager.request(stream, 0, [customer("a", 5), customer("b", 7)]))
    rows = [customer("a"), customer("b")]
    for row, points in zip(rows, ("5.00", "7.50"), strict=True):
        row["points"] = Decimal(points)
    with warehouse.session("new contract") as session:
        result = session.commit(
            stager.request(replace(stream, contract=Exact), 1, rows, contract_version="c2")
        )
        assert (result.counts.loaded, result.counts.unchanged) == (1, 1)
        found = select(
            session.connection, "SELECT customer_id, points, _partition FROM shop.customers ORDER BY 1"
        )
        assert found == [("a", Decimal("5.00"), day(0)), ("b", Decimal("7.50"), day(1))]


def test_a_rolled_back_table_is_made_again(session: Session, stager: Stager) -> None:
    request = stager.request(ORDERS, 0, [order("a", at(0, 1))])
    broken = replace(request, counts=replace(request.counts, staged=5, extracted=5))
    with pytest.raises(WarehouseError):
        session.commit(broken)
    assert (
        select(session.connection, "SELECT * FROM information_schema.tables WHERE table_schema = 'shop'")
        == []
    )
    assert session.commit(request).counts.loaded == 1


@pytest.mark.parametrize("name", ["", "A", "a b", 'a"b', "a;drop", "1a", "a" * 64, "ä"])
def test_other_names_than_plain_ones_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a table's or column's name"):
        quoted(name)


def test_names_and_literals_are_quoted() -> None:
    assert qualified("shop", "order") == '"shop"."order"'
    assert quoted("_partition") == '"_partition"'
    assert text_literal("it's") == "'it''s'"
