"""What tests of SQL sources share: a table of stock levels, and reading it."""

from __future__ import annotations

import sys
from datetime import date
from typing import Any

import pytest

from etl_assets.settings import SourceSettings
from etl_assets.sources.base import Page
from etl_assets.sources.decode import decode
from etl_assets.sources.sql import SqlReader
from etl_assets.streams.base import Sql, SqlSource

DAY = date(2025, 1, 31)
WAYS = ("adbc", "sqlalchemy")
"""How PostgreSQL is read where ADBC's driver is installed, and where it is not."""


def stock(**more: Any) -> Sql:
    """Declare the extraction of stock levels."""
    declared: dict[str, Any] = {
        "table": "stock_levels",
        "columns": ("warehouse", "sku", "level", "counted_at"),
        "key": ("warehouse", "sku"),
        "window_column": "counted_at",
        "page_size": 3,
        **more,
    }
    if "query" in more:
        del declared["table"]
    return Sql(**declared)


def open_database(url: str, concurrency: int = 1) -> SqlReader:
    """Open a database as a source named erp."""
    settings = SourceSettings(url, None, "ETL_ERP_URL", "ETL_ERP_TOKEN")
    return SqlReader(SqlSource(name="erp", concurrency=concurrency), settings)


def set_way(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have databases opened one way from here on."""
    if way == "adbc":
        pytest.importorskip(
            "adbc_driver_postgresql", reason="the driver adbc-driver-postgresql is not installed"
        )
    else:
        monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)


def read(url: str, declared: Sql, day: date = DAY) -> list[Page]:
    """Read a day's pages."""
    with open_database(url) as reader:
        return list(reader.pages(declared, day))


def read_records(url: str, declared: Sql, day: date = DAY) -> list[dict[str, Any]]:
    """Read a day's records, and see to it that they were counted rightly."""
    with open_database(url) as reader:
        return records_of(reader, declared, day)


def records_of(reader: SqlReader, declared: Sql, day: date) -> list[dict[str, Any]]:
    """Read a day's records from an open database."""
    pages = list(reader.pages(declared, day))
    records = [record for batch in decode((page.body for page in pages), declared) for record in batch]
    assert sum(page.records for page in pages) == len(records)
    return records
