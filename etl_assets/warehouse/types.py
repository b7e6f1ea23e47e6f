"""Types of columns: which one holds which values, which one is wider than which, and one spelling for all of them.

What belongs here: that, as plain functions and SQL. What does not: altering tables (`schema`).
"""

from __future__ import annotations

import re
from collections.abc import Set

from etl_assets.streams.observed import EXACT, Kind

_DECIMAL = re.compile(r"^DECIMAL\((\d+),(\d+)\)$")
_INTEGERS = frozenset({Kind.INTEGER, Kind.LARGE_INTEGER})


def type_of(kinds: Set[Kind]) -> str | None:
    """Give the narrowest type that holds values of some kinds exactly; None for no values.

    It depends on the kinds alone, so that it does not matter in which order they came.
    """
    if not kinds:
        return None
    if kinds == {Kind.BOOLEAN}:
        return "BOOLEAN"
    if kinds <= _INTEGERS:
        return "BIGINT"
    if kinds <= {Kind.INTEGER, Kind.NUMBER}:
        return "DOUBLE"
    return "VARCHAR"


def canonical_text(value: str, sql_type: str) -> str:
    """Spell a value as text, the same before and after its column was widened.

    Args:
        value: The value, as SQL.
        sql_type: Its type, one that `type_of` gives.

    Returns:
        SQL of the text that `etl_assets.streams.observed.text_of` gives.
    """
    if sql_type == "VARCHAR":
        return value
    text = f"CAST({value} AS VARCHAR)"
    if sql_type != "DOUBLE":
        return text
    whole = f"abs({value}) <= {EXACT} AND {value} = trunc({value})"
    return f"CASE WHEN {whole} THEN CAST(CAST({value} AS BIGINT) AS VARCHAR) ELSE {text} END"


def is_wider(wide: str, narrow: str) -> bool:
    """Whether a type is there to hold what another one holds, if the values' size allows it.

    Numbers may be too large for a decimal or a double: whoever widens a column has to look at its values.
    """
    if wide == narrow:
        return False
    if wide == "VARCHAR":
        return True
    if wide == "TIMESTAMP":
        return narrow == "DATE"
    scales = [_scale_of(wide), _scale_of(narrow)]
    if wide == "DOUBLE":
        return narrow == "BIGINT" or scales[1] is not None
    if scales[0] is None:
        return False
    return narrow == "BIGINT" or (scales[1] is not None and scales[1] <= scales[0])


def _scale_of(sql_type: str) -> int | None:
    found = _DECIMAL.match(sql_type)
    return int(found[2]) if found else None
