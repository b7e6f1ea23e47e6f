"""Replay: everything that was landed can be loaded again without the source."""

from __future__ import annotations

from etl_assets.demo.server import running_source
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.shops import LINES, ORDERS, PRODUCTS
from etl_assets_tests.integration.warehouses import differences

STREAMS = (LINES, ORDERS, PRODUCTS)
DAYS = ("--from", "2025-03-01", "--to", "2025-03-04")


def test_a_lost_warehouse_comes_back_from_landing_alone(use: Use, etl: Etl) -> None:
    with running_source(lines_per_day=60) as source:
        settings = use(source)
        assert etl("backfill", *STREAMS, *DAYS).exit_code == 0
    kept = settings.warehouse_path.with_name("kept.duckdb")
    settings.warehouse_path.rename(kept)
    replayed = etl("backfill", *STREAMS, *DAYS, "--replay", "--json")
    assert replayed.exit_code == 0, replayed.out + replayed.err
    assert [replayed.published(stream) for stream in STREAMS] == [4, 4, 4]
    assert differences(kept, settings.warehouse_path) == {}


def test_a_day_that_never_landed_cannot_be_replayed(use: Use, etl: Etl) -> None:
    use(ETL_SHOP_URL="http://127.0.0.1:1")
    replayed = etl(
        "backfill", "shop/orders", "--from", "2025-03-01", "--to", "2025-03-01", "--replay", "--json"
    )
    assert replayed.exit_code == 1
    assert "nothing has been landed for this day yet" in replayed.messages("shop/orders")["2025-03-01"]
