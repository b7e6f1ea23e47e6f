"""Ways in which a file can be damaged, for hypothesis to choose from.

What belongs here: changing bytes. What does not: what must become of it.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]


def _flip(place: float, bit: int) -> Damage:
    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[int(place * len(changed))] ^= 1 << bit
        return bytes(changed)

    return flip


def _cut(place: float) -> Damage:
    return lambda content: content[: int(place * len(content))]


def _blank(place: float, length: int) -> Damage:
    def blank(content: bytes) -> bytes:
        start = int(place * len(content))
        end = min(start + length, len(content))
        return content[:start] + bytes(end - start) + content[end:]

    return blank


_PLACES = st.floats(0, 1, exclude_max=True)

DAMAGES: st.SearchStrategy[Damage] = st.one_of(
    st.builds(_flip, _PLACES, st.integers(0, 7)),
    st.builds(_cut, _PLACES),
    st.builds(_blank, _PLACES, st.sampled_from([1, 16, 4096])),
)
"""A flipped bit, a file that ends early, a stretch of zeros: what bad disks and torn writes leave."""
