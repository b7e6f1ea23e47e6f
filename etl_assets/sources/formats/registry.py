"""The file formats by the names that declarations use.

Some formats are read from front to back while the bytes come, others only when the whole file is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from etl_assets.sources.formats.csv import decode_csv
from etl_assets.sources.formats.excel import count_excel, decode_excel
from etl_assets.sources.formats.ndjson import decode_ndjson
from etl_assets.sources.formats.parquet import count_parquet, decode_parquet
from etl_assets.streams.base import Files

StreamedFormat = Callable[[Iterator[bytes], Files], Iterator[list[Any]]]


@dataclass(frozen=True, slots=True)
class WholeFormat:
    """A format that needs the whole file.

    Attributes:
        decode: Gives the records of a file.
        count: Gives their number, more cheaply.
    """

    decode: Callable[[BinaryIO, Files], Iterator[list[Any]]]
    count: Callable[[BinaryIO, Files], int]


STREAMED: Mapping[str, StreamedFormat] = {"csv": decode_csv, "ndjson": decode_ndjson}
WHOLE: Mapping[str, WholeFormat] = {
    "parquet": WholeFormat(decode_parquet, count_parquet),
    "excel": WholeFormat(decode_excel, count_excel),
}
