"""Tables made from contracts: column types, creation, new columns.

What belongs here: what a stream's table looks like, and bringing an existing table up to the contract. What
does not: rows, and which columns a table has beside the contract's (`evolution`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb

from etl_assets.failures import ConfigurationError, WarehouseError
from etl_assets.outcomes import SchemaChange, SchemaChangeKind
from etl_assets.streams.children import CHILDREN_COLUMN, POSITION
from etl_assets.streams.write import Append, Cdc, Merge, Snapshot
from etl_assets.warehouse.identifiers import qualified, quoted, text_literal
from etl_assets.warehouse.types import canonical_text, is_wider

if TYPE_CHECKING:
    from etl_assets.streams.base import Stream
    from etl_assets.streams.contract import Contract

_DECIMAL = re.compile(r"^decimal128\((\d+),\s*(\d+)\)")
_SQL_TYPES = {
    "string": "VARCHAR",
    "int64": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "timestamp[us]": "TIMESTAMP",
    "date32[day]": "DATE",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name.
        sql_type: Its type.
        description: What it holds.
        evolved: Whether it is beside the contract, so that its type follows from the values that came.
        fixed: Whether rows are told apart or ordered by it, so that its type must stay.
        adopts: Whether the contract takes over a column that was beside it.
    """

    name: str
    sql_type: str
    description: str = ""
    evolved: bool = False
    fixed: bool = False
    adopts: bool = False

    @property
    def quoted(self) -> str:
        """The name as SQL."""
        return quoted(self.name)

    def ordered(self, relation: str) -> str:
        """What a value is compared by, as SQL: the order of two values must not change when their type widens."""
        value = f"{relation}.{self.quoted}"
        return canonical_text(value, self.sql_type) if self.evolved else value


PLATFORM_COLUMNS = (
    Column("_partition", "DATE", "Day that the row belongs to by the stream's window column."),
    Column("_run_id", "VARCHAR", "Run that wrote the row in this form."),
    Column("_loaded_at", "TIMESTAMP", "When the row was written in this form, UTC."),
)


DELETED_AT = Column("_deleted_at", "TIMESTAMP", "When the row was deleted at the source, UTC.")
VALUES_SEQUENCE = Column(
    "_values_sequence", "BIGINT", "Number of the change that the values of a deleted row are from."
)
BROUGHT_BY = Column(
    "_brought_by", "DATE[]", "Days whose loads brought the row; missing where that is its own day alone."
)
REMOVED_ON = Column("_removed_on", "DATE", "Day of the first snapshot in which the row is gone.")

CHILDREN = Column(
    CHILDREN_COLUMN, "VARCHAR", "The record's lists as JSON, by child table, which are made from it."
)
CHILDREN_HASH = Column("_children_hash", "VARCHAR", "MD5 of the record's lists that the row was made from.")
CHILD_POSITION = Column(POSITION, "BIGINT", "Place in the record's list, from 1.")


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A stream's table: its name, the contract's columns in order, evolved ones, and after them the platform's."""

    schema: str
    table: str
    columns: tuple[Column, ...]
    platform_columns: tuple[Column, ...] = PLATFORM_COLUMNS

    @property
    def name(self) -> str:
        """The table's qualified name as SQL."""
        return qualified(self.schema, self.table)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The contract's and the evolved columns as SQL, in order."""
        return tuple(column.quoted for column in self.columns)

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """All columns, the platform's last."""
        return self.columns + self.platform_columns

    @property
    def insert_list(self) -> str:
        """All columns as SQL, for the head of an INSERT."""
        return ", ".join(column.quoted for column in self.all_columns)


def layout_of(stream: Stream) -> TableLayout:
    """Derive the table's layout from a stream's contract.

    Raises:
        ConfigurationError: If a column has a type that the warehouse has no counterpart for.
    """
    columns = _columns_of(stream, stream.contract, _fixed(stream))
    if stream.children:
        columns = (*columns, CHILDREN)
    return TableLayout(stream.source.name, stream.name, columns, PLATFORM_COLUMNS + _marks(stream))


