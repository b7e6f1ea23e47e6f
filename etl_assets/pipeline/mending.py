"""Mending quarantined rows by hand: raw fields as CSV, and what was changed in it.

A line is a row, with the row's id and its raw fields as the quarantine has them. Only what was changed counts: every
other field keeps its landed value, whether or not the quarantine has that in clear. Personal fields that the table does
not hold in clear cannot be mended by hand, since the new value would have to be kept somewhere.

What belongs here: that form, both ways. What does not: choosing rows, and recording what was decided on them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etl_assets.failures import ConfigurationError
from etl_assets.quality.preview import MASK
from etl_assets.quality.rules import compile_contract
from etl_assets.streams.base import Stream
from etl_assets.streams.contract import Personal
from etl_assets.warehouse.quarantined import QuarantinedRow

ROW = "etl.row"
OWN_COLUMNS = (ROW, "etl.partition", "etl.rules", "etl.reason")
"""Columns beside the raw fields; only the first one is read back."""

LONGEST_CELL = 16 * 1024 * 1024
_FORMULA = tuple("=+-@\t\r'")


def personal_fields(stream: Stream) -> dict[str, Personal]:
    """Give the raw fields behind personal columns; the tag that takes most where there are several.

    A list with personal columns is personal as a whole.
    """
    found: dict[str, Personal] = {}
    for column in compile_contract(stream.contract).columns:
        tag = column.notes.personal
        if tag is not None and (tag.alters or column.raw_field not in found):
            found[column.raw_field] = tag
    for child in stream.children:
        tags = [column.notes.personal for column in compile_contract(child.contract).columns]
        given = [tag for tag in tags if tag is not None]
        if given:
            found[child.raw_field] = next((tag for tag in given if tag.alters), given[0])
    return found


def shown_fields(stream: Stream, row: QuarantinedRow) -> dict[str, Any] | None:
    """Give a row's raw fields as they may be shown: no personal one in clear.

    Returns:
        None for what is no record, and for what was purged.
    """
    fields = _fields(row)
    if fields is None:
        return None
    personal = personal_fields(stream)
    return {name: MASK if name in personal and value is not None else value for name, value in fields.items()}


def write_rows(stream: Stream, rows: Iterable[QuarantinedRow]) -> str:
    """Write rows of a stream as CSV, one line each after the names.

    Raises:
        ConfigurationError: If a raw field has the name of a column that is added here.
    """
    shown = [(row, shown_fields(stream, row) or {}) for row in rows]
    names = list(dict.fromkeys(compile_contract(stream.contract).raw_fields))
    # A name that was masked stands for no field that could be mended.
    names += [name for name in dict.fromkeys(n for _, f in shown for n in f) if not name.startswith(MASK)]
    names = list(dict.fromkeys(names))
    if taken := sorted(set(names) & set(OWN_COLUMNS)):
        raise ConfigurationError(f"{stream.id}: the raw field {taken[0]!r} cannot be exported")
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow([*OWN_COLUMNS, *names])
    for row, fields in shown:
        own = (row.id, row.partition.isoformat(), " ".join(row.rules), row.reason)
        lines.writerow([*own, *(_cell(fields.get(name)) for name in names)])
    return text.getvalue()


def read_lines(stream: Stream, text: str) -> dict[str, tuple[int, dict[str, str]]]:
    """Read mended lines.

    Args:
        stream: The stream that they are of.
        text: The CSV.

    Returns:
        Line number and cells of raw fields, by the row's id.

    Raises:
        ConfigurationError: If it is no CSV of this form.
    """
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: dict[str, tuple[int, dict[str, str]]] = {}
    try:
        header = next(reader, [])
        names = _checked_header(header)
        following = reader.line_num + 1
        for cells in reader:
            # A cell may go over several lines; a row is found by its first one.
            number, following = following, reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                raise _wrong(number, f"has {len(cells)} cells, the first line names {len(header)}")
            line = dict(zip(header, cells, strict=True))
            if line[ROW] in found:
                raise _wrong(number, f"repeats the row {line[ROW]}")
            found[line[ROW]] = (number, {name: line[name] for name in names})
    except csv.Error as error:
        raise _wrong(reader.line_num, f"cannot be read: {error}") from None
    if not found:
        raise ConfigurationError("the file has no rows", hint="export some with etl-assets quarantine export")
    return found


def changes_of(stream: Stream, row: QuarantinedRow, line: int, cells: Mapping[str, str]) -> dict[str, object]:
    """Give the raw fields of a row that a line changes, with their new values.

    A new value is text, unless the field held a number, a truth value, an object or a list, and the cell reads as one.
    An empty cell is a missing value.

    Raises:
        ConfigurationError: If a change cannot be made.
    """
    fields, shown = _fields(row), shown_fields(stream, row) or {}
    changed = [name for name, cell in cells.items() if cell != _cell(shown.get(name))]
    if not changed:
        return {}
    if fields is None:
        raise _wrong(line, f"mends row {row.id}, which is no record or was purged")
    of_contract = {
        *compile_contract(stream.contract).raw_fields,
        *(each.raw_field for each in stream.children),
    }
    altering = {name for name, tag in personal_fields(stream).items() if tag.alters}
    changes: dict[str, object] = {}
    for name in changed:
        if name not in of_contract | fields.keys():
            raise _wrong(line, f"gives {name!r}, which neither the contract nor the row has")
        # What the contract does not know may be a personal field under another name.
        unknown = bool(altering) and (name not in of_contract or fields.get(name) == MASK)
        if name in altering or unknown:
            raise _wrong(
                line, f"mends {name!r}, which is not kept in clear and can be mended at the source only"
            )
        changes[name] = _value(fields.get(name), cells[name], line, name)
    return changes


def _fields(row: QuarantinedRow) -> dict[str, Any] | None:
    try:
        payload = None if row.payload is None else json.loads(row.payload)
    except (ValueError, RecursionError):
        # A number of thousands of digits, or a value of a thousand levels, which no column takes.
        return None
    return payload if isinstance(payload, dict) else None


def _checked_header(header: Sequence[str]) -> list[str]:
    if ROW not in header:
        raise ConfigurationError(
            f"the first line does not name {ROW}",
            hint="mend a file of etl-assets quarantine export, UTF-8 with commas",
        )
    for name in header:
        if header.count(name) > 1:
            raise ConfigurationError(f"the first line names {name!r} twice")
    return [name for name in header if name not in OWN_COLUMNS]


def _cell(value: Any) -> str:
    """Write a value: text as it is, but never so that a spreadsheet takes it for a formula; all else as JSON."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _value(before: Any, cell: str, line: int, name: str) -> object:
    if cell == "":
        return None
    text = cell[1:] if cell.startswith("'") else cell
    if before is None or isinstance(before, str):
        return text
    try:
        value = json.loads(cell)
    except ValueError:
        value = text
    if isinstance(before, dict | list) and not isinstance(value, dict | list):
        raise _wrong(line, f"gives {name!r} a value that is no JSON")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _wrong(line: int, what: str) -> ConfigurationError:
    return ConfigurationError(f"line {line} {what}", hint="nothing was imported")


def lines_with_changes(
    stream: Stream, rows: Iterable[QuarantinedRow], lines: Mapping[str, tuple[int, dict[str, str]]]
) -> Iterator[tuple[QuarantinedRow, dict[str, object]]]:
    """Give the rows that lines change, with what they change."""
    for row in rows:
        line, cells = lines[row.id]
        if changes := changes_of(stream, row, line, cells):
            yield row, changes
