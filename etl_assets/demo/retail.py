"""The shop made of retail day files.

What belongs here: finding and reading day files ``YYYY-MM-DD.csv``, and what they say about lines, orders,
customers and products. What does not: paging and the course of orders, which all shops share.

Lines are read lazily, a day when it is first asked for. Orders, customers and products need every file once;
they are indexed on first need (541,909 lines take a few seconds) and again when the files change.
"""

from __future__ import annotations

import csv
import os
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from etl_assets.demo.cache import WeightedCache
from etl_assets.demo.lines import Cursor, LineBlock, build_block, page_of
from etl_assets.demo.orders import OrderBook, OrderCollector, in_order
from etl_assets.demo.people import contact
from etl_assets.demo.shop import ChangePage, CustomerPage, Line, LinePage, OrderPage, Record, day_of, iso_day
from etl_assets.demo.shop import iso as iso_time
from etl_assets.failures import ConfigurationError

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
CACHE_BYTES = 64_000_000


class DayFile(NamedTuple):
    """A day file as it was when last looked at."""

    path: str
    changed_ns: int
    size: int


@dataclass(slots=True)
class _Customer:
    first_seen_on: str
    times: list[str] = field(default_factory=list)
    countries: list[str | None] = field(default_factory=list)


@dataclass(slots=True)
class _Index:
    files: tuple[DayFile, ...]
    book: OrderBook
    customers: list[tuple[str, _Customer]]
    changes: list[Record]
    change_times: list[str]


class RetailShop:
    """Serves what a folder of day files holds, and follows changes of the folder.

    Args:
        folder: The folder.

    Raises:
        ConfigurationError: If there is no such folder, or no day file in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._days: list[str] = []
        self._listed_ns = -1
        self._index: _Index | None = None
        self._blocks: WeightedCache[DayFile, LineBlock] = WeightedCache(
            CACHE_BYTES, lambda block: block.weight
        )
        if not folder.is_dir():
            raise ConfigurationError(
                f"no such folder: {folder}", hint="give a folder of day files YYYY-MM-DD.csv"
            )
        if not self._list_days():
            raise ConfigurationError(
                f"no day files in {folder}", hint="the folder must hold files named YYYY-MM-DD.csv"
            )

    @property
    def label(self) -> str:
        """How many day files there are, and from when to when."""
        days = self._list_days()
        return f"{len(days)} retail day files, {days[0]} to {days[-1]}" if days else "no retail day files"

    @property
    def first_day(self) -> date:
        """The day of the first file."""
        return date.fromisoformat(self._list_days()[0])

    def lines(self, start: int, end: int, cursor: str | None, limit: int, now: int) -> LinePage:
        """Order lines by (invoiced_at, line_id); see `Shop.lines`."""
        place = Cursor.decode(cursor) if cursor else None
        end = min(end, now + 1)
        if end <= start:
            return LinePage(b"", 0, None)
        first = iso_day(day_of(max(start, place.time if place else start)))
        return page_of(self._blocks_between(first, iso_day(day_of(end - 1))), start, end, place, limit)

    def count_lines(self, start: int, end: int, now: int) -> int:
        """Lines of the window; see `Shop.count_lines`."""
        end = min(end, now + 1)
        if end <= start:
            return 0
        blocks = self._blocks_between(iso_day(day_of(start)), iso_day(day_of(end - 1)))
        return sum(block.count(start, end) for block in blocks)

    def lines_version(self, start: int, end: int, now: int) -> Hashable:
        """The files that hold the window; see `Shop.lines_version`."""
        end = min(end, now + 1)
        if end <= start:
            return end
        return end, *self._files_between(iso_day(day_of(start)), iso_day(day_of(end - 1)))

    def orders(self, start: int, end: int, offset: int, limit: int, now: int) -> OrderPage:
        """Orders updated in the window, by (updated_at, order_id); see `Shop.orders`."""
        states = in_order(self._indexed().book.states(start, end, now))
        page = states[offset : offset + limit]
        return OrderPage([state.record() for state in page], offset + limit < len(states), len(states))

    def customers(self, offset: int, limit: int, now: int) -> CustomerPage:
        """Customers with a line so far, by customer_id; see `Shop.customers`."""
        present = iso_time(now)
        known = [entry for entry in self._indexed().customers if entry[1].times[0] <= present]
        items = []
        for customer_id, customer in known[offset : offset + limit]:
            country = customer.countries[bisect_right(customer.times, present) - 1]
            items.append(
                {
                    "customer_id": customer_id,
                    **contact(customer_id),
                    "country": country,
                    "first_seen_on": customer.first_seen_on,
                }
            )
        return CustomerPage(items, len(known))

    def product_changes(self, start: int, end: int, after_lsn: int, limit: int, now: int) -> ChangePage:
        """Changes of products, by lsn; see `Shop.product_changes`."""
        index = self._indexed()
        low = max(bisect_left(index.change_times, iso_time(start)), after_lsn)
        high = bisect_left(index.change_times, iso_time(min(end, now + 1)))
        changes = index.changes[low : min(high, low + limit)] if low < high else []
        return ChangePage(changes, changes[-1]["lsn"] if changes else after_lsn, low + limit < high)

    def _list_days(self) -> list[str]:
        changed = self._folder.stat().st_mtime_ns if self._folder.is_dir() else 0
        if changed != self._listed_ns:
            names = (name.removesuffix(".csv") for name in os.listdir(self._folder) if name.endswith(".csv"))
            self._days, self._listed_ns = sorted(name for name in names if _is_day(name)), changed
        return self._days

    def _blocks_between(self, first: str, last: str) -> Iterator[LineBlock]:
        for file in self._files_between(first, last):
            yield self._blocks.get(file, partial(_read_block, Path(file.path)))

    def _files_between(self, first: str, last: str) -> Iterator[DayFile]:
        days = self._list_days()
        for day in days[bisect_left(days, first) : bisect_right(days, last)]:
            yield self._look_at(day)

    def _look_at(self, day: str) -> DayFile:
        path = f"{self._folder}{os.sep}{day}.csv"
        state = os.stat(path)  # for every file and request: far faster than by a Path
        return DayFile(path, state.st_mtime_ns, state.st_size)

    def _indexed(self) -> _Index:
        files = tuple(self._look_at(day) for day in self._list_days())
        if self._index is None or self._index.files != files:
            self._index = _build_index(files)
        return self._index


def _read_block(path: Path) -> LineBlock:
    return build_block(read_day(path), path.stem)


def read_day(path: Path) -> list[Line]:
    """Read one day file.

    Args:
        path: A CSV file in UTF-8 with the columns of `COLUMNS`, in any order, named ``YYYY-MM-DD.csv``.

    Returns:
        Its lines in the order of the file, values unchanged but for: empty fields are None, quantities are
        int where they parse, ids lose a trailing ``.0``, and times are written as RFC 3339.

    Raises:
        ConfigurationError: If a column is missing, a row is too short, or the file is not UTF-8 text.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, [])
            pick = itemgetter(*(header.index(column) for column in COLUMNS))
            return _lines(path.stem, [pick(row) for row in reader if row])
        except UnicodeDecodeError:
            problem = "it is not UTF-8 text"
        except ValueError:
            problem = f"its first row must name the columns {', '.join(COLUMNS)}"
        except (IndexError, csv.Error):
            problem = f"row {reader.line_num} is not a row of {len(header)} fields"
    raise ConfigurationError(f"cannot read the day file {path}: {problem}", hint="correct or remove the file")


