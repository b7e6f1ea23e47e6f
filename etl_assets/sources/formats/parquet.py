"""Parquet, read a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from etl_assets.sources.formats.header import checked_header
from etl_assets.sources.formats.text import BATCH_RECORDS, FileFormatError
from etl_assets.sources.values import json_value
from etl_assets.streams.base import Files

_DAMAGED = "it is no Parquet file, or is damaged"


def decode_parquet(file: BinaryIO, extract: Files) -> Iterator[list[Any]]:
    """Decode a Parquet file: an object per row, values as in `etl_assets.sources.values`.

    Args:
        file: The file.
        extract: Says which columns there must be.

    Raises:
        FileFormatError: If it is no Parquet file, or damaged, or lacks a column.
    """
    try:
        opened = pq.ParquetFile(file)
        names = checked_header(opened.schema_arrow.names, extract)
        for batch in opened.iter_batches(batch_size=BATCH_RECORDS):
            columns = [[json_value(value) for value in column.to_pylist()] for column in batch.columns]
            yield [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(_DAMAGED) from error


def count_parquet(file: BinaryIO, extract: Files) -> int:
    """Give the number of rows, from the file's own description.

    Raises:
        FileFormatError: If it is no Parquet file, or lacks a column.
    """
    try:
        opened = pq.ParquetFile(file)
        checked_header(opened.schema_arrow.names, extract)
        return int(opened.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(_DAMAGED) from error
