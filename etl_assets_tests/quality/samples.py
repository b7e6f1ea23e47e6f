"""Records of the sources, and what becomes of records in a stream's own contract.

What belongs here: making records and putting them through a real stream. What does not: assertions.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd
import pandera.errors
import pyarrow as pa

from etl_assets.quality.frame import raw_frame, separate_objects
from etl_assets.quality.repeats import SeenValues
from etl_assets.quality.rules import compile_contract
from etl_assets.quality.split import split_rows
from etl_assets.streams.base import Stream
from etl_assets.streams.discovery import discover_streams

Record = dict[str, Any]

DAY = date(2025, 3, 10)
STREAMS = discover_streams()
ORDER_LINES = STREAMS["shop/order_lines"]
ORDERS = STREAMS["shop/orders"]
PRODUCTS = STREAMS["shop/products"]
CUSTOMERS = STREAMS["shop/customers"]
FX_RATES = STREAMS["finance/fx_rates"]
STOCK_LEVELS = STREAMS["erp/stock_levels"]
PLATFORM_RULES = ("parse", "window", "unique", "object")
"""Rules that the platform adds to what a pandera contract says."""


def line(line_id: Any = "536365-1", **changes: Any) -> Record:
    """Make an order line that keeps every rule."""
    record = {
        "line_id": line_id,
        "invoice_no": "536365",
        "stock_code": "85123A",
        "description": "WHITE HANGING HEART",
        "quantity": 6,
        "unit_price": "2.55",
        "invoiced_at": "2025-03-10T08:26:00Z",
        "customer_id": "17850",
        "country": "United Kingdom",
    }
    return record | changes


def order(order_id: Any = "536365", **changes: Any) -> Record:
    """Make an order that keeps every rule."""
    record = {
        "order_id": order_id,
        "customer_id": "17850",
        "status": "completed",
        "currency": "GBP",
        "total": "139.12",
        "item_count": 7,
        "country": "United Kingdom",
        "created_at": "2025-03-09T08:26:00Z",
        "updated_at": "2025-03-10T09:00:00Z",
    }
    return record | changes


def change(lsn: Any = 7, **changes: Any) -> Record:
    """Make a change to a product that keeps every rule."""
    record = {
        "lsn": lsn,
        "op": "U",
        "ts": "2025-03-10T06:00:00Z",
        "product_id": "85123A",
        "after": {"stock_code": "85123A", "description": "WHITE HANGING HEART", "unit_price": "2.55"},
    }
    return record | changes


def customer(number: Any = "17850", **changes: Any) -> Record:
    """Make a customer that keeps every rule."""
    record = {
        "customer_id": number,
        "name": "Ada Adams",
        "email": f"ada.{number}@example.com",
        "phone": "+44 7700 900123",
        "country": "United Kingdom",
        "first_seen_on": "2025-03-10",
    }
    return record | changes


def rate(quote_currency: Any = "USD", **changes: Any) -> Record:
    """Make an exchange rate, as a CSV file gives it, that keeps every rule."""
    record = {"rate_date": "2025-03-10", "base_currency": "EUR", "rate": "1.0875"}
    return record | {"quote_currency": quote_currency} | changes


def posting(stock_level_id: Any = 7, **changes: Any) -> Record:
    """Make a stock level, as the ERP's table gives it, that keeps every rule."""
    record = {
        "stock_level_id": stock_level_id,
        "stock_code": "85123A",
        "warehouse_code": "LON",
        "quantity_on_hand": 12,
        "updated_at": "2025-03-10 14:30:00",
    }
    return record | changes


def without(record: Record, *names: str) -> Record:
    """Leave fields out of a record."""
    return {name: value for name, value in record.items() if name not in names}


@dataclass(frozen=True)
class Judged:
    """What became of some records.

    Attributes:
        cleaned: What the transform made of them.
        table: The good rows.
        good: The good rows as plain values, by position.
        bad: Reasons by rule, by position.
        violations: Rows per rule.
        warnings: Rows per warning rule.
        warned: Rows that broke a warning rule.
    """

    cleaned: pd.DataFrame
    table: pa.Table
    good: dict[int, Record]
    bad: dict[int, dict[str, str]]
    violations: Counter[str]
    warnings: Counter[str]
    warned: int


def judge(stream: Stream, records: Sequence[Any], seen: SeenValues | None = None, day: date = DAY) -> Judged:
    """Put records through a stream's transform and contract, as staging does with a chunk."""
    contract = compile_contract(stream.contract)
    objects, positions, _ = separate_objects(records)
    raw = raw_frame(objects, contract.raw_fields)
    cleaned = stream.transform(raw)
    split = split_rows(
        contract,
        raw,
        cleaned,
        window=stream.extract.window_of(day),
        window_column=stream.window_column,
        seen=seen,
    )
    return Judged(
        cleaned=cleaned,
        table=split.good,
        good={
            positions[position]: row
            for position, row in zip(split.good_positions.tolist(), split.good.to_pylist(), strict=True)
        },
        bad={
            positions[row["position"]]: dict(zip(row["rule_list"], row["reason_list"], strict=True))
            for row in split.bad.to_pylist()
        },
        violations=split.violations,
        warnings=split.warnings,
        warned=split.warned,
    )


def only(judged: Judged) -> Record:
    """Give the one good row."""
    assert judged.bad == {}
    (row,) = judged.good.values()
    return row


def contract_frame(stream: Stream, table: pa.Table) -> pd.DataFrame:
    """Give good rows as the frame that the stream's contract describes."""
    columns = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            columns[name] = column.to_pandas().dt.tz_localize("UTC")
        elif pa.types.is_string(column.type):
            columns[name] = column.to_pandas().astype("str")
        else:
            columns[name] = column.to_pandas(types_mapper=pd.ArrowDtype)
    schema = stream.contract.to_schema()
    frame = pd.DataFrame(columns)
    nullable = {name: "Int64" for name, column in schema.columns.items() if str(column.dtype) == "Int64"}
    return frame.astype(nullable)


def rows_refused_by_pandera(stream: Stream, frame: pd.DataFrame) -> set[Any]:
    """Ask pandera itself: the index values of the rows that its own validation refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warning rules warn, and that is not what is asked here
        try:
            stream.contract.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as error:
            return set(error.failure_cases["index"].tolist())
    return set()