def _lines(day: str, rows: list[tuple[str, ...]]) -> list[Line]:
    # Column by column: a day file is read about twice as fast as row by row.
    if not rows:
        return []
    invoices, stocks, descriptions, quantities, times, prices, customers, countries = zip(*rows, strict=True)
    columns = (
        (f"{day}-{number}" for number in range(len(rows))),
        map(_or_none, invoices),
        map(_or_none, stocks),
        map(_or_none, descriptions),
        _counts(quantities),
        map(_or_none, prices),
        map({time: _rfc3339(time) for time in set(times)}.__getitem__, times),
        [customer.removesuffix(".0") or None for customer in customers],
        map(_or_none, countries),
    )
    return list(map(Line._make, zip(*columns, strict=True)))


def _or_none(text: str) -> str | None:
    return text or None


def _counts(texts: Sequence[str]) -> Sequence[int | str | None]:
    try:
        return list(map(int, texts))
    except ValueError:
        return [_count(text) for text in texts]


def _count(text: str) -> int | str | None:
    try:
        return int(text)
    except ValueError:
        return text or None


def _rfc3339(text: str) -> str | None:
    if len(text) == 19 and text[10] == " ":
        return f"{text[:10]}T{text[11:]}Z"
    return text or None


def _is_day(name: str) -> bool:
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False


def _build_index(files: tuple[DayFile, ...]) -> _Index:
    orders = OrderCollector()
    customers: dict[str, _Customer] = {}
    descriptions: dict[str, str | None] = {}
    changes: list[Record] = []
    for file in files:
        path = Path(file.path)
        lines = read_day(path)
        orders.add(lines)
        prefix = f"{path.stem}T"
        dated = [
            line for line in lines if line.invoiced_at is not None and line.invoiced_at.startswith(prefix)
        ]
        dated.sort(key=_time)
        _follow_customers(customers, dated)
        _follow_products(descriptions, changes, dated)
    change_times = [change["ts"] for change in changes]
    return _Index(files, OrderBook(orders.orders()), sorted(customers.items()), changes, change_times)


def _time(line: Line) -> str:
    return line.invoiced_at or ""


def _follow_customers(customers: dict[str, _Customer], lines: list[Line]) -> None:
    for line in lines:
        if line.customer_id is None:
            continue
        time = _time(line)
        customer = customers.get(line.customer_id)
        if customer is None:
            customer = customers[line.customer_id] = _Customer(first_seen_on=time[:10])
        if not customer.times or customer.countries[-1] != line.country:
            customer.times.append(time)
            customer.countries.append(line.country)


def _follow_products(descriptions: dict[str, str | None], changes: list[Record], lines: list[Line]) -> None:
    for line in lines:
        code = line.stock_code
        if code is None:
            continue
        description = (line.description or "").strip() or None
        if code not in descriptions:
            operation = "I"
        elif description is not None and descriptions[code] != description:
            operation = "U"
        else:
            continue
        descriptions[code] = description
        after = {"stock_code": code, "description": description, "unit_price": line.unit_price}
        changes.append(
            {"lsn": len(changes) + 1, "op": operation, "ts": _time(line), "product_id": code, "after": after}
        )
