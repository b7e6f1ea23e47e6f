"""Generated days: the same each time, of the size asked for, dirty as real ones, in agreement with orders."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation

import pytest

from etl_assets.demo.generator import GeneratedShop
from etl_assets.demo.shop import DAY, Line, seconds_of
from etl_assets.failures import ConfigurationError
from etl_assets_tests.demo.conftest import Api

FIRST = date(2025, 1, 6)
NOW = seconds_of("2026-01-01T00:00:00Z")


def broken(line: Line, seen: Counter[str]) -> bool:
    """Whether a line breaks a rule of the contract."""
    seen[line.line_id] += 1
    return (
        not isinstance(line.quantity, int)
        or line.country is None
        or Decimal(line.unit_price or "") < 0
        or seen[line.line_id] > 1
    )


def test_days_are_repeatable_whatever_was_asked_before() -> None:
    one, other = GeneratedShop(5), GeneratedShop(5)
    days = [FIRST + timedelta(days=number) for number in range(5)]
    forward = [list(one.day_lines(day)) for day in days]
    backward = [list(other.day_lines(day)) for day in reversed(days)]
    assert forward == list(reversed(backward))
    assert forward[0] != list(GeneratedShop(6).day_lines(FIRST))
    start = seconds_of("2025-01-06T00:00:00Z")
    assert one.orders(start, start + 3 * DAY, 0, 1_000, NOW) == other.orders(
        start, start + 3 * DAY, 0, 1_000, NOW
    )
    assert one.customers(0, 50, NOW) == other.customers(0, 50, NOW)


def test_sizes_follow_the_week() -> None:
    shop = GeneratedShop()
    days = [FIRST + timedelta(days=number) for number in range(28)]
    sizes = {day: len(list(shop.day_lines(day))) for day in days}
    assert all(290 <= size <= 620 for size in sizes.values())
    average = {
        weekday: sum(size for day, size in sizes.items() if day.weekday() == weekday) / 4
        for weekday in range(7)
    }
    assert max(average, key=average.__getitem__) == 3
    assert min(average, key=average.__getitem__) == 5
    assert list(shop.day_lines(date(2025, 12, 25))) == []


@pytest.mark.parametrize("size", [1, 2, 999, 25_000])
def test_an_exact_size_can_be_asked_for(size: int) -> None:
    assert len(list(GeneratedShop(lines_per_day=size).day_lines(FIRST))) == size


@pytest.mark.parametrize("size", [0, -5, 1_000_001])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match="lines a day cannot be generated"):
        GeneratedShop(lines_per_day=size)


@pytest.mark.parametrize(
    "day", [date(1, 1, 5), date(1999, 5, 5), date(2009, 12, 1), date(2040, 6, 6), date(2300, 12, 30)]
)
def test_any_date_has_a_day(day: date) -> None:
    assert len(list(GeneratedShop().day_lines(day))) > 250


def test_dirt_is_there_and_stays_small() -> None:
    shop = GeneratedShop()
    days = [list(shop.day_lines(FIRST + timedelta(days=number))) for number in range(30)]
    shares = []
    for lines in days:
        seen: Counter[str] = Counter()
        shares.append(sum(broken(line, seen) for line in lines) / len(lines))
    assert max(shares) < 0.02
    assert sum(share > 0 for share in shares) > 25
    lines = [line for day in days for line in day]
    assert any(line.description is None for line in lines)
    assert any(
        line.description is not None and line.description != line.description.strip() for line in lines
    )
    assert any(line.unit_price == "0.0" for line in lines)
    assert any(line.country is None for line in lines)
    assert any(isinstance(line.quantity, str) for line in lines)
    assert 0.05 < sum(line.customer_id is None for line in lines) / len(lines) < 0.3
    assert 0.01 < sum((line.invoice_no or "").startswith("C") for line in lines) / len(lines) < 0.1
    assert all(
        (line.quantity < 0) == (line.invoice_no or "").startswith("C")
        for line in lines
        if isinstance(line.quantity, int)
    )


def test_orders_agree_with_lines(generated: Api) -> None:
    start, end = "2025-01-06T00:00:00Z", "2025-01-13T00:00:00Z"
    lines = {str(line["line_id"]): line for line in generated.all_lines(start, end)}
    totals: dict[object, Decimal] = {}
    for line in lines.values():
        quantity = line["quantity"]
        amount = quantity * Decimal(str(line["unit_price"])) if isinstance(quantity, int) else Decimal(0)
        totals[line["invoice_no"]] = totals.get(line["invoice_no"], Decimal(0)) + amount
    orders = [o for o in generated.all_orders(start, "2025-01-17T00:00:00Z") if str(o["created_at"]) < end]
    orders = [order for order in orders if str(order["created_at"]) >= start]
    assert {order["order_id"] for order in orders} == set(totals)
    parsed = 0
    for order in orders:
        try:
            assert Decimal(str(order["total"])) == totals[order["order_id"]]
            parsed += 1
        except InvalidOperation:
            assert order["total"] == "n/a"
    assert parsed > 0.98 * len(orders)


def test_few_orders_are_spoiled() -> None:
    shop = GeneratedShop()
    start = seconds_of("2025-01-01T00:00:00Z")
    orders = shop.orders(start, start + 90 * DAY, 0, 100_000, NOW).orders
    statuses = Counter(str(order["status"]) for order in orders)
    currencies = Counter(order["currency"] for order in orders)
    bad = statuses["on hold"] + currencies["£"]
    assert 0 < bad < 0.02 * len(orders)
    assert statuses["Completed"]
    assert statuses["COMPLETED"]
    assert currencies[None]
    assert currencies["gbp"]


def test_a_day_of_a_million_lines_is_served_a_block_at_a_time() -> None:
    shop = GeneratedShop(lines_per_day=1_000_000)
    start = seconds_of("2025-01-06T00:00:00Z")
    first = shop.lines(start, start + DAY, None, 10_000, NOW)
    assert first.count == 10_000
    second = shop.lines(start, start + DAY, first.next_cursor, 10_000, NOW)
    assert (second.count, second.body[:28]) == (10_000, b'{"line_id":"2025-01-06-10000')
    last = shop.lines(seconds_of("2025-01-06T19:59:00Z"), start + DAY, None, 10_000, NOW)
    assert last.next_cursor is None
    assert b'"2025-01-06-999999"' in last.body


def test_product_changes_tell_a_consistent_story() -> None:
    shop = GeneratedShop()
    changes = []
    page = shop.product_changes(0, NOW, 0, 5_000, NOW)
    changes += page.changes
    while page.has_more:
        page = shop.product_changes(0, NOW, page.last_lsn, 5_000, NOW)
        changes += page.changes
    assert [change["lsn"] for change in changes] == list(range(1, len(changes) + 1))
    assert [change["ts"] for change in changes] == sorted(change["ts"] for change in changes)
    alive: set[str] = set()
    for change in changes:
        name = change["product_id"]
        assert (name in alive) == (change["op"] != "I")
        assert (change["after"] is None) == (change["op"] == "D")
        (alive.discard if change["op"] == "D" else alive.add)(name)
    assert {change["op"] for change in changes} == {"I", "U", "D"}
    sold = {line.stock_code for line in shop.day_lines(date(2025, 12, 30))}
    assert sold <= alive | {change["product_id"] for change in changes if change["ts"] >= "2025-12-30"}


def test_customers_come_move_and_leave() -> None:
    shop = GeneratedShop()
    early = {
        c["customer_id"]: c for c in shop.customers(0, 10_000, seconds_of("2020-01-01T00:00:00Z")).customers
    }
    late = {c["customer_id"]: c for c in shop.customers(0, 10_000, NOW).customers}
    assert late.keys() - early.keys()
    assert early.keys() - late.keys()
    both = early.keys() & late.keys()
    assert any(early[name]["country"] != late[name]["country"] for name in both)
    assert any(early[name]["email"] != late[name]["email"] for name in both)
    assert list(late) == sorted(late)