def child_layouts(stream: Stream, parent: TableLayout) -> dict[str, TableLayout]:
    """Derive the layouts of a stream's child tables, by their names, from their contracts.

    Args:
        stream: The stream.
        parent: The layout of its own table.

    Raises:
        ConfigurationError: If a column has a type that the warehouse has no counterpart for.
    """
    keys = set(getattr(stream.write, "key_columns", ()))
    key = tuple(column for column in parent.columns if column.name in keys)
    return {
        child.name: TableLayout(
            parent.schema,
            f"{parent.table}_{child.name}",
            (*key, CHILD_POSITION, *_columns_of(stream, child.contract)),
            (*PLATFORM_COLUMNS, CHILDREN_HASH),
        )
        for child in stream.children
    }


def _columns_of(stream: Stream, contract: type[Contract], fixed: Collection[str] = ()) -> tuple[Column, ...]:
    from etl_assets.streams.contract import arrow_schema

    types = arrow_schema(contract)
    return tuple(
        Column(
            name,
            _sql_type(stream, name, str(types.field(name).type)),
            column.description or "",
            fixed=name in fixed,
        )
        for name, column in contract.to_schema().columns.items()
    )


def with_evolved(layout: TableLayout, evolved: Iterable[Column]) -> TableLayout:
    """Put evolved columns after the contract's, by name: rows are compared column by column, in whichever order
    the columns came."""
    return replace(layout, columns=layout.columns + tuple(sorted(evolved, key=lambda column: column.name)))


def _fixed(stream: Stream) -> set[str]:
    names = {stream.window_column, stream.business_date}
    match stream.write:
        case Merge(version=version):
            names.add(version)
        case Cdc(sequence=sequence, operation=operation):
            names |= {sequence, operation}
    return {name for name in names if name is not None}


def _marks(stream: Stream) -> tuple[Column, ...]:
    """Give the columns in which a disposition keeps what it needs to know of a row."""
    match stream.write:
        case Append():
            return (BROUGHT_BY,)
        # Documents show the present: each day brings all of them, and the list would grow with every load.
        case Merge() if stream.window_column is not None:
            return (BROUGHT_BY,)
        case Cdc(delete="soft"):
            return (DELETED_AT, VALUES_SEQUENCE)
        case Snapshot(removed="mark"):
            return (REMOVED_ON,)
    return ()


def _sql_type(stream: Stream, column: str, arrow_type: str) -> str:
    if decimal := _DECIMAL.match(arrow_type):
        return f"DECIMAL({decimal.group(1)},{decimal.group(2)})"
    if arrow_type in _SQL_TYPES:
        return _SQL_TYPES[arrow_type]
    raise ConfigurationError(
        f"{stream.id}: column {column!r} has the type {arrow_type}, which the warehouse cannot hold",
        hint="use str, int, float, bool, Timestamp, Date or a Decimal type",
    )


def table_columns(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> dict[str, str]:
    """Read a table's columns and their types, in order; empty when there is no such table."""
    found = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_catalog = current_database() AND table_schema = ? AND table_name = ? "
        "ORDER BY ordinal_position",
        [schema, table],
    ).fetchall()
    return {str(name): str(sql_type) for name, sql_type in found}


def ensure_table(
    connection: duckdb.DuckDBPyConnection, layout: TableLayout
) -> tuple[TableLayout, list[SchemaChange]]:
    """Create the table, or bring it up to the layout; columns that the layout does not have stay.

    A column that it lacks is added. One whose type is narrower than the layout's is widened, if all of its values fit;
    one whose type is wider stays as it is.

    Returns:
        The layout with the types that the table has, and what of the contract's columns was changed.

    Raises:
        WarehouseError: If a column exists with a type that does not go with the layout's.
    """
    existing = table_columns(connection, layout.schema, layout.table)
    if not existing:
        _create(connection, layout)
        return layout, []
    changes: list[SchemaChange] = []
    columns: list[Column] = []
    for column in layout.columns:
        settled, kind = _settle(connection, layout, column, existing.get(column.name))
        columns.append(settled)
        if kind is not None and not column.evolved:
            before = existing.get(column.name)
            changes.append(SchemaChange(kind, column=column.name, before=before, after=column.sql_type))
    for column in layout.platform_columns:
        _settle(connection, layout, column, existing.get(column.name))
    _describe_anew(connection, layout)
    return replace(layout, columns=tuple(columns)), changes


