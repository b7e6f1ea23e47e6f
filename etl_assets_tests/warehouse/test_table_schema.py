"""Tables made from contracts: types, new columns, columns that went away, incompatible types."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from etl_assets.failures import ConfigurationError, WarehouseError
from etl_assets.streams.base import Contract, Date, Decimal2, Field, Stream, Timestamp
from etl_assets.warehouse.database import Session, Warehouse
from etl_assets.warehouse.identifiers import qualified, quoted, text_literal
from etl_assets.warehouse.schema import layout_of
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
    """A later version whose total is a whole number."""

    total: int = Field()


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
    request = stager.request(version(OrdersWithOtherType), 1, [order("b", at(1, 1), total=3)])
    with (
        warehouse.session("new contract") as session,
        pytest.raises(
            WarehouseError, match=r"table shop\.orders: column total is DOUBLE, the contract says BIGINT"
        ),
    ):
        session.commit(request)


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
