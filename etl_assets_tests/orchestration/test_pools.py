"""Pools: every step that reads a source is in the pool of that source, and a slot is given to one step alone.

Whole commands that queue for a slot are in `integration/test_pools.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dagster._utils.concurrency import ConcurrencySlotStatus
from sqlalchemy import Engine, event

from etl_assets.build import build_definitions
from etl_assets.orchestration.event_log import BatchingSqliteEventLogStorage
from etl_assets.settings import load_settings
from etl_assets.streams.discovery import discover_streams

CLAIMANTS = 3
SLOTS = 5


def test_every_stream_is_in_the_pool_of_its_source(tmp_path: Path) -> None:
    definitions = build_definitions(load_settings({"ETL_DATA_DIR": str(tmp_path)}))
    job = definitions.resolve_implicit_global_asset_job_def()
    pools = {node.name: node.definition.pool for node in job.nodes}  # type: ignore[attr-defined]
    for stream in discover_streams().values():
        assert pools[f"load_{stream.source.name}__{stream.name}"] == stream.source.name


@pytest.fixture
def slow_to_take() -> Iterator[None]:
    """Widens the time between finding a free slot and taking it, in which another claimant may find it too."""

    def pause(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if statement.startswith("UPDATE concurrency_slots"):
            time.sleep(0.02)

    event.listen(Engine, "before_cursor_execute", pause)
    yield
    event.remove(Engine, "before_cursor_execute", pause)


@pytest.mark.usefixtures("slow_to_take")
def test_a_slot_is_claimed_once_however_many_want_it(tmp_path: Path) -> None:
    """Each claimant has a storage, and so connections, of its own, as processes have."""
    pools = [f"source_{number}" for number in range(SLOTS)]
    storages = [BatchingSqliteEventLogStorage(str(tmp_path)) for _ in range(CLAIMANTS)]
    for pool in pools:
        storages[0].set_concurrency_slots(pool, 1)
    together = threading.Barrier(CLAIMANTS)

    def claim(number: int) -> list[ConcurrencySlotStatus]:
        statuses = []
        for pool in pools:
            together.wait(timeout=60)
            statuses.append(storages[number]._claim_concurrency_slot(pool, f"run{number}", "step"))
        return statuses

    with ThreadPoolExecutor(CLAIMANTS) as executor:
        answers = list(executor.map(claim, range(CLAIMANTS)))
    for claims in zip(*answers, strict=True):
        assert claims.count(ConcurrencySlotStatus.CLAIMED) == 1
        assert claims.count(ConcurrencySlotStatus.BLOCKED) == CLAIMANTS - 1


@pytest.mark.parametrize("free_first", [False, True])
def test_a_slot_can_be_claimed_again_once_it_is_free(tmp_path: Path, free_first: bool) -> None:
    storage = BatchingSqliteEventLogStorage(str(tmp_path))
    storage.set_concurrency_slots("shop", 1)
    assert storage.claim_concurrency_slot("shop", "run1", "step").is_claimed
    if free_first:
        storage.free_concurrency_slots_for_run("run1")
    assert storage.claim_concurrency_slot("shop", "run2", "step").is_claimed is free_first
