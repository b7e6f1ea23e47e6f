"""NDJSON: one JSON value a line.

A line that is not JSON is handed on as text, so that it ends up in the quarantine and costs no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from etl_assets.failures import EtlError
from etl_assets.sources.formats.text import Lines, batches
from etl_assets.sources.records import parse_leniently
from etl_assets.streams.base import Files


def decode_ndjson(pages: Iterator[bytes], extract: Files) -> Iterator[list[Any]]:
    """Decode an NDJSON file; blank lines are no records.

    Args:
        pages: The bytes of the file.
        extract: How it is written.

    Raises:
        FileFormatError: If a line is too long to be read.
    """
    return batches(_records(Lines(pages, extract.encoding)))


def _records(lines: Lines) -> Iterator[Any]:
    for line in lines:
        if not line.isspace():
            yield lines.held_text() if lines.is_damaged else _value(line, lines)
        lines.let_go()


def _value(line: str, lines: Lines) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return parse_leniently(line.encode())
        except EtlError:
            return lines.held_text()
