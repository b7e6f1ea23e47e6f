"""The tables that dispositions keep beside a stream's own, as a rollback has to know them.

What belongs here: finding them, and bringing them up to the contract. What does not: what is in them (`versions`,
`superseded`).
"""

from __future__ import annotations

from datetime import datetime

import duckdb

from etl_assets.streams.base import Merge, Snapshot, Stream
from etl_assets.warehouse.dispositions.base import Load
from etl_assets.warehouse.dispositions.superseded import Superseded
from etl_assets.warehouse.dispositions.versions import Versions, version_tables
from etl_assets.warehouse.identifiers import qualified, quoted
from etl_assets.warehouse.schema import BROUGHT_BY, TableLayout, table_columns


def account_tables(connection: duckdb.DuckDBPyConnection, layout: TableLayout) -> list[str]:
    """Give the tables, as SQL, that are or were kept beside a stream's own, in whichever form."""
    hidden = f"_{layout.schema}"
    # No contract has a column that begins with an underscore, so that no stream's table is mistaken for one.
    superseded = BROUGHT_BY.name in table_columns(connection, hidden, layout.table)
    return [*version_tables(connection, layout), *([qualified(hidden, layout.table)] if superseded else [])]


def settle_accounts(
    connection: duckdb.DuckDBPyConnection, stream: Stream, layout: TableLayout, at: datetime
) -> None:
    """Bring the tables up to the stream's contract, where there are any.

    Args:
        connection: The warehouse.
        stream: The stream.
        layout: Its own table.
        at: Now; naive UTC.
    """
    load = Load(connection, stream, layout, at.date(), None, "", at)
    match stream.write:
        case Snapshot() as write:
            versions = Versions(load, write)
            if versions.exist():
                versions.prepare()
        case Merge() as write:
            superseded = Superseded(load, tuple(map(quoted, write.key_columns)), quoted(write.version))
            if superseded.is_kept and superseded.exists():
                superseded.prepare()
