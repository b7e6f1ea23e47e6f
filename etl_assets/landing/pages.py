"""The pages file: the bodies of a partition's answers, each a zstd frame of its own.

What belongs here: compressing one page, and reading one back. What does not: which pages there are
(`etl_assets.landing.manifest`).
"""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO

from etl_assets.landing.manifest import PageEntry

PAGES_FILE = "pages.zst"

COMPRESSION_LEVEL = 1
"""JSON shrinks 10- to 25-fold already at the fastest level; higher ones cost time and save little."""


class DamagedPageError(Exception):
    """A page cannot be read back as it came."""


def codec() -> Any:
    """Give what compresses and decompresses pages."""
    # Most who ask what has landed read none of it.
    import pyarrow as pa

    return pa.Codec("zstd", compression_level=COMPRESSION_LEVEL)


def read_page(file: BinaryIO, page: PageEntry, decompressor: Any) -> bytes:
    """Read one body, and make sure that it is the one that came.

    Args:
        file: The opened pages file.
        page: The page.
        decompressor: From `codec`.

    Raises:
        DamagedPageError: If it cannot be read back as it came.
    """
    try:
        file.seek(page.offset)
        frame = file.read(page.compressed_bytes)
        body: bytes = decompressor.decompress(frame, page.raw_bytes, asbytes=True)
    except (OSError, ValueError, OverflowError) as error:
        raise DamagedPageError from error
    if len(body) != page.raw_bytes or zlib.crc32(body) != page.crc32:
        raise DamagedPageError
    return body
