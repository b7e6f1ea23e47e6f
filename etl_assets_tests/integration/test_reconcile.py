"""`etl-assets reconcile`: one small request a day, and only days that drifted are read again; seen at the server."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest

from etl_assets.cli.days import days_between
from etl_assets.demo.clock import Clock, parse_time
from etl_assets.demo.deliveries import Deliveries
from etl_assets.demo.server import RunningSource, running_source
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.loading import load
from etl_assets_tests.integration.shops import LINES
from etl_assets_tests.integration.warehouses import select

DAYS = days_between(date(2025, 1, 1), date(2025, 1, 31))
RANGE = ("--from", str(DAYS[0]), "--to", str(DAYS[-1]))
PATH = "/v1/order-lines"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
ROW = "{invoice},00042,LAMP,1,{day} 12:00:00,1.000,12000.0,France\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A month of day files."""
    (tmp_path / "days").mkdir()
    for day in DAYS:
        rows = "".join(ROW.format(invoice=number, day=day) for number in range(day.day % 5 + 1))
        (tmp_path / "days" / f"{day}.csv").write_text(HEADER + rows)
    return tmp_path / "days"


@pytest.fixture
def served(folder: Path) -> Iterator[RunningSource]:
    """The month, served by a shop that looks at its files anew for each request."""
    with running_source(data=folder, clock=Clock(fixed=parse_time("2025-03-01T00:00:00Z"))) as running:
        yield running


def asked(source: RunningSource) -> Counter[str]:
    """Answers that the source gave since the last time, by status."""
    found: Counter[str] = Counter()
    for (path, status), number in source.stats.requests.items():
        if path == PATH:
            found[status] += number
    source.stats.requests.clear()
    return found


def test_only_the_day_that_drifted_is_read_again(
    use: Use, etl: Etl, folder: Path, served: RunningSource
) -> None:
    settings = use(served)
    assert all(outcome.status.is_published for outcome in load(settings, LINES, DAYS))
    before = select(settings.warehouse_path, "SELECT _partition, count(*) FROM shop.order_lines GROUP BY ALL")
    late = DAYS[11]
    with (folder / f"{late}.csv").open("a") as file:
        file.write(ROW.format(invoice=99, day=late) * 2)
    asked(served)

    looked = etl("reconcile", LINES, *RANGE, "--dry-run", "--json")
    assert asked(served) == {"200": len(DAYS)}, "one request a day"
    (told,) = looked.json()["streams"]
    (day,) = told["drifted"]
    assert (looked.exit_code, told["asked"], told["equal"]) == (1, 31, 30)
    assert (day["partition"], day["there"] - day["here"]) == (str(late), 2)
    assert looked.json()["loaded"] is None

    mended = etl("reconcile", LINES, *RANGE)
    assert (mended.exit_code, asked(served)) == (0, {"200": len(DAYS) + 1}), mended
    assert f"{LINES} {late} drifted: {day['here']} records here, {day['there']} there" in mended.out
    after = select(settings.warehouse_path, "SELECT _partition, count(*) FROM shop.order_lines GROUP BY ALL")
    assert dict(after) == dict(before) | {late: dict(before)[late] + 2}

    again = etl("reconcile", LINES, *RANGE, "--json")
    assert (again.exit_code, again.json()["streams"][0]["equal"], again.json()["loaded"]) == (0, 31, None)


def test_an_emptied_day_is_withheld_and_one_never_loaded_is_left_alone(
    use: Use, etl: Etl, folder: Path, served: RunningSource
) -> None:
    use(served)
    etl("backfill", LINES, "--from", str(DAYS[0]), "--to", str(DAYS[2]))
    (folder / f"{DAYS[1]}.csv").write_text(HEADER)
    done = etl("reconcile", LINES, *RANGE, "--json")
    assert done.exit_code == 1
    assert done.json()["streams"][0]["missing"] == 28
    assert done.json()["still_different"] == [], "what was withheld is told once"
    (problem,) = done.json()["loaded"]["streams"][0]["problems"]
    assert (problem["partition"], problem["status"]) == (str(DAYS[1]), "withheld")
    told = etl("reconcile", LINES, *RANGE, "--dry-run")
    assert "loaded by etl-assets backfill --missing" in told.out


def test_files_and_tables_are_told_of_without_reading_them(use: Use, etl: Etl, tmp_path: Path) -> None:
    rates, database = tmp_path / "rates", tmp_path / "erp.db"
    use(ETL_FINANCE_URL=str(rates), ETL_ERP_URL=f"sqlite:///{database}", ETL_START_DATE=str(DAYS[0]))
    Deliveries(rates, database).deliver(DAYS[:3])
    _settle(rates)
    span = ("--from", str(DAYS[0]), "--to", str(DAYS[2]))
    assert etl("backfill", "finance", "erp", *span).exit_code == 0
    quiet = etl("reconcile", "finance", "erp", *span, "--json").json()
    assert [(each["stream"], each["equal"]) for each in quiet["streams"]] == [
        ("erp/stock_levels", 3),
        ("finance/fx_rates", 3),
    ]
    (file,) = rates.rglob(f"*{DAYS[1]}*")
    file.write_bytes(file.read_bytes())
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "DELETE FROM stock_levels WHERE stock_level_id = (SELECT min(stock_level_id) FROM stock_levels)"
        )
    told = etl("reconcile", "finance", "erp", *span, "--dry-run", "--json").json()
    drifted = {each["stream"]: [day["partition"] for day in each["drifted"]] for each in told["streams"]}
    assert drifted == {"erp/stock_levels": [str(DAYS[0])], "finance/fx_rates": [str(DAYS[1])]}


def _settle(folder: Path) -> None:
    """Make files look as if they had been written an hour ago."""
    past = time.time() - 3_600
    for file in folder.rglob("*.csv"):
        os.utime(file, (past, past))


def test_a_source_that_does_not_answer_is_an_error_and_a_stream_without_a_count_is_none(
    use: Use, etl: Etl
) -> None:
    with running_source(lines_per_day=5, clock=Clock(fixed=parse_time("2025-03-01T00:00:00Z"))) as source:
        use(source)
        span = ("--from", str(DAYS[0]), "--to", str(DAYS[1]))
        assert etl("backfill", "shop", *span).exit_code == 0
        told = etl("reconcile", "shop", *span)
        source.faults.fail_days = [str(DAYS[0] + timedelta(days=1))]
        failed = etl("reconcile", LINES, *span)
    assert told.exit_code == 0, told
    assert "shop/orders: cannot tell: the stream declares no count" in told.out
    assert failed.exit_code == 1
    assert f"{LINES}: {DAYS[1]} could not be asked about" in failed.out
