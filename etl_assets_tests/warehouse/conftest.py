"""What every test of the warehouse starts from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import Stager


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A warehouse that does not exist yet."""
    return Warehouse(tmp_path / "data" / "warehouse.duckdb", lock_timeout=5)


@pytest.fixture
def session(warehouse: Warehouse) -> Iterator[Session]:
    """An open session on an empty warehouse."""
    with warehouse.session("test") as opened:
        yield opened


@pytest.fixture
def stager(tmp_path: Path) -> Stager:
    """Makes staged files."""
    return Stager(tmp_path / "staged")
