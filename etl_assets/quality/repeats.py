"""Finding repeated values of a column that must be unique, within a chunk and across the chunks of a partition.

A row repeats when an earlier row of the partition that keeps all other rules has the same value: a row that is
quarantined anyway takes nobody's place. How the partition is cut into chunks makes no difference.

What belongs here: telling repeats. What does not: the rules and the rows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]

_KEYS = ("etl-assets-first", "etl-assets-other")
"""Of the two hashes. Together they have 128 bits: two values that share both are not met within the life of a table."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Hashes of values, sorted by the first one."""

    first: Hashes
    second: Hashes

    @classmethod
    def of(cls, first: Hashes, second: Hashes) -> _Run:
        order = np.argsort(first, kind="stable")
        return cls(first[order], second[order])

    def merged(self, other: _Run) -> _Run:
        return _Run.of(np.concatenate([self.first, other.first]), np.concatenate([self.second, other.second]))

    def contains(self, first: Hashes, second: Hashes) -> Mask:
        places = np.minimum(np.searchsorted(self.first, first), len(self.first) - 1)
        return np.asarray((self.first[places] == first) & (self.second[places] == second))


class SeenValues:
    """The values of unique columns in the good rows so far: 16 bytes each, however long they are.

    A partition of a single chunk, the usual case, costs nothing: values are hashed when the next chunk comes.
    """

    def __init__(self) -> None:
        self._runs: defaultdict[str, list[_Run]] = defaultdict(list)
        self._waiting: dict[str, pd.Series[Any]] = {}

    def contains(self, column: str, values: pd.Series[Any]) -> Mask:
        """Tell which values were there in an earlier chunk.

        Args:
            column: Name of the column.
            values: Values without missing ones.
        """
        self._take_waiting(column)
        found = np.zeros(len(values), dtype=bool)
        runs = self._runs[column]
        if runs and len(values):
            first, second = _hashes(values)
            for run in runs:
                found |= run.contains(first, second)
        return found

    def add(self, column: str, values: pd.Series[Any]) -> None:
        """Remember the values of a chunk's good rows."""
        self._take_waiting(column)
        self._waiting[column] = values

    def _take_waiting(self, column: str) -> None:
        values = self._waiting.pop(column, None)
        if values is None or values.empty:
            return
        runs = self._runs[column]
        runs.append(_Run.of(*_hashes(values)))
        # Runs of like size are merged, so that there are few of them and each value is moved a few times only.
        while len(runs) > 1 and len(runs[-2].first) < 2 * len(runs[-1].first):
            last = runs.pop()
            runs[-1] = runs[-1].merged(last)


def find_repeats(column: str, values: pd.Series[Any], otherwise_bad: Mask, seen: SeenValues) -> Mask:
    """Tell which rows of a chunk repeat a value.

    Args:
        column: Name of the column.
        values: Its values in this chunk; missing ones repeat nothing.
        otherwise_bad: Rows that break another rule.
        seen: Values of earlier chunks; those of this one are added.
    """
    present = values.notna().to_numpy(dtype=bool)
    repeats = np.zeros(len(values), dtype=bool)
    repeats[present] = seen.contains(column, values[present])
    if values[present].duplicated().any():
        repeats |= present & _repeats_within(values, otherwise_bad)
    seen.add(column, values[present & ~otherwise_bad])
    return repeats


def _repeats_within(values: pd.Series[Any], otherwise_bad: Mask) -> Mask:
    codes, uniques = pd.factorize(values)
    positions = np.arange(len(values))
    first_good = np.full(len(uniques) + 1, len(values))
    good = ~otherwise_bad
    np.minimum.at(first_good, codes[good], positions[good])
    return np.asarray(positions > first_good[codes])


def _hashes(values: pd.Series[Any]) -> tuple[Hashes, Hashes]:
    objects = values.to_numpy(dtype=object)
    first, second = (pd.util.hash_array(objects, hash_key=key, categorize=False) for key in _KEYS)
    return first, second
