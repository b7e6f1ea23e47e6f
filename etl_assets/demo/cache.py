"""A small least-recently-used cache that is bounded by weight.

What belongs here: the cache. What does not: what is kept in it. It is not thread-safe; the server asks a shop
from one thread only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class WeightedCache(Generic[Key, Value]):
    """Keeps the values used last, up to a total weight, and always at least the newest one.

    Args:
        capacity: Greatest total weight.
        weigh: Weight of a value, in the unit of `capacity`.
    """

    def __init__(self, capacity: int, weigh: Callable[[Value], int]) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._weight = 0

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Give the value of a key, made now if it is not kept."""
        value = self.find(key)
        if value is None:
            value = make()
            self.keep(key, value)
        return value

    def find(self, key: Key) -> Value | None:
        """Give the value of a key, if it is kept."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def keep(self, key: Key, value: Value) -> None:
        """Keep a value, in the place of one that its key may have."""
        _, before = self._entries.pop(key, (None, 0))
        weight = self._weigh(value)
        self._entries[key] = (value, weight)
        self._weight += weight - before
        while self._weight > self._capacity and len(self._entries) > 1:
            _, (_, dropped) = self._entries.popitem(last=False)
            self._weight -= dropped
