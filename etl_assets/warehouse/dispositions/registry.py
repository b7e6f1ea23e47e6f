"""Which disposition a stream's declaration asks for.

What belongs here: the choice. What does not: the dispositions.
"""

from __future__ import annotations

from etl_assets.streams.write import Append, Cdc, Merge, ReplacePartition, Snapshot, WriteDisposition
from etl_assets.warehouse.dispositions.append import AppendRows
from etl_assets.warehouse.dispositions.base import Disposition
from etl_assets.warehouse.dispositions.cdc import ApplyChanges
from etl_assets.warehouse.dispositions.merge import MergeRows
from etl_assets.warehouse.dispositions.replace_partition import ReplaceRows
from etl_assets.warehouse.dispositions.snapshot import ApplySnapshot


def disposition_of(write: WriteDisposition) -> Disposition:
    """Give the disposition that a declaration stands for."""
    match write:
        case ReplacePartition():
            return ReplaceRows()
        case Merge():
            return MergeRows(key=write.key_columns, version=write.version)
        case Append():
            return AppendRows()
        case Cdc():
            return ApplyChanges(write)
        case Snapshot():
            return ApplySnapshot(write)
