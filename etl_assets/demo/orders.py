"""Orders, derived from order lines.

What belongs here: gathering an order from its lines, its course from pending to completed, the orders of a
window as of a time. What does not: which lines a shop has, or spoiling records on purpose.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from etl_assets.demo.shop import Line, Record, iso, seconds_of

HOUR = 3_600
SLOWEST_COMPLETION = 72 * HOUR
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Order:
    """What never changes about an order; times in seconds.

    Attributes:
        settled: When it was updated last, as far as it will ever be: its completion, or its creation if
            cancelled.
        total: Decimal string with two places.
    """

    order_id: str
    customer_id: str | None
    country: str | None
    created: int
    settled: int
    total: str
    item_count: int

    @property
    def cancelled(self) -> bool:
        """Whether the invoice takes an earlier one back; such invoices start with C."""
        return self.order_id.startswith("C")


@dataclass(frozen=True, slots=True)
class OrderState:
    """An order as of a time: when it was updated last by then, and what it was."""

    updated: int
    status: str
    order: Order

    def record(self) -> Record:
        """The order as the API gives it."""
        order = self.order
        return {
            "order_id": order.order_id,
            "customer_id": order.customer_id,
            "status": self.status,
            "currency": "GBP",
            "total": order.total,
            "item_count": order.item_count,
            "country": order.country,
            "created_at": iso(order.created),
            "updated_at": iso(self.updated),
        }


class _Draft:
    __slots__ = ("country", "created", "customer_id", "item_count", "total")

    def __init__(self) -> None:
        self.customer_id: str | None = None
        self.country: str | None = None
        self.created: str | None = None
        self.total = Decimal(0)
        self.item_count = 0


class OrderCollector:
    """Gathers orders from lines that are added in the order of their files."""

    def __init__(self) -> None:
        self._drafts: dict[str, _Draft] = {}
        self._prices: dict[str | None, Decimal | None] = {}

    def add(self, lines: Iterable[Line]) -> None:
        """Take lines in. A line whose quantity or price does not parse counts as an item of no value."""
        drafts, prices = self._drafts, self._prices
        for _, invoice, _, _, quantity, price_text, time, customer, country in lines:
            if invoice is None:
                continue
            draft = drafts.get(invoice)
            if draft is None:
                draft = drafts[invoice] = _Draft()
            draft.item_count += 1
            if customer is not None and draft.customer_id is None:
                draft.customer_id = customer
            if country is not None and draft.country is None:
                draft.country = country
            if time is not None and (draft.created is None or time < draft.created):
                draft.created = time
            try:
                price = prices[price_text]
            except KeyError:
                price = prices[price_text] = _decimal(price_text)
            if price is not None and isinstance(quantity, int):
                draft.total += quantity * price

    def orders(self) -> list[Order]:
        """The orders so far; an invoice without a readable time is none."""
        return [order for name, draft in self._drafts.items() if (order := _finish(name, draft)) is not None]


def _finish(order_id: str, draft: _Draft) -> Order | None:
    try:
        created = seconds_of(draft.created or "")
    except ValueError:
        return None
    wait = 0 if order_id.startswith("C") else (1 + zlib.crc32(order_id.encode()) % 72) * HOUR
    # Adding zero turns a rounded "-0.00" into "0.00".
    total = draft.total.quantize(CENT, ROUND_HALF_UP) + 0
    return Order(
        order_id, draft.customer_id, draft.country, created, created + wait, f"{total:f}", draft.item_count
    )


def _decimal(text: str | None) -> Decimal | None:
    try:
        value = Decimal(text or "")
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value.adjusted()) < 15 else None


class OrderBook:
    """Orders, ready to be asked for the state of a window."""

    def __init__(self, orders: Iterable[Order]) -> None:
        self._by_created = sorted(orders, key=lambda order: order.created)
        self._created = [order.created for order in self._by_created]
        self._by_settled = sorted(
            (order for order in self._by_created if not order.cancelled), key=lambda order: order.settled
        )
        self._settled = [order.settled for order in self._by_settled]

    def __len__(self) -> int:
        return len(self._by_created)

    def states(self, start: int, end: int, now: int) -> list[OrderState]:
        """Orders whose latest update by `now` lies in ``[start, end)``, unsorted."""
        end = min(end, now + 1)
        new = self._by_created[bisect_left(self._created, start) : bisect_left(self._created, end)]
        done = self._by_settled[bisect_left(self._settled, start) : bisect_left(self._settled, end)]
        states = [OrderState(order.settled, "completed", order) for order in done]
        for order in new:
            if order.cancelled:
                states.append(OrderState(order.created, "cancelled", order))
            elif order.settled > now:
                states.append(OrderState(order.created, "pending", order))
        return states


def in_order(states: list[OrderState]) -> list[OrderState]:
    """Sort states as the API gives them out: by updated_at, then order_id."""
    return sorted(states, key=lambda state: (state.updated, state.order.order_id))
