"""The daemon looks for backfills as often as `dagster.yaml` says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from dagster._daemon import controller
from dagster._daemon.backfill import execute_backfill_iteration_loop

from etl_assets.orchestration.instance import opened_instance, prepare_dagster_home
from etl_assets.orchestration.scheduler import BACKFILL_INTERVAL_SECONDS, PromptScheduler
from etl_assets.settings import Settings, load_settings

DAGSTERS_OWN = 30


class PausedError(Exception):
    """The loop wants to pause."""


class Pauses:
    """Stands for the event that a daemon waits for between two looks, and ends its loop there."""

    def wait(self, seconds: float) -> None:
        raise PausedError(seconds)


@pytest.fixture
def settings(environment_of: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A data folder of its own; Dagster's constant is put back after the test."""
    monkeypatch.setattr(controller, "DEFAULT_DAEMON_INTERVAL_SECONDS", DAGSTERS_OWN)
    for name in ("DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE"):
        # What `prepare_dagster_home` sets is taken back with it.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return load_settings(environment_of())


def seconds_between_looks(settings: Settings) -> float:
    """Let Dagster's own loop look once; gives how long it wants to pause."""
    with opened_instance(settings) as instance:
        assert isinstance(instance.scheduler, PromptScheduler)
        workspace: Any = SimpleNamespace(instance=instance)
        with pytest.raises(PausedError) as paused:
            list(execute_backfill_iteration_loop(workspace, logging.getLogger("test"), cast("Any", Pauses())))
    seconds: float = paused.value.args[0]
    return seconds


def test_a_daemon_looks_for_backfills_soon(settings: Settings) -> None:
    # Less by what the look itself took.
    assert BACKFILL_INTERVAL_SECONDS - 3 < seconds_between_looks(settings) <= BACKFILL_INTERVAL_SECONDS


def test_the_interval_is_ones_own_to_change(settings: Settings) -> None:
    file = prepare_dagster_home(settings) / "dagster.yaml"
    ours = f"backfill_interval_seconds: {BACKFILL_INTERVAL_SECONDS}\n"
    config = file.read_text(encoding="utf-8")
    assert ours in config
    file.write_text(config.replace(ours, "backfill_interval_seconds: 20\n"), encoding="utf-8")
    assert 20 - 3 < seconds_between_looks(settings) <= 20
