"""CSV as in RFC 4180, read line by line.

A record that does not fit (too few or too many fields, a stray quote, bytes that are no text) is handed on as it is,
not as an object, so that it ends up in the quarantine and costs no other. What belongs here: fields and quotes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from etl_assets.sources.formats.header import checked_header
from etl_assets.sources.formats.text import MAXIMUM_LINE, FileFormatError, Lines, batches
from etl_assets.streams.base import Files


def decode_csv(pages: Iterator[bytes], extract: Files) -> Iterator[list[Any]]:
    """Decode a CSV file: an object per record, all values text, by the names in the header.

    Args:
        pages: The bytes of the file.
        extract: How it is written.

    Raises:
        FileFormatError: If it has no usable header, or ends inside a quoted field.
    """
    return batches(_records(Lines(pages, extract.encoding), extract))


def _records(lines: Lines, extract: Files) -> Iterator[Any]:
    rows = _rows(lines, extract.delimiter)
    header = list(extract.columns)
    if extract.header:
        first = next(rows, None)
        if first is None:
            raise FileFormatError("it is empty, without even a header")
        if not isinstance(first, list):
            raise FileFormatError(f"its header cannot be read as {extract.encoding} CSV")
        header = checked_header(first, extract)
    width = len(header)
    for row in rows:
        yield dict(zip(header, row, strict=True)) if len(row) == width and isinstance(row, list) else row


def _rows(lines: Lines, delimiter: str) -> Iterator[list[str] | str]:
    # The limit is one for the whole process; its default of 128 KiB is less than sources do send.
    csv.field_size_limit(MAXIMUM_LINE)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.let_go()
        first_line = lines.number + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.ended or sum(map(len, lines.held)) > MAXIMUM_LINE:
                raise FileFormatError(
                    f"the record that starts in line {first_line} has no end: a quote is not closed"
                ) from error
            yield lines.held_text()
            continue
        if lines.is_damaged:
            yield lines.held_text()
        elif row:
            yield row
