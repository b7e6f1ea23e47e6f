"""Declaring child tables: lists within a record, such as a document's authors, as tables of their own.

What belongs here: the declaration, and the check that it fits its stream. What does not: making rows of the lists
(`etl_assets.quality.children`) and writing them (`etl_assets.warehouse.children`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etl_assets.failures import ConfigurationError
from etl_assets.streams.identifiers import IDENTIFIER
from etl_assets.streams.write import Merge, Snapshot, WriteDisposition

if TYPE_CHECKING:
    import pandas as pd

    from etl_assets.streams.contract import Contract

POSITION = "position"
"""Column of a child table that says where in its list a row stands, from 1."""

CHILDREN_COLUMN = "_children"
"""Column of the stream's own table that holds the lists: what the child tables are made from."""

_TABLES_OF_SNAPSHOTS = frozenset({"history"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """A list of objects within each record, as a table `<stream>_<name>` beside the stream's own.

    A child row belongs to its record: it is written in the same transaction and replaced when the record changes. A
    record is whole or not at all: a child row that breaks a rule takes its record to the quarantine, under the rule
    `<name>.<rule>`; rules that only warn are counted under that name.

    Args:
        name: Lower-case identifier; the end of the table's name.
        contract: The child rows, without the key of the record, which comes before them.
        raw: Raw field that holds the list; the name where not given. Records without it have no child rows.
        transform: Makes the contract's columns from a DataFrame of the objects' fields, with the same index; where not
            given, fields are taken as they are, each by its column's name.
    """

    name: str
    contract: type[Contract]
    raw: str | None = None
    transform: Callable[[pd.DataFrame], pd.DataFrame] | None = None

    @property
    def raw_field(self) -> str:
        """The raw field that holds the list."""
        return self.raw or self.name


def check_children(
    stream: str, contract: type[Contract], write: WriteDisposition, children: Sequence[Children]
) -> None:
    """Check that child tables fit their stream.

    Args:
        stream: The stream's id, for messages.
        contract: The stream's contract.
        write: How rows enter the table.
        children: The child tables.

    Raises:
        ConfigurationError: If they do not.
    """
    if not children:
        return
    if not isinstance(write, Merge | Snapshot):
        raise ConfigurationError(
            f"{stream}: child tables need records with a key that show what is now, which {type(write).__name__} "
            "does not bring",
            hint="write the stream with Merge or Snapshot",
        )
    names = [child.name for child in children]
    for child in children:
        what = f"{stream}: child table {child.name!r}"
        if (
            not IDENTIFIER.match(child.name)
            or names.count(child.name) > 1
            or child.name in _TABLES_OF_SNAPSHOTS
        ):
            raise ConfigurationError(
                f"{what} needs another name", hint="lower-case letters, digits, underscores"
            )
        _check_columns(what, child, write.key_columns)


def _check_columns(what: str, child: Children, key: tuple[str, ...]) -> None:
    from etl_assets.streams.contract import arrow_schema

    schema = child.contract.to_schema()
    arrow_schema(child.contract)
    for name, column in schema.columns.items():
        if not IDENTIFIER.match(name):
            raise ConfigurationError(
                f"{what}: column {name!r} must be lower-case letters, digits, underscores"
            )
        if name in (*key, POSITION):
            raise ConfigurationError(f"{what}: column {name!r} is a name that the table has already")
        if column.unique:
            raise ConfigurationError(f"{what}: column {name!r} cannot be unique", hint="leave unique out")
