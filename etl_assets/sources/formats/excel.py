"""Excel workbooks (`.xlsx`), by openpyxl where that is installed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO
from zipfile import BadZipFile

from etl_assets.failures import ConfigurationError
from etl_assets.sources.formats.header import checked_header
from etl_assets.sources.formats.text import FileFormatError, batches
from etl_assets.sources.values import json_value
from etl_assets.streams.base import Files


def decode_excel(file: BinaryIO, extract: Files) -> Iterator[list[Any]]:
    """Decode a sheet: an object per row that is not blank, values as in `etl_assets.sources.values`.

    Args:
        file: The workbook.
        extract: Which sheet, and whether it has a header.

    Raises:
        ConfigurationError: If openpyxl is not installed.
        FileFormatError: If it is no workbook, or lacks the sheet or a header.
    """
    return batches(_records(_rows(file, extract.sheet), extract))


def count_excel(file: BinaryIO, extract: Files) -> int:
    """Give the number of rows; errors as for `decode_excel`."""
    return sum(len(batch) for batch in decode_excel(file, extract))


def require_openpyxl() -> Any:
    """Give the module that reads workbooks.

    Raises:
        ConfigurationError: If it is not installed.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise ConfigurationError(
            "Excel files need the package openpyxl", hint="pip install 'etl_assets[excel]'"
        ) from error
    return openpyxl


def _rows(file: BinaryIO, sheet: str | None) -> Iterator[tuple[Any, ...]]:
    openpyxl = require_openpyxl()
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        if sheet is not None and sheet not in book.sheetnames:
            raise FileFormatError(f"it has no sheet {sheet!r}")
        rows = book[sheet or book.sheetnames[0]].iter_rows(values_only=True)
        yield from (row for row in rows if any(value is not None for value in row))
    except (BadZipFile, zlib.error, KeyError, OSError, ValueError, SyntaxError) as error:
        # SyntaxError is what the XML parser's own error is.
        raise FileFormatError("it is no Excel workbook (.xlsx), or is damaged") from error


def _records(rows: Iterator[tuple[Any, ...]], extract: Files) -> Iterator[Any]:
    header = list(extract.columns)
    if extract.header:
        first = next(rows, None)
        if first is None:
            raise FileFormatError("its sheet is empty, without even a header")
        names = ["" if value is None else str(value) for value in first]
        while names and not names[-1].strip():
            names.pop()
        header = checked_header(names, extract)
    for row in rows:
        values = [json_value(value) for value in row]
        surplus = values[len(header) :]
        values += [None] * (len(header) - len(values))
        if any(value is not None for value in surplus):
            yield values
        else:
            yield dict(zip(header, values[: len(header)], strict=True))
