"""Raw records as a DataFrame of object columns, values as in the source's JSON.

What belongs here: giving the transform a frame it can rely on. What does not: parsing values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd


def raw_frame(records: Sequence[dict[str, Any]], fields: Iterable[str]) -> pd.DataFrame:
    """Make a frame of raw records.

    Args:
        records: Decoded JSON objects.
        fields: Fields that must exist as columns even when no record has them.

    Returns:
        One row per record, index 0 to n-1; every field that any record has, absent values as None.
    """
    names = dict.fromkeys(fields)
    for record in records:
        # Most records have the same fields, so that the comparison alone is nearly always enough.
        if not record.keys() <= names.keys():
            names.update(dict.fromkeys(record))
    columns = {name: [record.get(name) for record in records] for name in names}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(records)), dtype=object)


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
