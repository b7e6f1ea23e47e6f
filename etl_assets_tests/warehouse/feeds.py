"""Streams that append, apply a change feed and take snapshots, and rows for them.

What belongs here: declarations and rows for the tests of these dispositions. What does not: assertions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from etl_assets.streams.base import (
    Append,
    Cdc,
    Contract,
    Date,
    Field,
    Snapshot,
    Stream,
    Timestamp,
)
from etl_assets.streams.write import WriteDisposition
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import EXTRACT, FIRST_DAY, SOURCE, Row, Stager, unchanged

OPEN_GAPS = "SELECT after_sequence, before_sequence FROM etl.sequence_gaps WHERE closed_at IS NULL ORDER BY 1"
"""Numbers of a feed between which some are missing."""


class Clicks(Contract):
    """Events without a key."""

    page: str = Field(missing="allow")
    seconds: float = Field(missing="allow")
    clicked_at: Timestamp = Field()


class Products(Contract):
    """Changes to products; a delete brings a key and nothing else."""

    lsn: int = Field()
    op: str = Field(isin=["I", "U", "D"])
    changed_at: Timestamp = Field()
    product_id: str = Field()
    price: float = Field(missing="allow")
    name: str = Field(missing="allow")


class Customers(Contract):
    """All customers that there are."""

    customer_id: str = Field()
    name: str = Field(missing="allow")
    points: int = Field()
    since: Date = Field()


def _stream(name: str, contract: type[Contract], write: WriteDisposition, **more: Any) -> Stream:
    return Stream(
        source=SOURCE,
        name=name,
        owner="team:sales",
        extract=EXTRACT,
        contract=contract,
        transform=unchanged,
        write=write,
        **more,
    )


CLICKS = _stream("clicks", Clicks, Append(), window_column="clicked_at", business_date="clicked_at")


def products(delete: Literal["soft", "hard"], *, contiguous: bool = True) -> Stream:
    """Give the stream of products, with deletes of either kind."""
    write = Cdc(key="product_id", sequence="lsn", operation="op", delete=delete, contiguous=contiguous)
    return _stream("products", Products, write, window_column="changed_at", business_date="changed_at")


def customers(
    removed: Literal["mark", "delete"] = "mark", *, history: bool = False, guard: float = 1.0
) -> Stream:
    """Give the stream of customers."""
    write = Snapshot(key="customer_id", removed=removed, history=history, guard=guard)
    return _stream("customers", Customers, write, business_date="since")


def click(page: str | None, clicked_at: datetime, seconds: float | None = 1.0) -> Row:
    """Make a click."""
    return {"page": page, "seconds": seconds, "clicked_at": clicked_at}


def change(
    lsn: int,
    op: str,
    changed_at: datetime,
    product_id: str = "p",
    price: float | None = None,
    name: str | None = None,
) -> Row:
    """Make a change to a product."""
    return {
        "lsn": lsn,
        "op": op,
        "changed_at": changed_at,
        "product_id": product_id,
        "price": price,
        "name": name,
    }


def customer(customer_id: str, points: int = 0, name: str | None = "n", since: date = FIRST_DAY) -> Row:
    """Make a customer."""
    return {"customer_id": customer_id, "name": name, "points": points, "since": since}


@contextmanager
def fresh_session() -> Iterator[tuple[Session, Stager]]:
    """Give a session on a new warehouse in a folder of its own, for one example of a property."""
    with tempfile.TemporaryDirectory() as folder:
        stager = Stager(Path(folder) / "staged")
        with Warehouse(Path(folder) / "w.duckdb").session("property") as session:
            yield session, stager
