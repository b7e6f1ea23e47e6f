"""Reading the warehouse with a user's own SQL.

What belongs here: running one statement that reads, and handing its rows on. What does not: presenting them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from etl_assets.failures import ConfigurationError, WarehouseError
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.errors import damage_told, one_line

BATCH_ROWS = 10_000
"""Rows that are held in memory at once."""


@contextmanager
def rows_of(warehouse: Warehouse, sql: str) -> Iterator[pa.RecordBatchReader]:
    """Run a statement on the warehouse, which is opened for reading only; loads wait until it is read.

    Args:
        warehouse: The warehouse.
        sql: One statement.

    Yields:
        The rows, batch by batch.

    Raises:
        ConfigurationError: If it is not one statement that can be run.
        WarehouseError: If it fails, or there is no warehouse yet.
    """
    _check_single(sql)
    with warehouse.read("etl-assets query") as connection:
        try:
            with damage_told(warehouse.path):
                yield connection.execute(sql).to_arrow_reader(BATCH_ROWS)
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            raise ConfigurationError(f"the query cannot be run: {one_line(error)}") from error
        except duckdb.InvalidInputException as error:
            if "read-only" not in str(error):
                raise WarehouseError(f"the query failed: {one_line(error)}") from error
            raise ConfigurationError(
                "the warehouse is opened for reading only", hint="tables change by loads alone"
            ) from error
        except duckdb.Error as error:
            # What the query says of the user's own data, such as a failed cast, is for the user to read.
            raise WarehouseError(f"the query failed: {str(error).splitlines()[0]}") from error


def _check_single(sql: str) -> None:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise ConfigurationError(f"the query cannot be run: {one_line(error)}") from error
    if len(statements) != 1:
        raise ConfigurationError(f"a query is one statement, not {len(statements)}")
