"""Tables made from contracts: column types, creation, new columns.

What belongs here: what a stream's table looks like, and bringing an existing table up to the contract. What
does not: rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import duckdb

from etl_assets.failures import ConfigurationError, WarehouseError
from etl_assets.streams.base import Stream
from etl_assets.streams.children import CHILDREN_COLUMN, POSITION
from etl_assets.streams.contract import Contract, arrow_schema
from etl_assets.streams.write import Append, Cdc, Snapshot, WriteDisposition
from etl_assets.warehouse.identifiers import qualified, quoted, text_literal

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
    """One column of a table."""

    name: str
    sql_type: str
    description: str = ""

    @property
    def quoted(self) -> str:
        """The name as SQL."""
        return quoted(self.name)


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
    """A stream's table: its name, the contract's columns in order, and after them the platform's."""

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
        """The contract's columns as SQL, in order."""
        return tuple(column.quoted for column in self.columns)

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The contract's columns and the platform's."""
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
    columns = _columns_of(stream, stream.contract)
    if stream.children:
        columns = (*columns, CHILDREN)
    return TableLayout(stream.source.name, stream.name, columns, PLATFORM_COLUMNS + _marks(stream.write))


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


def _columns_of(stream: Stream, contract: type[Contract]) -> tuple[Column, ...]:
    types = arrow_schema(contract)
    return tuple(
        Column(name, _sql_type(stream, name, str(types.field(name).type)), column.description or "")
        for name, column in contract.to_schema().columns.items()
    )


def _marks(write: WriteDisposition) -> tuple[Column, ...]:
    """Give the columns in which a disposition keeps what it needs to know of a row."""
    match write:
        case Append():
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


def ensure_table(connection: duckdb.DuckDBPyConnection, layout: TableLayout) -> None:
    """Create the table, or add the columns that it lacks; columns that the contract no longer has stay.

    Raises:
        WarehouseError: If a column exists with another type than the contract's.
    """
    existing = table_columns(connection, layout.schema, layout.table)
    if not existing:
        _create(connection, layout)
        return
    for column in layout.all_columns:
        if column.name not in existing:
            connection.execute(f"ALTER TABLE {layout.name} ADD COLUMN {column.quoted} {column.sql_type}")
            _describe(connection, layout, column)
        elif existing[column.name] != column.sql_type:
            raise WarehouseError(
                f"table {layout.schema}.{layout.table}: column {column.name} is {existing[column.name]}, "
                f"the contract says {column.sql_type}",
                hint="give the column in the contract another name, or rename the old one in the table",
            )


def _create(connection: duckdb.DuckDBPyConnection, layout: TableLayout) -> None:
    definitions = ", ".join(f"{column.quoted} {column.sql_type}" for column in layout.all_columns)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(layout.schema)}")
    connection.execute(f"CREATE TABLE {layout.name} ({definitions})")
    for column in layout.all_columns:
        _describe(connection, layout, column)


def _describe(connection: duckdb.DuckDBPyConnection, layout: TableLayout, column: Column) -> None:
    if column.description:
        connection.execute(
            f"COMMENT ON COLUMN {layout.name}.{column.quoted} IS {text_literal(column.description)}"
        )
