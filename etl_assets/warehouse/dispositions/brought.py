"""Which days brought a row: what a mended load may take back.

`_brought_by` names the days whose loads brought a row, where that is not its own day alone. What belongs here: that
column as SQL. What does not: what is done with it (`append`, `merge`).
"""

from __future__ import annotations

from etl_assets.warehouse.dispositions.base import Load
from etl_assets.warehouse.schema import BROUGHT_BY

DAY = "CAST($day AS DATE)"
DAYS = f"coalesce(old.{BROUGHT_BY.quoted}, [old._partition])"
"""All days that brought the row `old`."""

OF_THIS_DAY = (
    f"((old.{BROUGHT_BY.quoted} IS NULL AND old._partition = {DAY}) "
    f"OR list_contains(old.{BROUGHT_BY.quoted}, {DAY}))"
)
"""Whether the day brought the row `old`."""


def objection_to_taking_back(load: Load) -> str | None:
    """Say what the table would lose to a load without rows; only that of a mended transform takes rows back."""
    if not load.restates or BROUGHT_BY not in load.layout.platform_columns:
        return None
    sql = f"SELECT count(*) FROM {load.layout.name} AS old WHERE {OF_THIS_DAY}"
    brought = int(load.one(sql, {"day": load.partition})[0])
    if not brought:
        return None
    return "brought 1 row before" if brought == 1 else f"brought {brought} rows before"
