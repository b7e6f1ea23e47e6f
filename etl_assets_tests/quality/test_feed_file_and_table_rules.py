"""Every rule of the streams of a change feed, a snapshot, files and a database: what breaks it, and what does not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from etl_assets.quality.rules import compile_contract
from etl_assets.streams.base import Severity, Stream
from etl_assets_tests.quality.samples import (
    CUSTOMERS,
    FX_RATES,
    PRODUCTS,
    STOCK_LEVELS,
    Record,
    change,
    customer,
    judge,
    only,
    posting,
    rate,
    without,
)

VALUES = {"stock_code": "85123A", "description": "HEART", "unit_price": "2.55"}
NO_VALUES = {"values_unless_deleted"}
NO_DATE = {"valid_from.missing", "rate_date.parse"}

Case = tuple[Stream, Record, set[str]]


def gone(field: str) -> set[str]:
    """The rule that a missing value breaks."""
    return {f"{field}.missing"}


BAD: list[Case] = [
    *((PRODUCTS, change(product_id=value), gone("product_id")) for value in (None, " ")),
    (PRODUCTS, without(change(), "product_id"), gone("product_id")),
    *((PRODUCTS, change(lsn=value), {"lsn.parse"}) for value in ("seven", 7.5, True)),
    (PRODUCTS, change(lsn=None), gone("lsn")),
    *((PRODUCTS, change(lsn=value), {"lsn.greater_than"}) for value in (0, -1)),
    (PRODUCTS, change(lsn=1), {"lsn.unique"}),
    *((PRODUCTS, change(op=value), {"op.isin"}) for value in ("X", "DELETE", 1)),
    (PRODUCTS, change(op=None), gone("op")),
    (PRODUCTS, change(ts="soon"), {"changed_at.parse"}),
    (PRODUCTS, change(ts=None), gone("changed_at")),
    (PRODUCTS, change(ts="2025-03-11T00:00:00Z"), {"changed_at.window"}),
    *((PRODUCTS, change(op=op, after=None), NO_VALUES) for op in ("I", "U")),
    (PRODUCTS, change(after={}), {"unit_price.parse"} | NO_VALUES),
    (PRODUCTS, change(after=VALUES | {"stock_code": " "}), NO_VALUES),
    *(
        (PRODUCTS, change(after=VALUES | {"unit_price": value}), {"unit_price.parse"})
        for value in (None, "", "cheap", True, [1])
    ),
    (PRODUCTS, change(after="nothing"), {"unit_price.parse"} | NO_VALUES),
    *((CUSTOMERS, customer(customer_id=value), gone("customer_id")) for value in (None, " ")),
    (CUSTOMERS, customer("1"), {"customer_id.unique"}),
    *((CUSTOMERS, customer(email=value), {"email.str_matches"}) for value in ("ada", "a b@c", "a@b@c", 7)),
    (CUSTOMERS, customer(first_seen_on=None), gone("first_seen_on")),
    (CUSTOMERS, customer(first_seen_on="long ago"), {"first_seen_on.parse"}),
    *((FX_RATES, rate(rate_date=value), NO_DATE) for value in ("10.03.2025", "2025-02-30")),
    (FX_RATES, rate(rate_date=""), {"valid_from.missing", "rate_date.missing"}),
    (FX_RATES, rate(rate_date="2025-03-09"), {"valid_from.window"}),
    *((FX_RATES, rate(value), {"quote_currency.str_matches"}) for value in ("US$", "EURO", "12")),
    *((FX_RATES, rate(value), {"quote_currency.missing", "currency_pair.missing"}) for value in (None, " ")),
    (FX_RATES, rate(base_currency=None), {"base_currency.missing", "currency_pair.missing"}),
    (FX_RATES, rate(base_currency="E"), {"base_currency.str_matches"}),
    (FX_RATES, rate("eur"), {"two_currencies"}),
    (FX_RATES, rate("GBP"), {"currency_pair.unique"}),
    (FX_RATES, rate("gbp "), {"currency_pair.unique"}),
    *((FX_RATES, rate(rate=value), {"rate.parse"}) for value in ("n/a", "1,08", "1e30")),
    (FX_RATES, rate(rate=""), gone("rate")),
    *((FX_RATES, rate(rate=value), {"rate.greater_than"}) for value in ("0", "-1.08", "0.0000001")),
    *((STOCK_LEVELS, posting(stock_code=value), gone("stock_code")) for value in (None, "")),
    (STOCK_LEVELS, posting(warehouse_code=None), gone("warehouse_code")),
    *(
        (STOCK_LEVELS, posting(warehouse_code=value), {"warehouse_code.str_matches"})
        for value in ("?", "LOND", 12)
    ),
    (STOCK_LEVELS, posting(quantity_on_hand=None), gone("quantity_on_hand")),
    *(
        (STOCK_LEVELS, posting(quantity_on_hand=value), {"quantity_on_hand.parse"})
        for value in ("12 pcs", 1.5, "x")
    ),
    (STOCK_LEVELS, posting(None), gone("stock_level_id")),
    (STOCK_LEVELS, posting("seven"), {"stock_level_id.parse"}),
    (STOCK_LEVELS, posting(0), {"stock_level_id.greater_than"}),
    (STOCK_LEVELS, posting(1), {"stock_level_id.unique"}),
    (STOCK_LEVELS, posting(updated_at="noon"), {"updated_at.parse"}),
    (STOCK_LEVELS, posting(updated_at=None), gone("updated_at")),
    (STOCK_LEVELS, posting(updated_at="2025-03-11 00:00:00"), {"updated_at.window"}),
]
"""Records, and all rules that they break, between a good one before and a good one after them."""

NEIGHBOURS: dict[str, tuple[Record, Record]] = {
    PRODUCTS.id: (change(1), change(2)),
    CUSTOMERS.id: (customer("1"), customer("2")),
    FX_RATES.id: (rate("GBP"), rate("JPY")),
    STOCK_LEVELS.id: (posting(1), posting(2)),
}


@pytest.mark.parametrize(("stream", "record", "rules"), BAD)
def test_record_is_quarantined(stream: Stream, record: Record, rules: set[str]) -> None:
    first, last = NEIGHBOURS[stream.id]
    judged = judge(stream, [first, record, last])
    assert {position: set(reasons) for position, reasons in judged.bad.items()} == {1: rules}
    assert list(judged.good) == [0, 2]


@pytest.mark.parametrize(
    "stream", [PRODUCTS, CUSTOMERS, FX_RATES, STOCK_LEVELS], ids=lambda stream: stream.id
)
def test_every_rule_of_the_contract_has_a_case(stream: Stream) -> None:
    contract = compile_contract(stream.contract)
    rules = [*contract.row_rules, *(rule for column in contract.columns for rule in column.checks)]
    wanted = {rule.name for rule in rules if rule.severity is Severity.QUARANTINE}
    wanted |= {
        f"{column.name}.missing" for column in contract.columns if column.notes.missing is Severity.QUARANTINE
    }
    covered = {rule for one, _, broken in BAD if one is stream for rule in broken}
    assert wanted - covered == set()


@pytest.mark.parametrize(
    ("stream", "record", "warning"),
    [
        (PRODUCTS, change(after=VALUES | {"unit_price": "-1.00"}), "price_not_negative"),
        (CUSTOMERS, customer(email=None), "email.missing"),
        (CUSTOMERS, customer(country=""), "country.missing"),
        (STOCK_LEVELS, posting(quantity_on_hand=-3), "quantity_on_hand.not_negative"),
    ],
)
def test_record_is_loaded_with_a_warning(stream: Stream, record: Record, warning: str) -> None:
    judged = judge(stream, [record])
    assert (judged.bad, judged.warnings, judged.warned) == ({}, {warning: 1}, 1)


def test_a_change_is_flattened() -> None:
    row = only(judge(PRODUCTS, [change(after=VALUES | {"description": " HEART "}, op="i")]))
    assert row == {
        "product_id": "85123A",
        "stock_code": "85123A",
        "description": "HEART",
        "unit_price": Decimal("2.550"),
        "lsn": 7,
        "op": "I",
        "changed_at": datetime(2025, 3, 10, 6),
    }


@pytest.mark.parametrize("record", [change(op="D", after=None), without(change(op="D"), "after")])
def test_a_delete_brings_no_values(record: Record) -> None:
    judged = judge(PRODUCTS, [record])
    row = only(judged)
    assert (row["stock_code"], row["description"], row["unit_price"]) == (None, None, None)
    assert judged.warned == 0


def test_a_product_may_lack_a_description() -> None:
    assert only(judge(PRODUCTS, [change(after=without(VALUES, "description"))]))["description"] is None


@pytest.mark.parametrize("quote_currency", ["USD", "usd", " Usd "])
def test_a_rate_is_typed_and_named(quote_currency: str) -> None:
    assert only(judge(FX_RATES, [rate(quote_currency, rate=" 1.0875 ")])) == {
        "rate_date": date(2025, 3, 10),
        "base_currency": "EUR",
        "quote_currency": "USD",
        "rate": Decimal("1.087500"),
        "currency_pair": "EUR/USD",
        "valid_from": datetime(2025, 3, 10),
    }


@pytest.mark.parametrize("warehouse_code", ["LON", "lon "])
def test_a_stock_level_is_typed(warehouse_code: str) -> None:
    row: dict[str, Any] = only(judge(STOCK_LEVELS, [posting(warehouse_code=warehouse_code)]))
    assert row == posting(updated_at=datetime(2025, 3, 10, 14, 30, tzinfo=UTC).replace(tzinfo=None))
