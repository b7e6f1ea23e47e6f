"""Raw records as a DataFrame of object columns, values as in the source's JSON.

What belongs here: giving the transform a frame it can rely on. What does not: parsing values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd


def raw_frame(records: Sequence[dict[str, Any]], fields: Iterable[str]) -> pd.DataFrame:
    """Make a frame of raw records.

    Args:
        records: Decoded JSON objects.
        fields: Fields that must exist as columns even when no record has them.

    Returns:
        One row per record, index 0 to n-1; every field that any record has, absent values as None.
    """
    count = len(records)
    shared = _shared_fields(records)
    if shared is None:
        names = dict.fromkeys(chain(fields, chain.from_iterable(records)))
        columns: dict[str, Any] = {name: [record.get(name) for record in records] for name in names}
    else:
        columns = {name: np.full(count, None, dtype=object) for name in fields}
        for name in shared:
            columns[name] = np.fromiter(map(itemgetter(name), records), dtype=object, count=count)
    return pd.DataFrame(columns, index=pd.RangeIndex(count), dtype=object)


def field_names(records: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Give the names of all fields, in the order in which they occur."""
    shared = _shared_fields(records)
    return tuple(shared if shared is not None else dict.fromkeys(chain.from_iterable(records)))


def _shared_fields(records: Sequence[dict[str, Any]]) -> Collection[str] | None:
    """Give the fields of all records if all have the same, as most have; found without a step of Python's for each."""
    if not records:
        return ()
    first = records[0].keys()
    return first if all(map(first.__eq__, map(dict.keys, records))) else None


def separate_objects(records: Sequence[Any]) -> tuple[list[dict[str, Any]], list[int], list[int]]:
    """Tell records that are JSON objects from those that are not.

    Returns:
        The objects, their positions, and the positions of everything else.
    """
    if set(map(type, records)) <= {dict}:
        return list(records), list(range(len(records))), []
    objects, positions, others = [], [], []
    for position, record in enumerate(records):
        if isinstance(record, dict):
            objects.append(record)
            positions.append(position)
        else:
            others.append(position)
    return objects, positions, others
