"""A shop that can be told to misbehave on single days, and that remembers what it was asked.

What belongs here: faults that depend on the day and the number of times it was asked for. What does not: faults of the
connection, which the demo source has switches for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import orjson

from etl_assets.demo.shop import ChangePage, CustomerPage, LinePage, OrderPage, Shop, day_of
from etl_assets.failures import EtlError

LINES, ORDERS, PRODUCTS = "shop/order_lines", "shop/orders", "shop/products"


@dataclass
class ScriptedShop:
    """Another shop, with a script laid over it.

    Attributes:
        inner: The other shop.
        asked: How often the first page of a day was asked for, by stream and day.
        failures: How many more times a day is answered with an error that may pass, by stream and day.
        spoiled: Days of order lines on which every fifth price is negative.
        hollow: Days without any rows, by stream and day.
        added: Fields that the orders of a day have beside the usual ones.
        dropped: Fields that the orders of a day lack.
        nameless: Days of order lines on which no article has a description.
        tainted: Days of order lines on which every twelfth price is negative: too many, and few enough to publish.
        left: How many customers there still are; all of them while it is None.
    """

    inner: Shop
    asked: Counter[tuple[str, date]] = field(default_factory=Counter)
    failures: dict[tuple[str, date], int] = field(default_factory=dict)
    spoiled: set[date] = field(default_factory=set)
    hollow: set[tuple[str, date]] = field(default_factory=set)
    added: dict[date, dict[str, Any]] = field(default_factory=dict)
    dropped: dict[date, set[str]] = field(default_factory=dict)
    nameless: set[date] = field(default_factory=set)
    tainted: set[date] = field(default_factory=set)
    left: int | None = None

    @property
    def label(self) -> str:
        """What is served."""
        return f"{self.inner.label}, by script"

    def lines(self, start: int, end: int, cursor: str | None, limit: int, now: int) -> LinePage:
        """Order lines; see `Shop.lines`."""
        day = self._enter(LINES, start, end, first=cursor is None)
        if (LINES, day) in self.hollow:
            return LinePage(b"", 0, None)
        page = self.inner.lines(start, end, cursor, limit, now)
        if day in self.nameless:
            page = _without_descriptions(page)
        if day in self.spoiled | self.tainted:
            return _spoil(page, every=5 if day in self.spoiled else 12)
        return page

    def count_lines(self, start: int, end: int, now: int) -> int:
        """Number of order lines; see `Shop.count_lines`."""
        day = date.fromordinal(day_of((start + end) // 2))
        return 0 if (LINES, day) in self.hollow else self.inner.count_lines(start, end, now)

    def lines_version(self, start: int, end: int, now: int) -> None:
        """Nothing tells when a script changes."""

    def orders(self, start: int, end: int, offset: int, limit: int, now: int) -> OrderPage:
        """Orders; see `Shop.orders`."""
        day = self._enter(ORDERS, start, end, first=offset == 0)
        if (ORDERS, day) in self.hollow:
            return OrderPage([], has_more=False)
        page = self.inner.orders(start, end, offset, limit, now)
        dropped, added = self.dropped.get(day, set()), self.added.get(day, {})
        records = [
            {name: value for name, value in record.items() if name not in dropped} | added
            for record in page.orders
        ]
        return OrderPage(records, has_more=page.has_more)

    def customers(self, offset: int, limit: int, now: int) -> CustomerPage:
        """Customers; see `Shop.customers`."""
        if self.left is None:
            return self.inner.customers(offset, limit, now)
        page = self.inner.customers(0, self.left, now)
        return CustomerPage(page.customers[offset : offset + limit], self.left)

    def product_changes(self, start: int, end: int, after_lsn: int, limit: int, now: int) -> ChangePage:
        """Product changes; see `Shop.product_changes`."""
        return self.inner.product_changes(start, end, after_lsn, limit, now)

    def _enter(self, stream: str, start: int, end: int, *, first: bool) -> date:
        # A window may reach a little into its neighbours; its middle lies in its own day.
        day = date.fromordinal(day_of((start + end) // 2))
        if first:
            self.asked[stream, day] += 1
        if self.failures.get((stream, day), 0) > 0:
            self.failures[stream, day] -= 1
            raise EtlError("broken by script")
        return day


def _without_descriptions(page: LinePage) -> LinePage:
    records = [record | {"description": None} for record in orjson.loads(b"[" + page.body + b"]")]
    return LinePage(orjson.dumps(records)[1:-1], page.count, page.next_cursor)


def _spoil(page: LinePage, every: int) -> LinePage:
    records = orjson.loads(b"[" + page.body + b"]")
    for record in records[::every]:
        record["unit_price"] = "-1.00"
    return LinePage(orjson.dumps(records)[1:-1], page.count, page.next_cursor)
