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


def test_a_damaged_warehouse_comes_back_the_way_its_message_tells(use: Use, etl: Etl) -> None:
    days = ("--from", "2025-03-01", "--to", "2025-03-02")
    with running_source(lines_per_day=30) as source:
        settings = use(source)
        assert etl("backfill", LINES, *days).exit_code == 0
    warehouse = settings.warehouse_path
    whole = warehouse.read_bytes()
    kept = warehouse.with_name("kept.duckdb")
    kept.write_bytes(whole)
    warehouse.write_bytes(whole[:5000])
    warehouse.with_name("warehouse.duckdb.wal").write_bytes(b"torn")
    for command in (("status",), ("query", "SELECT 1"), ("backfill", LINES, *days, "--replay")):
        done = etl(*command)
        assert done.exit_code == 1
        assert done.err.startswith(f"error: the warehouse file {warehouse} is damaged")
        assert "move it and its .wal away and run `etl-assets backfill --replay`" in done.err
        assert done.err.count("\n") == 1
    aside = settings.data_dir / "damaged"
    aside.mkdir()
    for path in (warehouse, warehouse.with_name("warehouse.duckdb.wal")):
        path.rename(aside / path.name)
    replayed = etl("backfill", LINES, *days, "--replay", "--json")
    assert replayed.exit_code == 0, replayed.out + replayed.err
    assert differences(kept, warehouse) == {}


def test_a_day_that_never_landed_cannot_be_replayed(use: Use, etl: Etl) -> None:
    use(ETL_SHOP_URL="http://127.0.0.1:1")
    replayed = etl(
        "backfill", "shop/orders", "--from", "2025-03-01", "--to", "2025-03-01", "--replay", "--json"
    )
    assert replayed.exit_code == 1
    assert "nothing has been landed for this day yet" in replayed.messages("shop/orders")["2025-03-01"]
