"""Folders of files for tests, and what a reader makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from etl_assets.settings import SourceSettings
from etl_assets.sources.base import Page
from etl_assets.sources.decode import decode
from etl_assets.sources.files import FileReader
from etl_assets.streams.base import Files, FileSource

DAY = date(2025, 1, 31)
SOON = datetime(2025, 2, 1, 6, tzinfo=UTC)
"""An hour before the deadline that `files` declares."""

CONTENT = b"day,currency,rate\n2025-01-31,USD,1.0393\n2025-01-31,GBP,0.83608\n"
RECORDS = [
    {"day": "2025-01-31", "currency": "USD", "rate": "1.0393"},
    {"day": "2025-01-31", "currency": "GBP", "rate": "0.83608"},
]


def files(path: str = "fx_{day:%Y-%m-%d}.csv", **more: Any) -> Files:
    """Declare files that may be read at once, and missing until 07:00 of the next day."""
    declared: dict[str, Any] = {
        "format": "csv",
        "settle": timedelta(0),
        "deadline": timedelta(hours=7),
        **more,
    }
    return Files(path=path, **declared)


def open_folder(address: Path | str, *, now: datetime | None = None, **more: Any) -> FileReader:
    """Open a folder, with a clock that stands still if one is given."""
    settings = SourceSettings(str(address), None, "ETL_FINANCE_URL", "ETL_FINANCE_TOKEN")
    if now is not None:
        more["now"] = lambda: now
    return FileReader(FileSource(name="finance"), settings, **more)


def read(address: Path | str, declared: Files, **more: Any) -> list[Page]:
    """Read a day's pages."""
    with open_folder(address, **more) as reader:
        return list(reader.pages(declared, DAY))


def records_of(pages: Sequence[Page], declared: Files) -> list[Any]:
    """Decode pages, and see to it that the reader counted what comes out."""
    bodies: Iterator[bytes] = (page.body for page in pages)
    records = [record for batch in decode(bodies, declared) for record in batch]
    assert sum(page.records for page in pages) == len(records)
    return records
