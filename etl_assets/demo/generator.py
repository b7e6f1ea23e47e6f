"""The generated shop: days like the retail ones for any date, the same each time.

What belongs here: drawing a day's lines, with the dirt that real ones have, and spoiling a few orders. What
does not: products and customers (see `catalogue`), paging and the course of orders, which all shops share.

A day is a function of seed, date and `lines_per_day` alone. It is drawn in blocks of 10,000 lines that follow
one another in time, so a day of a million lines is served without ever being held as a whole.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Hashable, Iterator
from datetime import date
from functools import partial

from etl_assets.demo.cache import WeightedCache
from etl_assets.demo.catalogue import FIRST_CUSTOMER_ID, Catalogue, Offer
from etl_assets.demo.lines import Cursor, LineBlock, build_block, page_of
from etl_assets.demo.orders import SLOWEST_COMPLETION, OrderBook, OrderCollector, OrderState, in_order
from etl_assets.demo.shop import (
    ChangePage,
    CustomerPage,
    Line,
    LinePage,
    OrderPage,
    Record,
    day_of,
    iso,
    iso_day,
    start_of,
)
from etl_assets.failures import ConfigurationError

MOST_LINES = 1_000_000
BLOCK_LINES = 10_000
USUAL_LINES = 450
WEEKDAY_SHARES = (0.95, 1.1, 1.05, 1.2, 1.0, 0.72, 0.8)
OPENS, CLOSES = 7 * 3_600, 20 * 3_600
QUANTITIES = (1, 1, 1, 2, 2, 3, 4, 6, 6, 8, 10, 12, 12, 24, 25, 48, 100)
CACHE_BYTES = 64_000_000
CACHE_ORDERS = 250_000
LONGEST_ORDER_WINDOW_DAYS = 3_700


class GeneratedShop:
    """Serves made-up days.

    Args:
        seed: Any number; another one makes another shop.
        lines_per_day: Exact number of lines of every day; None gives some 300 to 600, with a weekly rhythm,
            and none at all on Christmas Day and New Year's Day.

    Raises:
        ConfigurationError: If `lines_per_day` is not within 1 to 1,000,000.
    """

    def __init__(self, seed: int = 0, lines_per_day: int | None = None) -> None:
        if lines_per_day is not None and not 1 <= lines_per_day <= MOST_LINES:
            raise ConfigurationError(
                f"{lines_per_day} lines a day cannot be generated", hint=f"use 1 to {MOST_LINES:,}"
            )
        self._seed = seed
        self._lines_per_day = lines_per_day
        self._catalogue = Catalogue(seed)
        self._blocks: WeightedCache[tuple[int, int], LineBlock] = WeightedCache(
            CACHE_BYTES, lambda block: block.weight
        )
        self._books: WeightedCache[int, OrderBook] = WeightedCache(CACHE_ORDERS, lambda book: len(book) + 1)

    @property
    def label(self) -> str:
        """The size of the generated days."""
        size = "300 to 600" if self._lines_per_day is None else f"{self._lines_per_day:,}"
        return f"generated days of {size} lines (seed {self._seed})"

    def lines(self, start: int, end: int, cursor: str | None, limit: int, now: int) -> LinePage:
        """Order lines by (invoiced_at, line_id); see `Shop.lines`."""
        place = Cursor.decode(cursor) if cursor else None
        end = min(end, now + 1)
        if end <= start:
            return LinePage(b"", 0, None)
        return page_of(
            self._blocks_between(max(start, place.time if place else start), end), start, end, place, limit
        )

    def count_lines(self, start: int, end: int, now: int) -> int:
        """Lines of the window; only days that it cuts are drawn. See `Shop.count_lines`."""
        end, count = min(end, now + 1), 0
        for day in range(day_of(start), day_of(end - 1) + 1) if start < end else ():
            if start <= start_of(day) and start_of(day + 1) <= end:
                count += self._size(day)
            else:
                low, high = max(start, start_of(day)), min(end, start_of(day + 1))
                count += sum(block.count(low, high) for block in self._blocks_between(low, high))
        return count

    def lines_version(self, start: int, end: int, now: int) -> Hashable:
        """Where the present cuts the window, which is all that changes; see `Shop.lines_version`."""
        return min(end, now + 1)

    def orders(self, start: int, end: int, offset: int, limit: int, now: int) -> OrderPage:
        """Orders updated in the window, by (updated_at, order_id); see `Shop.orders`.

        Raises:
            ValueError: If the window is longer than ten years; every day in it has to be drawn.
        """
        end = min(end, now + 1)
        if end <= start:
            return OrderPage([], False)
        first, last = day_of(start - SLOWEST_COMPLETION), day_of(end - 1)
        if last - first > LONGEST_ORDER_WINDOW_DAYS:
            raise ValueError("the window is too long for generated orders; ask for ten years at most")
        states: list[OrderState] = []
        for day in range(first, last + 1):
            states += self._books.get(day, partial(self._book, day)).states(start, end, now)
        page = in_order(states)[offset : offset + limit]
        return OrderPage(
            [self._spoil(state.record()) for state in page], offset + limit < len(states), len(states)
        )

    def customers(self, offset: int, limit: int, now: int) -> CustomerPage:
        """Customers who have joined and not left, by customer_id; see `Shop.customers`."""
        today = day_of(now)
        numbers = self._catalogue.customers_on(today)
        items = [
            self._catalogue.customer_record(number, today) for number in numbers[offset : offset + limit]
        ]
        return CustomerPage(items, len(numbers))

    def product_changes(self, start: int, end: int, after_lsn: int, limit: int, now: int) -> ChangePage:
        """Changes of the catalogue since the shop opened, by lsn; see `Shop.product_changes`."""
        end = min(end, now + 1)
        all_changes, low, high = self._catalogue.product_changes(start, end, after_lsn, day_of(now))
        changes = all_changes[low : min(high, low + limit)] if low < high else []
        return ChangePage(changes, changes[-1]["lsn"] if changes else after_lsn, low + limit < high)

    def day_lines(self, day: date) -> Iterator[Line]:
        """All lines of a day in the order in which they were written, a block in memory at a time."""
        ordinal = day.toordinal()
        for block in range(self._block_count(ordinal)):
            yield from self._draw(ordinal, block)

    def _size(self, day: int) -> int:
        if self._lines_per_day is not None:
            return self._lines_per_day
        when = date.fromordinal(day)
        if (when.month, when.day) in ((12, 25), (1, 1)):
            return 0
        drawn = random.Random(f"{self._seed} {day} size").uniform(0.95, 1.1)
        return int(USUAL_LINES * WEEKDAY_SHARES[when.weekday()] * drawn)

    def _block_count(self, day: int) -> int:
        return -(-self._size(day) // BLOCK_LINES)

    def _hours(self, day: int, block: int) -> tuple[int, int]:
        count = self._block_count(day)
        begin, length = start_of(day) + OPENS, CLOSES - OPENS
        return begin + length * block // count, begin + length * (block + 1) // count

    def _blocks_between(self, start: int, end: int) -> Iterator[LineBlock]:
        for day in range(day_of(start), day_of(end - 1) + 1):
            for number in range(self._block_count(day)):
                opens, closes = self._hours(day, number)
                if closes > start and opens < end:
                    yield self._blocks.get((day, number), partial(self._block, day, number))

    def _block(self, day: int, block: int) -> LineBlock:
        return build_block(self._draw(day, block), iso_day(day))

    def _book(self, day: int) -> OrderBook:
        collector = OrderCollector()
        for block in range(self._block_count(day)):
            lines = self._draw(day, block)
            # A line that is given out twice is still one line of its order.
            collector.add({line.line_id: line for line in lines}.values())
        return OrderBook(collector.orders())

    def _draw(self, day: int, block: int) -> list[Line]:
        rng = random.Random(f"{self._seed} {day} {block}")
        size = min(BLOCK_LINES, self._size(day) - block * BLOCK_LINES)
        offers, weights = self._catalogue.range_on(day)
        drawn: list[Offer] = rng.choices(offers, cum_weights=weights, k=size)
        quantities = rng.choices(QUANTITIES, k=size)
        lines: list[Line] = []
        for number, (seconds, count) in enumerate(self._invoices(rng, day, block, size)):
            self._write_invoice(rng, day, block, number, seconds, drawn, quantities, count, lines)
        _soil(rng, lines)
        _break_rules(rng, lines)
        return lines

    def _invoices(self, rng: random.Random, day: int, block: int, size: int) -> Iterator[tuple[int, int]]:
        counts: list[int] = []
        left = size
        while left:
            counts.append(min(left, 1 + int(rng.expovariate(1 / 18))))
            left -= counts[-1]
        opens, closes = self._hours(day, block)
        times = sorted(rng.randrange(opens, closes) for _ in counts)
        return zip(times, counts, strict=True)

    def _write_invoice(
        self,
        rng: random.Random,
        day: int,
        block: int,
        number: int,
        seconds: int,
        drawn: list[Offer],
        quantities: list[int],
        count: int,
        lines: list[Line],
    ) -> None:
        cancelled = rng.random() < 0.05
        invoice = f"{'C' if cancelled else ''}{day * MOST_LINES + block * BLOCK_LINES + number}"
        customer_id, country = self._customer(rng, day)
        time, prefix = iso(seconds), f"{iso_day(day)}-"
        first = block * BLOCK_LINES
        for index in range(len(lines), len(lines) + count):
            code, description, price = drawn[index]
            quantity = -quantities[index] if cancelled else quantities[index]
            line_id = f"{prefix}{first + index}"
            lines.append(
                Line(line_id, invoice, code, description, quantity, price, time, customer_id, country)
            )

    def _customer(self, rng: random.Random, day: int) -> tuple[str | None, str]:
        if rng.random() < 0.15:
            return None, "United Kingdom"
        numbers = self._catalogue.customers_on(day)
        number = numbers[int(len(numbers) * rng.random() ** 1.5)]
        return str(FIRST_CUSTOMER_ID + number), self._catalogue.customer_country(number, day)

    def _spoil(self, order: Record) -> Record:
        """Give few orders the faults that real ones have; always the same faults to the same order."""
        roll = zlib.crc32(f"{self._seed} {order['order_id']}".encode()) % 1_000
        status = order["status"]
        if roll < 4:
            order["status"] = "on hold"
        elif roll < 8:
            order["currency"] = "£"
        elif roll < 10:
            order["total"] = "n/a"
        elif roll < 40:
            order["currency"] = None
        elif roll < 140:
            order["status"] = status.upper() if roll % 2 else status.capitalize()
        elif roll < 180:
            order["currency"] = "gbp"
        elif roll < 190 and status == "cancelled":
            order["status"] = "refunded"
        return order


def _soil(rng: random.Random, lines: list[Line]) -> None:
    """Dirt that breaks no rule: untrimmed and missing descriptions, prices of zero."""
    for share, change in ((0.2, _pad), (0.003, _undescribe), (0.005, _give_away)):
        for index in _some(rng, len(lines), share):
            lines[index] = change(lines[index])


def _break_rules(rng: random.Random, lines: list[Line]) -> None:
    """Dirt that a contract must catch, on some 0.8 % of the lines and never on more than 2 %."""
    chosen: list[tuple[int, int]] = []
    for kind in range(4):
        chosen += [(index, kind) for index in _some(rng, len(lines), 0.002)]
    for index, kind in chosen[: len(lines) // 50]:
        line = lines[index]
        if kind == 0:
            lines[index] = line._replace(country=None)
        elif kind == 1:
            lines[index] = line._replace(quantity=f"{line.quantity} pcs")
        elif kind == 2:
            lines[index] = line._replace(unit_price="-11.06")
        elif index:
            lines[index] = lines[index - 1]


def _some(rng: random.Random, size: int, share: float) -> list[int]:
    return rng.sample(range(size), min(size, int(size * share + rng.random())))


def _pad(line: Line) -> Line:
    return line._replace(description=f"{line.description} ")


def _undescribe(line: Line) -> Line:
    return line._replace(description=None)


def _give_away(line: Line) -> Line:
    return line._replace(unit_price="0.0")
