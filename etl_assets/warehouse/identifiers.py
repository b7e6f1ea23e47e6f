"""Names and literals in SQL: checked and quoted in one place.

What belongs here: turning a name into SQL. What does not: values, which are bound as parameters and never
written into a statement (the one exception is a comment's text, for which DuckDB takes no parameter).
"""

from __future__ import annotations

import re

from etl_assets.failures import ConfigurationError

_NAME = re.compile(r"^_?[a-z][a-z0-9_]{0,62}$")


def quoted(name: str) -> str:
    """Quote the name of a schema, table or column.

    Raises:
        ConfigurationError: If the name is anything but lower-case letters, digits and underscores.
    """
    if not _NAME.match(name):
        raise ConfigurationError(f"{name!r} cannot be a table's or column's name", hint="use a-z, 0-9 and _")
    return f'"{name}"'


def qualified(schema: str, table: str) -> str:
    """Quote a table's name together with its schema."""
    return f"{quoted(schema)}.{quoted(table)}"


def text_literal(text: str) -> str:
    """Write a text as an SQL literal, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"