def _settle(
    connection: duckdb.DuckDBPyConnection, layout: TableLayout, column: Column, existing: str | None
) -> tuple[Column, SchemaChangeKind | None]:
    """Bring one column up to the layout; give it with the type that it has, and what was done."""
    if existing == column.sql_type:
        return column, None
    if existing is None:
        connection.execute(f"ALTER TABLE {layout.name} ADD COLUMN {column.quoted} {column.sql_type}")
        _describe(connection, layout, column)
        return column, SchemaChangeKind.ADDED
    if column.adopts and not _misfits(
        connection, layout, column, f"{column.quoted} IS NOT NULL AND {{new}} IS NULL"
    ):
        _retype(connection, layout, column, column.quoted)
        return column, SchemaChangeKind.CONVERTED
    if is_wider(column.sql_type, existing) and not column.fixed:
        _widen(connection, layout, column, existing)
        return column, SchemaChangeKind.WIDENED
    if is_wider(existing, column.sql_type) and not column.fixed:
        return replace(column, sql_type=existing), SchemaChangeKind.NARROWED
    raise _misfit(layout, column, existing)


def _widen(connection: duckdb.DuckDBPyConnection, layout: TableLayout, column: Column, existing: str) -> None:
    name = column.quoted
    if column.evolved:
        # Whoever chose the type has looked at all values, and has one spelling for them.
        _retype(connection, layout, column, canonical_text(name, existing))
        return
    lost = _misfits(
        connection, layout, column, f"TRY_CAST({{new}} AS {existing}) IS DISTINCT FROM {column.quoted}"
    )
    if lost:
        raise _misfit(layout, column, existing, f"; {lost} of its values do not fit")
    _retype(connection, layout, column, name)


def _misfits(
    connection: duckdb.DuckDBPyConnection, layout: TableLayout, column: Column, condition: str
) -> int:
    """Count the values that a column's new type does not hold; in the condition, `{new}` is the new value."""
    new = f"TRY_CAST({column.quoted} AS {column.sql_type})"
    found = connection.execute(
        f"SELECT count(*) FROM {layout.name} WHERE {condition.format(new=new)}"
    ).fetchone()
    return int(found[0]) if found else 0


def _retype(connection: duckdb.DuckDBPyConnection, layout: TableLayout, column: Column, value: str) -> None:
    connection.execute(
        f"ALTER TABLE {layout.name} ALTER COLUMN {column.quoted} SET DATA TYPE {column.sql_type} "
        f"USING CAST({value} AS {column.sql_type})"
    )


def _misfit(layout: TableLayout, column: Column, existing: str, why: str = "") -> WarehouseError:
    return WarehouseError(
        f"table {layout.schema}.{layout.table}: column {column.name} is {existing}, "
        f"the contract says {column.sql_type}{why}",
        hint="give the column in the contract another name, or rename the old one in the table",
    )


def _create(connection: duckdb.DuckDBPyConnection, layout: TableLayout) -> None:
    definitions = ", ".join(f"{column.quoted} {column.sql_type}" for column in layout.all_columns)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(layout.schema)}")
    connection.execute(f"CREATE TABLE {layout.name} ({definitions})")
    for column in layout.all_columns:
        _describe(connection, layout, column)


def _describe_anew(connection: duckdb.DuckDBPyConnection, layout: TableLayout) -> None:
    """Bring the comments of a table's columns up to the contract's descriptions."""
    found = connection.execute(
        "SELECT column_name, comment FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [layout.schema, layout.table],
    ).fetchall()
    comments = dict(found)
    for column in layout.all_columns:
        if column.description != (comments.get(column.name) or ""):
            _describe(connection, layout, column)


def _describe(connection: duckdb.DuckDBPyConnection, layout: TableLayout, column: Column) -> None:
    if column.description:
        connection.execute(
            f"COMMENT ON COLUMN {layout.name}.{column.quoted} IS {text_literal(column.description)}"
        )
