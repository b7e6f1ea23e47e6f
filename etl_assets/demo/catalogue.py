"""The generated shop's products and customers: fixed functions of a number, a seed and a day.

What belongs here: which products and customers there are on a day, what they are like then, and the feed of
product changes. What does not: orders and their lines.

Nothing is remembered: any day can be asked for first, and the answers always agree.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from etl_assets.demo.people import contact, words
from etl_assets.demo.shop import Record, iso_day, start_of
from etl_assets.demo.shop import iso as iso_time

OPENING = date(2009, 12, 1).toordinal()
FIRST_PRODUCTS = 600
DAYS_PER_NEW_PRODUCT = 3
FIRST_CUSTOMERS = 500
DAYS_PER_NEW_CUSTOMER = 2
FIRST_CUSTOMER_ID = 12_000
ADJECTIVES = words(
    "WHITE RED VINTAGE GLASS WOODEN RETRO MINI JUMBO ROSE IVORY TIN KNITTED ENAMEL PAPER SILVER PINK"
)
MOTIFS = words(
    "HEART STAR UNION-FLAG POLKADOT OWL ROBIN STRAWBERRY SPACEBOY FELTCRAFT TOADSTOOL BIRDCAGE LACE"
)
NOUNS = words(
    "LANTERN,T-LIGHT HOLDER,LUNCH BAG,CAKE STAND,HOT WATER BOTTLE,ALARM CLOCK,DOORMAT,MUG,JAM JAR,GIFT TAPE,"
    "CUSHION COVER,PHOTO FRAME,NAPKINS,COAT HANGER,TRINKET BOX,BUNTING,TEA TOWEL,MONEY BOX",
    ",",
)
COUNTRIES = words(
    "United Kingdom,United Kingdom,United Kingdom,United Kingdom,Germany,France,EIRE,"
    "Spain,Netherlands,Belgium,Switzerland,Portugal,Australia,Norway,Italy,Finland,Japan,Channel Islands",
    ",",
)


class Offer(NamedTuple):
    """A product as it is on a day; `price` is a decimal string."""

    stock_code: str
    description: str
    price: str


class Range(NamedTuple):
    """The products on offer on a day and, for drawing among them, their cumulated weights."""

    offers: list[Offer]
    weights: list[float]


def stock_code_of(number: int) -> str:
    """The stock code of a product: the same whatever the seed."""
    return f"{20_000 + number}{'ABCD'[number // 7 % 4] if number % 7 == 0 else ''}"


def is_kept_for_good(number: int) -> bool:
    """Whether a product is never withdrawn."""
    return number % 3 == 0


class Catalogue:
    """Products and customers of a generated shop.

    Args:
        seed: Any number; another one makes another shop.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._changes: list[Record] = []
        self._change_times: list[str] = []
        self._changes_year = 0
        self.range_on = lru_cache(maxsize=16)(self._range_on)
        self.customers_on = lru_cache(maxsize=16)(self._customers_on)

    def product_changes(
        self, start: int, end: int, after_lsn: int, until: int
    ) -> tuple[list[Record], int, int]:
        """The feed of changes, and which slice of it is asked for.

        Args:
            start: First second of the window.
            end: First second after it.
            after_lsn: Sequence number after which to begin.
            until: The latest day, an ordinal, that the feed must reach.

        Returns:
            All changes known, and the first and the last-plus-one index of those asked for.
        """
        year = max(date.fromordinal(until).year, date.fromordinal(OPENING).year)
        if year > self._changes_year:
            self._changes = list(self._all_changes(date(year, 12, 31).toordinal()))
            self._change_times = [change["ts"] for change in self._changes]
            self._changes_year = year
        low = max(bisect_left(self._change_times, iso_time(start)), after_lsn)
        return self._changes, low, bisect_left(self._change_times, iso_time(end))

    def customer_country(self, number: int, day: int) -> str:
        """Where a customer lives on a day; one in forty moves, once."""
        country = COUNTRIES[self._roll("country", number) % len(COUNTRIES)]
        if number % 40 == 7 and day >= self._joined(number) + 200 + self._roll("move", number) % 600:
            country = COUNTRIES[self._roll("new country", number) % len(COUNTRIES)]
        return country

    def customer_record(self, number: int, day: int) -> Record:
        """A customer as the API gives it on a day; one in twenty-five gets a new e-mail address, once."""
        customer_id = str(FIRST_CUSTOMER_ID + number)
        moved = number % 25 == 3 and day >= self._joined(number) + 300
        return {
            "customer_id": customer_id,
            **contact(customer_id, int(moved)),
            "country": self.customer_country(number, day),
            "first_seen_on": iso_day(min(self._joined(number), day)),
        }

    def _customers_on(self, day: int) -> list[int]:
        count = FIRST_CUSTOMERS + max(0, (day - OPENING) // DAYS_PER_NEW_CUSTOMER)
        return [number for number in range(count) if not self._has_left(number, day)]

    def _joined(self, number: int) -> int:
        return OPENING + (number - FIRST_CUSTOMERS + 1) * DAYS_PER_NEW_CUSTOMER

    def _has_left(self, number: int, day: int) -> bool:
        return number % 12 == 5 and day >= self._joined(number) + 400 + self._roll("leave", number) % 1500

    def _range_on(self, day: int) -> Range:
        count = FIRST_PRODUCTS + max(0, (day - OPENING) // DAYS_PER_NEW_PRODUCT)
        alive = [number for number in range(count) if day < self._withdrawn(number)]
        weights = accumulate(1.0 / (5 + self._roll("popularity", number) % 200) for number in alive)
        return Range([self._offer(number, self._revision(number, day)) for number in alive], list(weights))

    def _introduced(self, number: int) -> int:
        return OPENING + max(0, (number - FIRST_PRODUCTS + 1) * DAYS_PER_NEW_PRODUCT)

    def _withdrawn(self, number: int) -> int:
        if is_kept_for_good(number):
            return date.max.toordinal()
        return self._introduced(number) + 500 + self._roll("withdrawn", number) % 2500

    def _period(self, number: int) -> int:
        return 40 + self._roll("period", number) % 160

    def _revision(self, number: int, day: int) -> int:
        return max(0, (day - self._introduced(number)) // self._period(number))

    def _offer(self, number: int, revision: int) -> Offer:
        roll = self._roll("looks", number)
        noun = NOUNS[roll % len(NOUNS)]
        motif = MOTIFS[roll // 31 % len(MOTIFS)]
        adjective = ADJECTIVES[roll // 977 % len(ADJECTIVES)]
        suffix = ("", " NEW DESIGN", " SET")[revision // 3 % 3]
        cents = 29 + self._roll("price", number) % 1200
        cents = max(1, cents * (100 + ((revision * 7 + number) % 11 - 5) * 2) // 100)
        price = f"{cents // 100}.{cents % 100:02d}"
        return Offer(stock_code_of(number), f"{adjective} {motif} {noun}{suffix}", price)

    def _all_changes(self, last_day: int) -> Iterator[Record]:
        events: list[tuple[int, int, int]] = []
        for number in range(FIRST_PRODUCTS + max(0, (last_day - OPENING) // DAYS_PER_NEW_PRODUCT)):
            begin, end, period = self._introduced(number), self._withdrawn(number), self._period(number)
            days = range(begin, min(end, last_day + 1), period)
            events += [(day, number, revision) for revision, day in enumerate(days)]
            if end <= last_day:
                events.append((end, number, -1))
        events.sort()
        previous, place = 0, 0
        for lsn, (day, number, revision) in enumerate(events, start=1):
            place = place + 1 if day == previous else 0
            previous = day
            offer = self._offer(number, max(revision, 0))
            after = {
                "stock_code": offer.stock_code,
                "description": offer.description,
                "unit_price": offer.price,
            }
            yield {
                "lsn": lsn,
                "op": "D" if revision < 0 else "U" if revision else "I",
                "ts": iso_time(start_of(day) + 6 * 3_600 + place),
                "product_id": offer.stock_code,
                "after": None if revision < 0 else after,
            }

    def _roll(self, what: str, number: int) -> int:
        return zlib.crc32(f"{self._seed} {what} {number}".encode())
