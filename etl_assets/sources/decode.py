"""From landed pages to records, for every kind of extraction.

A file's pages are its bytes, cut anywhere, with an empty page after the last one: it is what tells two files of a day
apart. What belongs here: choosing the format, and finding the files in the pages. What does not: reading a format
(`etl_assets.sources.formats`) and what a record means.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain, takewhile
from typing import Any

import orjson

from etl_assets.sources.formats.registry import STREAMED, WHOLE
from etl_assets.sources.formats.text import temporary_file
from etl_assets.sources.records import parse_body, select_records
from etl_assets.streams.base import Extract, Files, Rest

END_OF_FILE = b""


def decode(pages: Iterator[bytes], extract: Extract) -> Iterator[list[Any]]:
    """Decode the pages of a partition.

    Args:
        pages: The bodies in order, as a reader gave them.
        extract: How they were asked for.

    Yields:
        Records in order, a bounded number at a time. A record that is not an object could not be read; it is there
        for the quarantine.

    Raises:
        EtlError: If a page cannot be read at all.
    """
    if isinstance(extract, Files):
        for file in _files(pages):
            yield from _decode_file(file, extract)
    elif isinstance(extract, Rest):
        for body in pages:
            yield select_records(parse_body(body), extract.records)
    else:
        for body in pages:
            yield orjson.loads(body)


def _decode_file(file: Iterator[bytes], extract: Files) -> Iterator[list[Any]]:
    if extract.format in STREAMED:
        yield from STREAMED[extract.format](file, extract)
    else:
        with temporary_file(file) as whole:
            yield from WHOLE[extract.format].decode(whole, extract)


def _files(pages: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """Give the pages of each file; what its decoder leaves is skipped."""
    for first in pages:
        file = chain((first,), takewhile(bool, pages)) if first != END_OF_FILE else iter(())
        yield file
        deque(file, maxlen=0)
