"""Unpacking compressed files while they are read.

What belongs here: one way per compression, and their errors made one. What does not: formats.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa

from etl_assets.sources.formats.text import FileFormatError
from etl_assets.streams.extract import Compression

_ENDINGS: dict[str, Compression] = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".zstd": "zstd"}


def compression_of(name: str, declared: Compression) -> Compression:
    """Give a file's compression, by its ending where it is not declared."""
    if declared != "infer":
        return declared
    return next((kind for ending, kind in _ENDINGS.items() if name.lower().endswith(ending)), "none")


def unpacked(file: BinaryIO, compression: Compression, *, chunk: int) -> Iterator[bytes]:
    """Read a file in chunks, unpacked.

    Args:
        file: The file; only read from front to back.
        compression: How it is packed.
        chunk: Bytes at a time, at most.

    Raises:
        FileFormatError: If it is packed otherwise, damaged or cut off.
    """
    reader = _reader(file, compression)
    while True:
        try:
            data = bytes(reader.read(chunk))
        except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
            raise FileFormatError(f"it is no {compression} file, or is damaged or cut off") from error
        if not data:
            return
        yield data


def _reader(file: BinaryIO, compression: Compression) -> Any:
    if compression == "gzip":
        return gzip.GzipFile(fileobj=file, mode="rb")
    if compression == "bz2":
        return bz2.BZ2File(file, "rb")
    if compression == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(cast(Any, file), mode="r"), "zstd")
    return file
