"""Marking rows of a table that were loaded although they break a rule.

The column `_waived` has the rules that a row's waiver is for. A table gets it with its first waived row, so that most
tables never have it. A row is found by its values: what breaks a rule breaks it wherever it stands. A newer version of
a row has no mark. What belongs here: that column. What does not: deciding (`decisions`) and loading (`dispositions`).
"""

from __future__ import annotations

from pathlib import Path

from etl_assets.warehouse.decisions import Action
from etl_assets.warehouse.dispositions.base import Load
from etl_assets.warehouse.identifiers import text_literal
from etl_assets.warehouse.schema import Column, table_columns

WAIVED = Column(
    "_waived", "VARCHAR[]", "Rules that the row breaks and that were waived for it; missing for other rows."
)
_ROW_COLUMN = '"_row"'
_WAIVED_ROWS = (
    f"SELECT row_number, rules FROM read_parquet($decided) WHERE loaded AND action = '{Action.WAIVE.value}'"
)


def make_room_for_marks(load: Load, decided: Path | None) -> None:
    """Add the column to a table that is to get its first waived row.

    To be done before any row is touched: DuckDB does not commit a table that was altered after it was changed. Where
    another partition of the same transaction has changed it, each partition is committed by itself.
    """
    if decided is None or _is_marked(load):
        return
    if load.one(f"SELECT EXISTS ({_WAIVED_ROWS})", {"decided": str(decided)})[0]:
        table = load.layout.name
        load.connection.execute(f"ALTER TABLE {table} ADD COLUMN {WAIVED.quoted} {WAIVED.sql_type}")
        load.connection.execute(
            f"COMMENT ON COLUMN {table}.{WAIVED.quoted} IS {text_literal(WAIVED.description)}"
        )


def mark_waived(load: Load, decided: Path | None) -> None:
    """Bring the marks of a partition's rows in line with what was decided, after they were loaded.

    Args:
        load: The load.
        decided: Parquet of the rows that people decided on; None for none.
    """
    if load.rows is None or not _is_marked(load):
        return
    mark, rules = "", f"CAST(NULL AS {WAIVED.sql_type})"
    if decided is not None:
        mark = f"LEFT JOIN ({_WAIVED_ROWS}) AS waived ON waived.row_number = staged.{_ROW_COLUMN}"
        rules = "waived.rules"
    equal = " AND ".join(f"old.{c.quoted} IS NOT DISTINCT FROM new.{c.quoted}" for c in load.layout.columns)
    load.connection.execute(
        f"UPDATE {load.layout.name} AS old SET {WAIVED.quoted} = new.mark FROM "
        f"(SELECT staged.* EXCLUDE ({_ROW_COLUMN}), {rules} AS mark "
        f"FROM (SELECT {load.staged_columns}, {_ROW_COLUMN} FROM read_parquet($rows)) AS staged {mark}) AS new "
        f"WHERE (new.mark IS NOT NULL OR old.{WAIVED.quoted} IS NOT NULL) "
        f"AND old.{WAIVED.quoted} IS DISTINCT FROM new.mark AND {equal}",
        load.parameters | ({} if decided is None else {"decided": str(decided)}),
    )


def _is_marked(load: Load) -> bool:
    return WAIVED.name in table_columns(load.connection, load.layout.schema, load.layout.table)
