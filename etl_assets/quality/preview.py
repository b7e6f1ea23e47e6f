"""A look at the first rows of a table, as Markdown for the Dagster UI.

What belongs here: making values safe and short to show: personal data masked, markup escaped. What does not: choosing
the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

MASK = "***"
LONGEST_TEXT = 20

# Markup in a value must neither break the table nor be rendered: a source's text is not to be trusted with links,
# images or HTML in somebody's browser.
_MARKUP = {ord(character): f"\\{character}" for character in "\\`*_~|<>[]!&"}
_CONTROLS = {
    code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF)
}
_ESCAPES = _MARKUP | _CONTROLS


def preview(table: pa.Table, personal: frozenset[str], rows: int = 5) -> str:
    """Show the first rows of a table as a Markdown table.

    Args:
        table: The rows.
        personal: Columns that are shown masked; only whether a value is there can be seen of them.
        rows: How many rows to show.

    Returns:
        The Markdown table; empty when there are no rows. Missing values are empty cells, text is cut to 20 characters.
    """
    names = table.schema.names
    head = table.slice(0, rows)
    if not names or not head.num_rows:
        return ""
    columns = [_cells(column, name in personal) for name, column in zip(names, head.columns, strict=True)]
    lines = [_line(names), _line("---" for _ in names)]
    lines += [_line(cells) for cells in zip(*columns, strict=True)]
    return "\n".join(lines)


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Show some rows of values as a Markdown table, escaped and cut as in a preview; nothing in them is masked."""
    lines = [_line(names), _line("---" for _ in names)]
    lines += [
        _line("" if value is None else _shown(value).translate(_ESCAPES) for value in row) for row in rows
    ]
    return "\n".join(lines)


def _cells(column: pa.ChunkedArray, personal: bool) -> list[str]:
    values = column.to_pylist()
    if personal:
        return ["" if value is None else MASK for value in values]
    return ["" if value is None else _shown(value).translate(_ESCAPES) for value in values]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
