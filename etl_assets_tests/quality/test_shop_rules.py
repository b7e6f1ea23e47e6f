"""Every rule of the shop's contracts, through the real streams: what breaks it, and what does not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from etl_assets.quality.rules import compile_contract
from etl_assets.streams.base import Severity, Stream
from etl_assets_tests.quality.samples import (
    ORDER_LINES,
    ORDERS,
    Record,
    judge,
    line,
    only,
    order,
    without,
)

Reasons = dict[str, str]

NO_NUMBER = {"quantity.parse": "quantity cannot be read as int64", "amount.missing": "amount is missing"}
NO_PRICE = {
    "unit_price.parse": "unit_price cannot be read as decimal128(18, 3)",
    "amount.missing": "amount is missing",
}
NO_TIME = {"invoiced_at.parse": "invoiced_at cannot be read as timestamp[us]"}
OUTSIDE = {"invoiced_at.window": "invoiced_at is outside the window that was asked for"}
NO_CREATION = {
    "created_at.parse": "created_at cannot be read as timestamp[us]",
    "order_date.missing": "order_date is missing",
    "order_month.missing": "order_month is missing",
}
STATUS = {"status.isin": "status must be one of pending, completed, cancelled, refunded"}
CURRENCY = {"currency.str_matches": "currency must match ^[A-Z]{3}$"}
TOTAL = {"total_amount.parse": "total_amount cannot be read as decimal128(18, 2)"}
BACKWARD = {"updated_after_created": "updated_at is before created_at"}

BAD_LINES: list[tuple[Record, Reasons]] = [
    *(
        (line(**{name: value}), {f"{name}.missing": f"{name} is missing"})
        for name in ("line_id", "invoice_no", "stock_code", "country")
        for value in (None, "", " \t\n")
    ),
    *(
        (without(line(), name), {f"{name}.missing": f"{name} is missing"})
        for name in ("line_id", "invoice_no", "stock_code", "country")
    ),
    (
        without(line(), "quantity"),
        {"quantity.missing": "quantity is missing", "amount.missing": "amount is missing"},
    ),
    *((line(quantity=value), NO_NUMBER) for value in ("six", "6.5", 6.5, True, [6], {"n": 6}, "1e3", 10**30)),
    (line(quantity=0), {"quantity.not_equal_to": "quantity must not be 0"}),
    (line(quantity="-0"), {"quantity.not_equal_to": "quantity must not be 0"}),
    (
        line(unit_price=None),
        {"unit_price.missing": "unit_price is missing", "amount.missing": "amount is missing"},
    ),
    *((line(unit_price=value), NO_PRICE) for value in ("free", "1,50", "NaN", "1e400", "1_0", False, 1e300)),
    (
        line(unit_price="-0.001"),
        {"unit_price.greater_than_or_equal_to": "unit_price must be at least 0"},
    ),
    (line(quantity=10**12, unit_price="1000000"), {"amount.missing": "amount is missing"}),
    (line(invoiced_at=None), {"invoiced_at.missing": "invoiced_at is missing"}),
    *(
        (line(invoiced_at=value), NO_TIME)
        for value in ("yesterday", "now", "10.03.2025", "2025-02-30", 1741593600, "2025-03-10T25:00:00Z")
    ),
    (line(invoiced_at="2025-03-09T23:59:59.999999Z"), OUTSIDE),
    (line(invoiced_at="2025-03-11T00:00:00Z"), OUTSIDE),
    (line(invoiced_at="2025-03-10T23:30:00-01:00"), OUTSIDE),
]

BAD_ORDERS: list[tuple[Record, Reasons]] = [
    (order(order_id=None), {"order_id.missing": "order_id is missing"}),
    (order(order_id=" "), {"order_id.missing": "order_id is missing"}),
    (without(order(), "order_id"), {"order_id.missing": "order_id is missing"}),
    (order(total=None), {"total_amount.missing": "total_amount is missing"}),
    (without(order(), "total"), {"total_amount.missing": "total_amount is missing"}),
    *((order(total=value), TOTAL) for value in ("lots", "1.2.3", "10000000000000000", [1], "Infinity")),
    (
        order(created_at=None),
        {
            "created_at.missing": "created_at is missing",
            "order_date.missing": "order_date is missing",
            "order_month.missing": "order_month is missing",
        },
    ),
    *((order(created_at=value), NO_CREATION) for value in ("soon", 5, "2025-13-01T00:00:00Z")),
    (order(updated_at=None), {"updated_at.missing": "updated_at is missing"}),
    (order(updated_at="later"), {"updated_at.parse": "updated_at cannot be read as timestamp[us]"}),
    (order(updated_at="2025-03-09T23:54:59Z"), {"updated_at.window": "?"}),
    (order(updated_at="2025-03-11T00:00:00Z"), {"updated_at.window": "?"}),
    (order(created_at="2025-03-10T09:00:01Z"), BACKWARD),
    *((order(status=value), STATUS) for value in ("open", "completed!", "Shipped", 1)),
    (order(status=None), {"status.missing": "status is missing"}),
    *((order(currency=value), CURRENCY) for value in ("GB", "EURO", "E1R", "€€€", "G BP", 826)),
    (order(item_count="some"), {"item_count.parse": "item_count cannot be read as int64"}),
]
"""Records, and all rules that they break with the reasons that are given."""


def _label(value: object) -> str | None:
    if isinstance(value, dict) and value and all("." in key or "_after_" in key for key in value):
        return "+".join(value)
    return "record" if isinstance(value, dict) else None


@pytest.mark.parametrize(("record", "reasons"), BAD_LINES, ids=_label)
def test_order_line_is_quarantined(record: Record, reasons: Reasons) -> None:
    judged = judge(ORDER_LINES, [line("first"), record, line("last")])
    assert judged.bad == {1: reasons}
    assert list(judged.good) == [0, 2]
    assert judged.violations == dict.fromkeys(reasons, 1)


@pytest.mark.parametrize(("record", "reasons"), BAD_ORDERS, ids=_label)
def test_order_is_quarantined(record: Record, reasons: Reasons) -> None:
    wanted = {
        rule: f"{rule.partition('.')[0]} is outside the window that was asked for" if text == "?" else text
        for rule, text in reasons.items()
    }
    judged = judge(ORDERS, [order("first"), record, order("last")])
    assert judged.bad == {1: wanted}
    assert list(judged.good) == [0, 2]
    assert judged.violations == dict.fromkeys(wanted, 1)


@pytest.mark.parametrize(("stream", "cases"), [(ORDER_LINES, BAD_LINES), (ORDERS, BAD_ORDERS)])
def test_every_rule_of_the_contract_has_a_case(stream: Stream, cases: list[tuple[Record, Reasons]]) -> None:
    contract = compile_contract(stream.contract)
    rules = [rule for column in contract.columns for rule in column.checks]
    rules += contract.row_rules
    wanted = {rule.name for rule in rules if rule.severity is Severity.QUARANTINE}
    wanted |= {
        f"{column.name}.missing"
        for column in contract.columns
        if column.notes.missing is Severity.QUARANTINE and not column.notes.default
    }
    never_missing = {"is_cancellation.missing", "is_high_value.missing"}
    covered = {rule for _, reasons in cases for rule in reasons}
    assert wanted - covered - never_missing == set()


@pytest.mark.parametrize(
    ("record", "warnings"),
    [
        (line(description=None), {"description.missing": 1}),
        (line(description="  "), {"description.missing": 1}),
        (without(line(), "description"), {"description.missing": 1}),
        (line(customer_id=None), {"customer_id.missing": 1}),
        (line(unit_price="0"), {"unit_price.price_zero": 1}),
        (line(unit_price="0.000"), {"unit_price.price_zero": 1}),
        (
            line(unit_price=0, customer_id="", description=None),
            {"unit_price.price_zero": 1, "customer_id.missing": 1, "description.missing": 1},
        ),
    ],
)
def test_order_line_is_loaded_with_a_warning(record: Record, warnings: dict[str, int]) -> None:
    judged = judge(ORDER_LINES, [line("first"), record])
    assert judged.bad == {}
    assert list(judged.good) == [0, 1]
    assert judged.warnings == warnings
    assert judged.warned == 1, "a row counts once, however many rules warn"


def test_missing_currency_becomes_gbp_and_is_counted() -> None:
    records = [
        order("1"),
        order("2", currency=None),
        order("3", currency=" "),
        without(order("4"), "currency"),
    ]
    judged = judge(ORDERS, records)
    assert judged.bad == {}
    assert [row["currency"] for row in judged.good.values()] == ["GBP"] * 4
    assert judged.warnings == {"currency.default": 3}
    assert judged.warned == 3


def test_orders_may_lack_customer_country_and_count_without_a_word() -> None:
    record = without(order(customer_id=None, item_count=None), "country")
    judged = judge(ORDERS, [record])
    row = only(judged)
    assert (row["customer_id"], row["country"], row["item_count"]) == (None, None, None)
    assert (judged.warnings, judged.warned) == ({}, 0)


@pytest.mark.parametrize("status", ["COMPLETED", "Completed", " completed ", "cOmPlEtEd"])
def test_status_is_folded(status: str) -> None:
    assert only(judge(ORDERS, [order(status=status)]))["status"] == "completed"


@pytest.mark.parametrize("currency", ["eur", "Eur", " EUR "])
def test_currency_is_folded(currency: str) -> None:
    assert only(judge(ORDERS, [order(currency=currency)]))["currency"] == "EUR"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"description": "  WHITE  LAMP "}, {"description": "WHITE  LAMP"}),
        ({"quantity": "12"}, {"quantity": 12, "amount": Decimal("30.600")}),
        ({"quantity": -6}, {"quantity": -6, "amount": Decimal("-15.300")}),
        ({"quantity": 12.0}, {"quantity": 12}),
        ({"unit_price": 2.55}, {"unit_price": Decimal("2.550")}),
        ({"unit_price": "1.0005"}, {"unit_price": Decimal("1.000")}),
        ({"unit_price": "1.0015"}, {"unit_price": Decimal("1.002")}),
        ({"unit_price": "2.5e-1"}, {"unit_price": Decimal("0.250")}),
        ({"invoice_no": "C536365"}, {"is_cancellation": True}),
        ({"invoice_no": " C536365"}, {"is_cancellation": True}),
        ({"invoice_no": "c536365"}, {"is_cancellation": False}),
        ({"invoice_no": 536365}, {"invoice_no": "536365"}),
        ({"customer_id": 17850}, {"customer_id": "17850"}),
        ({"invoiced_at": "2025-03-10T00:00:00Z"}, {"invoiced_at": datetime(2025, 3, 10)}),
        (
            {"invoiced_at": "2025-03-10T23:59:59.999999Z"},
            {"invoiced_at": datetime(2025, 3, 10, 23, 59, 59, 999999)},
        ),
        ({"invoiced_at": "2025-03-11T00:30:00+01:00"}, {"invoiced_at": datetime(2025, 3, 10, 23, 30)}),
    ],
)
def test_order_line_is_cleaned(changes: dict[str, Any], wanted: dict[str, Any]) -> None:
    row = only(judge(ORDER_LINES, [line(**changes)]))
    assert {name: row[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"total": "1000.00"}, {"is_high_value": False}),
        ({"total": "1000.01"}, {"is_high_value": True}),
        ({"total": "-5"}, {"total_amount": Decimal("-5.00"), "is_high_value": False}),
        (
            {"created_at": "2025-03-01T00:30:00+01:00"},
            {"order_date": date(2025, 2, 28), "order_month": "2025-02"},
        ),
        ({"created_at": "2025-03-10T09:00:00Z"}, {"order_date": date(2025, 3, 10)}),
        # Five minutes of overlap are asked for against clock skew.
        ({"updated_at": "2025-03-09T23:55:00Z"}, {"updated_at": datetime(2025, 3, 9, 23, 55)}),
    ],
)
def test_order_is_cleaned(changes: dict[str, Any], wanted: dict[str, Any]) -> None:
    row = only(judge(ORDERS, [order(**changes)]))
    assert {name: row[name] for name in wanted} == wanted


def test_window_of_orders_overlaps_the_day_before_and_that_of_lines_does_not() -> None:
    start = datetime(2025, 3, 10, tzinfo=UTC)
    assert ORDER_LINES.extract.window_of(date(2025, 3, 10)).start == start
    assert ORDERS.extract.window_of(date(2025, 3, 10)).start == datetime(2025, 3, 9, 23, 55, tzinfo=UTC)


def test_row_that_breaks_several_rules_keeps_all_reasons() -> None:
    record = line(
        line_id="twice", quantity=0, unit_price="-1", country=None, invoiced_at="2025-03-12T00:00:00Z"
    )
    judged = judge(ORDER_LINES, [line("twice"), record])
    assert judged.bad == {
        1: {
            "quantity.not_equal_to": "quantity must not be 0",
            "unit_price.greater_than_or_equal_to": "unit_price must be at least 0",
            "country.missing": "country is missing",
            "invoiced_at.window": "invoiced_at is outside the window that was asked for",
            "line_id.unique": "line_id repeats",
        }
    }


@pytest.mark.parametrize(("stream", "record"), [(ORDER_LINES, line()), (ORDERS, order())])
def test_unknown_fields_are_ignored(stream: Stream, record: Record) -> None:
    plain, drifted = (
        judge(stream, [record]),
        judge(stream, [record | {"new": {"deep": [1]}, "_run_id": "x", "amount?": 1}]),
    )
    assert only(plain) == only(drifted)
    assert drifted.warnings == plain.warnings


@pytest.mark.parametrize(
    ("stream", "record", "field", "rules"),
    [
        (ORDER_LINES, line(), "unit_price", {"unit_price.missing", "amount.missing"}),
        (ORDER_LINES, line(), "invoiced_at", {"invoiced_at.missing"}),
        (ORDERS, order(), "created_at", {"created_at.missing", "order_date.missing", "order_month.missing"}),
        (ORDERS, order(), "total", {"total_amount.missing"}),
    ],
)
def test_field_that_no_record_has(stream: Stream, record: Record, field: str, rules: set[str]) -> None:
    judged = judge(stream, [without(record, field)] * 2)
    assert judged.good == {}
    assert all(rules <= set(reasons) for reasons in judged.bad.values())


@pytest.mark.parametrize("stream", [ORDER_LINES, ORDERS])
def test_no_records_at_all(stream: Stream) -> None:
    judged = judge(stream, [])
    assert (judged.good, judged.bad) == ({}, {})
    assert judged.table.schema == compile_contract(stream.contract).schema


@pytest.mark.parametrize("stream", [ORDER_LINES, ORDERS])
def test_customers_are_personal(stream: Stream) -> None:
    assert compile_contract(stream.contract).personal_columns == {"customer_id"}
