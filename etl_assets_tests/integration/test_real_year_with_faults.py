"""The real year from a source that fails one request in seven, in every way that it knows: the same tables.

A quarter of it by default, and the whole of it with `-m slow`.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import date
from pathlib import Path

import duckdb
import pytest

from etl_assets.demo.server import SpawnedSource
from etl_assets.settings import load_settings
from etl_assets.sources.statistics_file import read_counts
from etl_assets_tests.integration.commands import run_process
from etl_assets_tests.integration.shops import LINES, ORDERS
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, NOT_IN_FILES, differences, select, tables

FAULTS = {
    "errors": 0.05,
    "rate_limited": 0.05,
    "cut_off": 0.02,
    "html": 0.02,
    "latency": 0.002,
    "retry_after": 0,
    "seed": 11,
}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param(date(2011, 7, 18), date(2011, 10, 15), id="quarter"),
        pytest.param(date(2010, 12, 1), date(2011, 12, 13), id="year", marks=pytest.mark.slow),
    ],
)
def test_faults_change_no_row(
    real_source: SpawnedSource, reference: Path, tmp_path: Path, first: date, last: date
) -> None:
    real_source.control.reset_stats()
    real_source.control.set_faults(**FAULTS)
    variables = {
        "ETL_DATA_DIR": str(tmp_path),
        "ETL_SHOP_URL": real_source.url,
        "ETL_SHOP_TOKEN": real_source.token,
    }
    try:
        done = run_process(
            variables, "backfill", LINES, ORDERS, "--from", f"{first}", "--to", f"{last}", "--json"
        )
        answers = _answers(real_source)
        asked = real_source.control.stats()["total"]
    finally:
        real_source.control.set_faults()
    assert done.exit_code == 0, done.out + done.err
    # Without faults, each page takes one request; HTML pages are among the good answers that the source counts.
    pages = sum(
        len(json.loads(path.read_bytes())["pages"]) for path in tmp_path.rglob("landing/**/manifest.json")
    )
    # The faults were there: about 5, 5, 2 and 2 in a hundred requests, of which there is at least one a page.
    assert sum(answers[status] for status in ("500", "502", "503", "504")) > pages / 50
    assert answers["429"] > pages / 50
    assert answers["cut_off"] > 0
    assert answers["200"] - pages > 0
    assert 1.1 * pages < asked < 1.5 * pages
    # The client kept count of the last run.
    counts = read_counts(load_settings(variables).state_dir)["shop"]
    assert counts.failures == counts.retries > 10
    assert counts.requests < 1.5 * (counts.requests - counts.retries)
    assert set(counts.failures_by_class) == {"transient", "rate_limited"}
    warehouse = tmp_path / "warehouse.duckdb"
    assert tables(warehouse) == {"shop.order_lines", "shop.orders", "marts.daily_sales"}
    expected = _days_of(reference, first, last, tmp_path / "reference.duckdb")
    assert differences(warehouse, expected, leaving_out=NOT_IN_FILES) == {}
    assert select(warehouse, NOT_CONSERVED) == []
    assert len(select(warehouse, "SELECT * FROM etl.quarantine")) == 2
    shutil.rmtree(tmp_path)


def _days_of(reference: Path, first: date, last: date, target: Path) -> Path:
    """Copy the reference with the days from first to last alone."""
    shutil.copy(reference, target)
    with duckdb.connect(str(target)) as connection:
        for table, day in (
            ("shop.order_lines", "_partition"),
            ("shop.orders", "_partition"),
            ("marts.daily_sales", "day"),
        ):
            connection.execute(f"DELETE FROM {table} WHERE {day} NOT BETWEEN ? AND ?", [first, last])
    return target


def _answers(source: SpawnedSource) -> Counter[str]:
    answers: Counter[str] = Counter()
    for by_outcome in source.control.stats()["requests"].values():
        answers.update(by_outcome)
    return answers
