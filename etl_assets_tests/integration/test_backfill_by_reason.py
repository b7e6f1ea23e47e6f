"""`backfill --missing`, `--failed` and `--changed` load exactly the days that `plan` names, and ask for no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from etl_assets.cli.main import run
from etl_assets.demo.generator import GeneratedShop
from etl_assets.demo.server import RunningSource, running_source
from etl_assets_tests.integration.shops import ORDERS, ScriptedShop

DAYS = [f"2025-03-{number}" for number in range(10, 15)]
RANGE = ("--from", DAYS[0], "--to", DAYS[-1])


@pytest.fixture
def shop() -> ScriptedShop:
    """A small shop that remembers what it was asked."""
    return ScriptedShop(GeneratedShop(lines_per_day=20))


@pytest.fixture
def source(
    shop: ScriptedShop, environment_of: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningSource]:
    """The shop, with the settings that point at it."""
    with running_source(shop=shop) as running:
        for name, value in environment_of(running, ETL_STEP_RETRIES="0").items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command; gives what it printed as JSON."""

    def run_it(*arguments: str) -> Any:
        capsys.readouterr()
        run([*arguments, "--json"])
        return json.loads(capsys.readouterr().out)

    return run_it


def asked(shop: ScriptedShop) -> set[str]:
    """Days that the shop was asked for since the last time."""
    found = {day.isoformat() for _, day in shop.asked}
    shop.asked.clear()
    return found


def planned(command: Callable[..., Any]) -> dict[str, str]:
    """Each day that would be loaded, with the reason."""
    [stream] = command("plan", ORDERS, *RANGE)["streams"]
    return {day["partition"]: day["reason"] for day in stream["days"]}


def test_each_option_loads_the_days_of_its_reason(
    source: RunningSource, shop: ScriptedShop, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source.faults.fail_days = [DAYS[1]]
    command("backfill", ORDERS, "--from", DAYS[0], "--to", DAYS[2])
    source.faults.fail_days = []
    asked(shop)
    assert planned(command) == {DAYS[1]: "failed", DAYS[3]: "missing", DAYS[4]: "missing"}

    done = command("backfill", ORDERS, "--failed", *RANGE)
    assert (done["streams"][0]["days"], asked(shop)) == ({"published": 1}, {DAYS[1]})

    done = command("backfill", ORDERS, "--missing", *RANGE)
    assert (done["streams"][0]["days"], asked(shop)) == ({"published": 2}, {DAYS[3], DAYS[4]})

    done = command("backfill", ORDERS, "--missing", "--failed", "--changed", *RANGE)
    assert (done["streams"][0]["days"], done["exit_code"], asked(shop)) == ({}, 0, set())
    assert planned(command) == {}
