"""Memory does not grow with the day: the peak of a loading process, for days from an API and from a CSV file.

The large ones take minutes: `python -m pytest -m slow etl_assets_tests/integration/test_large_days.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from etl_assets_tests.integration.large_days import Loaded, load_large_day

SMALL_DAY, SMALL_DAY_MIB = 200_000, 360
"""Rows of a day that is quickly loaded, and what may be held meanwhile. It takes 300 to 310 MiB, of which 225 are those
of a day of a thousand rows; held as one chunk, it takes 400 to 410."""

LARGE_DAY, LARGE_DAY_MIB = 5_000_000, 1_024


def check(loaded: Loaded, rows: int, mib: int) -> None:
    """Every row is there, and memory was bounded."""
    assert (loaded.status, loaded.extracted, loaded.loaded) == ("published", rows, rows)
    assert loaded.peak_mib < mib


@pytest.mark.parametrize("kind", ["api", pytest.param("csv", marks=pytest.mark.slow)])
def test_a_small_version_of_a_large_day(kind: str, tmp_path: Path) -> None:
    check(load_large_day(kind, SMALL_DAY, tmp_path), SMALL_DAY, SMALL_DAY_MIB)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["api", "csv"])
def test_a_day_of_five_million_rows_stays_below_a_gibibyte(kind: str, tmp_path: Path) -> None:
    check(load_large_day(kind, LARGE_DAY, tmp_path), LARGE_DAY, LARGE_DAY_MIB)
