"""Whether tables and bookkeeping still tell the same story.

What belongs here: comparing them. What does not: explaining or mending what differs (`etl_assets.pipeline.doctor`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date

import duckdb

from etl_assets.failures import ConfigurationError
from etl_assets.streams.base import ReplacePartition, Stream
from etl_assets.warehouse.identifiers import qualified
from etl_assets.warehouse.ledger import ROLLED_BACK
from etl_assets.warehouse.schema import layout_of, table_columns


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A day whose rows in the table are not as many as its last load left there."""

    partition: date
    in_table: int
    loaded: int


def row_differences(connection: duckdb.DuckDBPyConnection, stream: Stream) -> list[RowDifference]:
    """Find days whose rows were changed by something else than a load.

    Only a table whose days are replaced as a whole can tell: in others, rows move from day to day.
    """
    layout = layout_of(stream)
    is_there = table_columns(connection, layout.schema, layout.table)
    if not (isinstance(stream.write, ReplacePartition) and is_there):
        return []
    found = connection.execute(
        f"WITH t AS (SELECT _partition AS partition, count(*) AS n FROM {layout.name} GROUP BY ALL), "
        "p AS (SELECT partition, loaded_rows AS n FROM etl.partitions WHERE source = ? AND stream = ? "
        "AND published_at IS NOT NULL) "
        "SELECT partition, coalesce(t.n, 0), coalesce(p.n, 0) FROM t FULL JOIN p USING (partition) "
        "WHERE coalesce(t.n, 0) <> coalesce(p.n, 0) ORDER BY partition",
        [stream.source.name, stream.name],
    ).fetchall()
    return [RowDifference(*row) for row in found]


def published_landings(connection: duckdb.DuckDBPyConnection, stream: Stream) -> dict[date, str]:
    """Give the landed answers that each published day was made from."""
    if not table_columns(connection, "etl", "loads"):
        return {}
    found = connection.execute(
        "SELECT partition, landing_version FROM (SELECT * FROM etl.loads WHERE source = ? AND stream = ? "
        "QUALIFY row_number() OVER (PARTITION BY partition ORDER BY load_id DESC) = 1) "
        "WHERE landing_version IS NOT NULL AND verdict <> ? ORDER BY partition",
        [stream.source.name, stream.name, ROLLED_BACK],
    ).fetchall()
    return {row[0]: row[1] for row in found}


def partitions_of(connection: duckdb.DuckDBPyConnection, stream: Stream) -> set[date]:
    """Give the days of a stream that have an outcome, whichever, or were taken back."""
    found = connection.execute(
        "SELECT partition FROM etl.partitions WHERE source = $source AND stream = $stream "
        "UNION SELECT partition FROM etl.loads WHERE source = $source AND stream = $stream",
        {"source": stream.source.name, "stream": stream.name},
    ).fetchall()
    return {row[0] for row in found}


def read_everything(connection: duckdb.DuckDBPyConnection) -> None:
    """Read every value of every table, so that DuckDB compares the check sum of each block in use.

    Raises:
        duckdb.Error: If one of them is damaged.
    """
    found = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
    ).fetchall()
    for schema, table in found:
        with suppress(ConfigurationError):  # somebody's own table, of a name that none of ours can have
            connection.execute(f"SELECT bit_xor(hash(t)) FROM {qualified(schema, table)} AS t").fetchall()


def undeclared_tables(connection: duckdb.DuckDBPyConnection, declared: set[str]) -> list[str]:
    """Give streams that were loaded once and that no file declares any more."""
    if not table_columns(connection, "etl", "partitions"):
        return []
    found = connection.execute("SELECT DISTINCT source, stream FROM etl.partitions ORDER BY ALL").fetchall()
    names = [f"{source}/{stream}" for source, stream in found]
    return [name for name in names if name not in declared and table_columns(connection, *name.split("/"))]
