"""Two small streams and their staged files, for the warehouse's tests.

What belongs here: making commit requests from plain rows. What does not: assertions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from etl_assets.outcomes import Counts, Status
from etl_assets.streams.base import (
    Contract,
    Cursor,
    Date,
    Decimal3,
    Field,
    Merge,
    ReplacePartition,
    Rest,
    RestSource,
    Stream,
    Timestamp,
    WindowParameters,
)
from etl_assets.streams.children import CHILDREN_COLUMN
from etl_assets.streams.contract import arrow_schema
from etl_assets.warehouse.commit_request import CommitRequest

LOADED_AT = datetime(2025, 6, 1, 12, tzinfo=UTC)
FIRST_DAY = date(2025, 1, 1)
QUARANTINE_SCHEMA = pa.schema(
    [
        ("row_number", pa.int64()),
        ("rules", pa.list_(pa.string())),
        ("reasons", pa.list_(pa.string())),
        ("raw_payload", pa.string()),
    ]
)

SOURCE = RestSource(name="shop")
EXTRACT = Rest(path="/rows", window=WindowParameters("from", "to"), paginator=Cursor())

Row = dict[str, Any]


class Lines(Contract):
    """Sold lines."""

    line_id: str = Field(description="The line's own name")
    invoice_no: str = Field()
    quantity: int = Field()
    amount: Decimal3 = Field()
    invoiced_at: Timestamp = Field()
    customer_id: str = Field(missing="allow")
    is_cancellation: bool = Field()


class Orders(Contract):
    """Orders in their newest state."""

    order_id: str = Field()
    status: str = Field(missing="allow")
    total: float = Field()
    created_on: Date = Field()
    updated_at: Timestamp = Field()


def unchanged(raw: pd.DataFrame) -> pd.DataFrame:
    """Give the rows as they are; the tests stage their rows themselves."""
    return raw


LINES = Stream(
    source=SOURCE,
    name="order_lines",
    owner="team:sales",
    extract=EXTRACT,
    contract=Lines,
    transform=unchanged,
    write=ReplacePartition(),
    window_column="invoiced_at",
    business_date="invoiced_at",
)
ORDERS = Stream(
    source=SOURCE,
    name="orders",
    owner="team:sales",
    extract=EXTRACT,
    contract=Orders,
    transform=unchanged,
    write=Merge(key="order_id", version="updated_at"),
    window_column="updated_at",
    business_date="created_on",
)


def day(number: int) -> date:
    """Give a day, counted from the first."""
    return FIRST_DAY + timedelta(days=number)


def at(number: int, hour: int = 0) -> datetime:
    """Give an hour of a day, as the tables hold it."""
    return datetime.combine(day(number), datetime.min.time()) + timedelta(hours=hour)


def line(number: int, name: str, amount: str = "1.500", **changes: Any) -> Row:
    """Make an order line of a day."""
    row = {
        "line_id": f"{number}-{name}",
        "invoice_no": f"i{number}-{name[:1]}",
        "quantity": 2,
        "amount": Decimal(amount),
        "invoiced_at": at(number, 9),
        "customer_id": None,
        "is_cancellation": False,
    }
    return row | changes


def order(order_id: str, updated_at: datetime, created_on: date = FIRST_DAY, **changes: Any) -> Row:
    """Make an order in one state."""
    row: Row = {
        "order_id": order_id,
        "status": "pending",
        "total": 1.0,
        "created_on": created_on,
        "updated_at": updated_at,
    }
    return row | changes


class Stager:
    """Makes staged files and commit requests below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0

    def request(
        self, stream: Stream, number: int, rows: Sequence[Row], bad: Sequence[str] = (), **changes: Any
    ) -> CommitRequest:
        """Make a request to publish the rows of a day.

        Args:
            stream: The stream.
            number: The day.
            rows: Staged rows.
            bad: Raw payloads of quarantined rows.
            changes: Fields of the request to set otherwise.
        """
        content = hashlib.sha256(repr((list(rows), list(bad))).encode()).hexdigest()
        request = CommitRequest(
            stream=stream,
            partition=day(number),
            run_id="run-1",
            verdict=Status.PUBLISHED,
            rows=self.rows_file(stream, rows),
            quarantine=self.bad_file(bad),
            counts=Counts(extracted=len(rows) + len(bad), staged=len(rows), quarantined=len(bad)),
            violations={"rule_a": len(bad)} if bad else {},
            content_hash=content,
            landing_version=f"landed-{number}",
            watermark=datetime.combine(day(number + 1), datetime.min.time(), UTC),
            contract_version="c1",
            code_version="v1",
            seconds={"extract": 0.5, "stage": 0.25},
            loaded_at=LOADED_AT,
        )
        return replace(request, **changes)

    def rows_file(self, stream: Stream, rows: Sequence[Row]) -> Path:
        """Write staged rows, with the ordinal that extraction adds."""
        schema = arrow_schema(stream.contract)
        if stream.children:
            schema = schema.append(pa.field(CHILDREN_COLUMN, pa.string()))
        table = pa.Table.from_pylist(list(rows), schema=schema)
        ordinals = pa.array(range(len(rows)), pa.int64())
        return self._write(table.append_column("_row", ordinals))

    def bad_file(self, payloads: Sequence[str]) -> Path | None:
        """Write quarantined rows; None when there are none."""
        if not payloads:
            return None
        rows = [
            {
                "row_number": n,
                "rules": ["rule_a", "rule_b"],
                "reasons": ["a", "b"],
                "raw_payload": text,
            }
            for n, text in enumerate(payloads)
        ]
        return self._write(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA))

    def _write(self, table: pa.Table) -> Path:
        self._files += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{self._files}.parquet"
        pq.write_table(table, path)
        return path


def select(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """Run a query and give its rows."""
    return connection.execute(sql).fetchall()


def everything(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[Any, ...]]]:
    """Give the rows of every table, in no particular order, for comparing the state before and after."""
    tables = select(
        connection,
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = current_database()",
    )
    return {
        f"{schema}.{name}": sorted(select(connection, f'SELECT * FROM "{schema}"."{name}"'), key=repr)
        for schema, name in tables
    }
