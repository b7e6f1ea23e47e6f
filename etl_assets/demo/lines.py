"""Order lines as pages: sorted blocks of serialised records, and the cursor that walks them.

What belongs here: building a block, paging over blocks, the cursor. What does not: where lines come from.

A cursor names the last line given out by its key and not by a position, so it stays right when lines are
added before or after it.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from etl_assets.demo.shop import CursorError, Line, LinePage, iso, seconds_of

BETWEEN = b'},{"line_id":'
TIME_LENGTH = 20


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Some successive lines of a shop.

    Attributes:
        keys: ``invoiced_at line_id`` of each line, ascending.
        body: The lines as JSON objects in the same order, separated by commas.
    """

    keys: list[str]
    body: bytes

    @property
    def weight(self) -> int:
        """About how many bytes the block takes in memory; a key takes some 100."""
        return len(self.body) + 100 * len(self.keys)

    def count(self, start: int, end: int) -> int:
        """How many of the lines lie in a window of seconds."""
        return bisect_left(self.keys, iso(end)) - bisect_left(self.keys, iso(start))

    def cut(self, low: int, high: int) -> bytes:
        """The lines from `low` to before `high` as JSON objects, separated by commas."""
        if low == 0 and high == len(self.keys):
            return self.body
        # No string of a record can hold this separator: a quotation mark within one is always escaped.
        cut = BETWEEN.join(self.body.split(BETWEEN)[low:high])
        return (BETWEEN[2:] if low else b"") + cut + (b"}" if high < len(self.keys) else b"")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: the key of its last line, and how many lines of that very key were given out."""

    key: str
    seen: int

    @property
    def time(self) -> int:
        """The second of the last line."""
        return seconds_of(self.key[:TIME_LENGTH])

    def encode(self) -> str:
        """The cursor as opaque, URL-safe text."""
        return base64.urlsafe_b64encode(f"{self.seen} {self.key}".encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Read a cursor that `encode` wrote.

        Raises:
            CursorError: If the text is anything else.
        """
        try:
            plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
            seen, _, key = plain.partition(" ")
            cursor = cls(key, int(seen))
            cursor.time  # noqa: B018 - raises when the key does not begin with a time
        except (ValueError, binascii.Error, OverflowError):
            raise CursorError("cursor is not one that this server gave out; begin again without it") from None
        return cursor


def build_block(lines: Sequence[Line], day: str) -> LineBlock:
    """Sort and serialise lines of one day.

    A line whose time is unreadable or of another day takes its place at the start of the day: it is given out
    with the day that it was filed under, unchanged.

    Args:
        lines: Lines of one day, in any order.
        day: The day, ``YYYY-MM-DD``.
    """
    midnight = f"{day}T00:00:00Z"
    prefix = f"{day}T"
    keys = []
    for line in lines:
        time = line.invoiced_at
        if time is None or len(time) != TIME_LENGTH or not time.startswith(prefix):
            time = midnight
        keys.append(f"{time} {line.line_id}")
    order = sorted(range(len(keys)), key=keys.__getitem__)
    records = [
        {
            "line_id": line_id,
            "invoice_no": invoice,
            "stock_code": stock,
            "description": description,
            "quantity": quantity,
            "unit_price": price,
            "invoiced_at": time,
            "customer_id": customer,
            "country": country,
        }
        for line_id, invoice, stock, description, quantity, price, time, customer, country in map(
            lines.__getitem__, order
        )
    ]
    # Serialised at once and cut up when needed: that is faster and far smaller than one object a line.
    return LineBlock([keys[index] for index in order], orjson.dumps(records)[1:-1])


def page_of(blocks: Iterable[LineBlock], start: int, end: int, cursor: Cursor | None, limit: int) -> LinePage:
    """Cut one page out of successive blocks, which are pulled only as far as the page needs them.

    Args:
        blocks: Blocks in ascending order of their keys.
        start: First second of the window.
        end: First second after the window.
        cursor: Where the page before ended.
        limit: Greatest number of lines.
    """
    start_key, end_key = iso(start), iso(end)
    parts: list[bytes] = []
    count = 0
    last: Cursor | None = None
    for block in blocks:
        keys = block.keys
        low = bisect_left(keys, start_key)
        if cursor is not None:
            low = max(low, min(bisect_left(keys, cursor.key) + cursor.seen, bisect_right(keys, cursor.key)))
        high = bisect_left(keys, end_key)
        if low >= high:
            continue
        stop = min(high, low + limit - count)
        if stop > low:
            parts.append(block.cut(low, stop))
            count += stop - low
            last = Cursor(keys[stop - 1], stop - bisect_left(keys, keys[stop - 1]))
        if stop < high:
            return LinePage(b",".join(parts), count, last.encode() if last else None)
    return LinePage(b",".join(parts), count, None)
