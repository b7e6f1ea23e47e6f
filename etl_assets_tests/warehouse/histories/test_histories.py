"""Whatever happens to a stream, its table is what a plain model says, for every write disposition.

Short histories run with the suite; many long ones with `-m slow`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from etl_assets_tests.warehouse.histories.append import Appended
from etl_assets_tests.warehouse.histories.cdc import Changed
from etl_assets_tests.warehouse.histories.machine import history_of
from etl_assets_tests.warehouse.histories.merge import Merged
from etl_assets_tests.warehouse.histories.model import Model, with_parts
from etl_assets_tests.warehouse.histories.replace_partition import Replaced
from etl_assets_tests.warehouse.histories.snapshot import Snapshots


def listed(make: Callable[[], Model]) -> Model:
    """Make a model whose stream has a child table."""
    model = make()
    model.stream, model.wide = with_parts(model.stream), with_parts(model.wide)
    return model


MODELS: dict[str, Callable[[], Model]] = {
    "append": Appended,
    "replace_partition": Replaced,
    "merge": Merged,
    "cdc-soft": partial(Changed, "soft"),
    "cdc-hard": partial(Changed, "hard"),
    "snapshot-mark": partial(Snapshots, "mark", history=False),
    "snapshot-delete": partial(Snapshots, "delete", history=False),
    "snapshot-mark-history": partial(Snapshots, "mark", history=True),
    "snapshot-delete-history": partial(Snapshots, "delete", history=True),
    "merge-lists": partial(listed, Merged),
    "snapshot-mark-history-lists": partial(listed, partial(Snapshots, "mark", history=True)),
}
COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck))
SHORT = settings(COMMON, max_examples=7, stateful_step_count=8)
LONG = settings(COMMON, max_examples=150, stateful_step_count=25)


@pytest.mark.parametrize("kind", MODELS)
def test_short_histories(kind: str) -> None:
    # Child tables are made from the stream's own, which the other kinds know well: a few histories will do.
    few = settings(SHORT, max_examples=5) if kind.endswith("lists") else SHORT
    run_state_machine_as_test(history_of(MODELS[kind]), settings=few)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_long_histories(kind: str) -> None:
    run_state_machine_as_test(history_of(MODELS[kind]), settings=LONG)
