"""The warehouse as a resource, on dagster-duckdb's, with the single-writer lock around every connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field

from etl_assets.warehouse.database import Warehouse

WAREHOUSE = "warehouse"


class WarehouseResource(DuckDBResource):
    """The DuckDB warehouse, written by one process at a time."""

    lock_timeout: float = Field(default=300.0, description="Seconds to wait for another writer.")
    memory_limit: str = Field(
        default="1GB", description="Memory that DuckDB may use before it spills to disk."
    )

    def open(self) -> Warehouse:
        """Describe the warehouse; nothing is opened yet."""
        return Warehouse(Path(self.database), lock_timeout=self.lock_timeout, memory_limit=self.memory_limit)

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a read-write connection for one's own assets; no other process can use the file meanwhile.

        Raises:
            WarehouseBusyError: If another process does not finish in time.
        """
        with self.open().session("own asset") as session:
            yield session.connection
