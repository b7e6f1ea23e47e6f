"""What is measured of a staged day that is in memory as a whole, without asking an engine to read its file.

What belongs here: the numbers of `statistics`, made with Arrow and numpy. What does not: which numbers are wanted, and
days of any size (`statistics`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]


def is_countable(kind: pa.DataType) -> bool:
    """Whether values of this type are counted here: those that have one spelling only."""
    return bool(pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind))


def values_of(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Count the values of a column that is countable, missing ones left out; most frequent first, then by value."""
    counted = pc.value_counts(column.drop_null())
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    spelled = (
        (str(value).lower() if isinstance(value, bool) else str(value), count) for value, count in pairs
    )
    return sorted(spelled, key=lambda pair: (-pair[1], pair[0]))


def numbers_of(column: pa.ChunkedArray) -> Floats | None:
    """Give the values of a column of numbers, sorted, missing ones left out; None if one is not finite."""
    values: Floats = pc.cast(column.drop_null(), pa.float64()).to_numpy()
    values = np.sort(values)
    # Infinities sort to the ends, what is not a number to the last.
    return values if len(values) == 0 or (np.isfinite(values[0]) and np.isfinite(values[-1])) else None


def quantile(ordered: Floats, share: float) -> float:
    """Interpolate between the two nearest of sorted values, at least one, to the last bit as the engine does."""
    place = (len(ordered) - 1) * share
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low * (1.0 - (place - below)) + high * (place - below)


def mean_of_middle(ordered: Floats) -> float | None:
    """Give the mean of the values between the quartiles, which belong to them."""
    if not len(ordered):
        return None
    first, last = quantile(ordered, 0.25), quantile(ordered, 0.75)
    middle = ordered[np.searchsorted(ordered, first, "left") : np.searchsorted(ordered, last, "right")]
    return float(middle.mean()) if len(middle) else None


def deviation(ordered: Floats) -> float:
    """Give the median distance from the median."""
    return quantile(np.sort(np.abs(ordered - quantile(ordered, 0.5))), 0.5)


def far_from(ordered: Floats, center: float, distance: float) -> int:
    """Count the values that are farther away than that."""
    return int(np.count_nonzero(np.abs(ordered - center) > distance))


def span_of_days(column: pa.ChunkedArray) -> tuple[Any, Any]:
    """Give the first and last day of a column of times or days; None where there are none."""
    kind = pa.date32()
    ends = pc.min_max(column)
    first, last = (
        None if not ends[end].is_valid else pc.cast(ends[end], kind, safe=False).as_py()
        for end in ("min", "max")
    )
    return first, last
