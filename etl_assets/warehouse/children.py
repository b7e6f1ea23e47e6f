"""Child tables: lists within records as tables of their own, made from the record's row in the same transaction.

The row of a record holds its lists (`_children`), so that whichever version of it wins, in whichever order days are
loaded, brings the lists of that version. A child row carries the hash of the lists that it was made from, and day, run
and time of their row; a record whose child rows bear others is not in step, and its child rows are made anew. What
belongs here: that. What does not: the lists themselves (`etl_assets.quality.children`).
"""

from __future__ import annotations

import json
from dataclasses import replace

import duckdb

from etl_assets.outcomes import SchemaChange
from etl_assets.streams.base import Children, Stream
from etl_assets.warehouse.identifiers import quoted, text_literal
from etl_assets.warehouse.schema import (
    CHILD_POSITION,
    CHILDREN,
    CHILDREN_HASH,
    PLATFORM_COLUMNS,
    TableLayout,
    child_layouts,
    ensure_table,
    layout_of,
    table_columns,
)

_MARKS = tuple(column.quoted for column in PLATFORM_COLUMNS)
_HASH = f"md5(row.{CHILDREN.quoted})"


def ensure_child_tables(
    connection: duckdb.DuckDBPyConnection, stream: Stream, parent: TableLayout
) -> list[SchemaChange]:
    """Create the child tables of a stream, or bring them up to their contracts.

    Returns:
        What was changed, with columns as `<child table>.<column>`.

    Raises:
        WarehouseError: If a column exists with a type that does not go with the contract's.
    """
    changes = []
    for name, layout in child_layouts(stream, parent).items():
        _, found = ensure_table(connection, layout)
        changes += [replace(change, column=f"{name}.{change.column}") for change in found]
    return changes


def follow_parent(connection: duckdb.DuckDBPyConnection, stream: Stream, parent: TableLayout) -> None:
    """Make the child rows of records that are not in step with their row anew, within the caller's transaction.

    Args:
        connection: The warehouse; the child tables exist.
        stream: The stream.
        parent: The layout of its own table, whose rows have just been written.
    """
    layouts = child_layouts(stream, parent)
    for child in stream.children:
        _follow(connection, child, layouts[child.name], parent)


def make_anew(connection: duckdb.DuckDBPyConnection, stream: Stream) -> None:
    """Make all child rows of a stream anew, within the caller's transaction; its tables exist."""
    parent = layout_of(stream)
    for layout in child_layouts(stream, parent).values():
        connection.execute(f"DELETE FROM {layout.name}")
    follow_parent(connection, stream, parent)


def out_of_step(connection: duckdb.DuckDBPyConnection, stream: Stream) -> dict[str, int]:
    """Count, by the names of child tables that exist, the records whose child rows do not follow from their row."""
    parent = layout_of(stream)
    layouts = child_layouts(stream, parent)
    found: dict[str, int] = {}
    for child in stream.children:
        layout = layouts[child.name]
        if not table_columns(connection, layout.schema, layout.table):
            continue
        key = ", ".join(_key_of(layout))
        marks = ", ".join(_MARKS)
        rows = connection.execute(
            f"WITH own AS (SELECT {key}, {marks}, {_HASH} AS hash, json_array_length({CHILDREN.quoted}, $list) AS n "
            f"FROM {parent.name} AS row), kept AS (SELECT {key}, {marks}, {CHILDREN_HASH.quoted} AS hash, "
            f"count(*) AS n FROM {layout.name} GROUP BY ALL) "
            f"SELECT count(DISTINCT ({key})) FROM own FULL JOIN kept USING ({key}, {marks}, hash) "
            "WHERE coalesce(own.n, 0) <> coalesce(kept.n, 0)",
            {"list": f"$.{child.name}"},
        ).fetchone()
        if rows and rows[0]:
            found[f"{layout.schema}.{layout.table}"] = int(rows[0])
    return found


def _follow(
    connection: duckdb.DuckDBPyConnection, child: Children, layout: TableLayout, parent: TableLayout
) -> None:
    key = _key_of(layout)
    same_key = " AND ".join(f"row.{name} = child.{name}" for name in key)
    same_marks = " AND ".join(f"row.{mark} IS NOT DISTINCT FROM child.{mark}" for mark in _MARKS)
    in_step = f"{_HASH} = child.{CHILDREN_HASH.quoted} AND {same_marks}"
    connection.execute(
        f"DELETE FROM {layout.name} AS child "
        f"WHERE NOT EXISTS (SELECT 1 FROM {parent.name} AS row WHERE {same_key} AND {in_step})"
    )
    own = layout.columns[len(key) + 1 :]
    structure = {child.name: [{column.name: column.sql_type for column in own}]}
    listed = f"from_json(row.{CHILDREN.quoted}, {text_literal(json.dumps(structure))}).{quoted(child.name)}"
    keys, marks = (", ".join(f"listed.{name}" for name in part) for part in (key, _MARKS))
    values = "".join(f", listed.entry.{column.quoted}" for column in own)
    names = ", ".join(
        [*key, CHILD_POSITION.quoted, *(column.quoted for column in own), *_MARKS, CHILDREN_HASH.quoted]
    )
    # JSON is looked at only where child rows are missing: those of a record that has not changed are there.
    connection.execute(
        f"INSERT INTO {layout.name} ({names}) "
        f"WITH missing AS (SELECT * FROM {parent.name} AS row WHERE row.{CHILDREN.quoted} IS NOT NULL "
        f"AND NOT EXISTS (SELECT 1 FROM {layout.name} AS child WHERE {same_key})), "
        f"lists AS (SELECT row.*, {_HASH} AS lists_hash, {listed} AS entries "
        "FROM missing AS row), "
        "listed AS (SELECT lists.*, unnest(entries) AS entry, generate_subscripts(entries, 1) AS place FROM lists) "
        f"SELECT {keys}, place{values}, {marks}, lists_hash FROM listed"
    )


def _key_of(layout: TableLayout) -> tuple[str, ...]:
    """Give the columns before the position: the record's key."""
    return layout.column_names[: layout.columns.index(CHILD_POSITION)]
