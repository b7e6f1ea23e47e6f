"""What one room has to know of another: rollbacks of decisions and of audits, workers of decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl_assets.pipeline import staging_workers
from etl_assets.pipeline.plan import Reason, plan
from etl_assets.pipeline.rollback import plan_rollback, roll_back
from etl_assets.pipeline.staged import DECIDED_FILE
from etl_assets.pipeline.staging import fill_staged
from etl_assets.pipeline.worker_processes import LEAST_PARTITIONS
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.rules import compile_contract
from etl_assets.streams.base import RowCount
from etl_assets.streams.write import WriteDisposition
from etl_assets.warehouse.decisions import standing_decisions
from etl_assets_tests.pipeline.meters import DAY, DISPOSITIONS, LOW, READINGS, Yard, reading

WAIVED = "SELECT reading_id, _waived FROM meter.readings WHERE _waived IS NOT NULL"
STATISTICS = "SELECT partition, statistics FROM etl.partition_statistics ORDER BY partition"


def go_back(yard: Yard, to: str) -> None:
    """Take the yard's stream back to right after a run."""
    environment = yard.pipeline("plan").environment
    found = plan_rollback(environment, [yard.stream], to)
    roll_back(environment, found, f"back to {to}", datetime.now(UTC))


@pytest.mark.parametrize("write", DISPOSITIONS.values(), ids=DISPOSITIONS)
def test_a_rollback_brings_decisions_of_then_back(tmp_path: Path, write: WriteDisposition) -> None:
    yard = Yard(tmp_path, replace(READINGS, write=write))
    yard.land(reading("a"), reading("b", -1))
    yard.load(run_id="before")
    yard.waive("b")
    yard.load(run_id="waived")
    later = DAY + timedelta(days=1)
    yard.land(reading("d", 7, later), day=later)
    yard.load(later, run_id="later")
    go_back(yard, "waived")
    assert (yard.table(), yard.ask(WAIVED)) == ([("a", 5), ("b", -1)], [("b", [LOW])])
    go_back(yard, "before")
    assert (yard.table(), yard.ask(WAIVED)) == ([("a", 5)], [])
    # What was decided stays decided: the next load of the day follows it.
    [of_stream] = plan(yard.pipeline("plan").environment, [yard.stream], [DAY])
    assert [day.reason for day in of_stream.days] == [Reason.DECIDED]
    yard.load(run_id="again")
    assert (yard.table(), yard.ask(WAIVED)) == ([("a", 5), ("b", -1)], [("b", [LOW])])


def test_a_rollback_has_later_days_compared_with_the_numbers_of_then(tmp_path: Path) -> None:
    yard = Yard(tmp_path, replace(READINGS, audits=(RowCount(minimum=1),)))
    yard.land(reading("a"), reading("b"))
    yard.load(run_id="then")
    then = yard.ask(STATISTICS)
    assert len(then) == 1
    later = DAY + timedelta(days=1)
    yard.land(reading("a"))
    yard.land(reading("c", day=later), day=later)
    yard.load(DAY, later, run_id="now")
    assert len(yard.ask(STATISTICS)) == 2
    go_back(yard, "then")
    assert yard.ask(STATISTICS) == then


def test_workers_follow_decisions(tmp_path: Path) -> None:
    yard = Yard(tmp_path)
    yard.land(reading("a"), reading("b", -1))
    yard.load()
    yard.waive("b")
    with yard.environment.warehouse.read("test") as connection:
        decisions = standing_decisions(connection, READINGS.id)[DAY]
    landed = yard.environment.landing.latest(READINGS.id, DAY)
    assert landed is not None
    pseudonymiser = Pseudonymiser(compile_contract(READINGS.contract), None)
    delegated = staging_workers.staging_workers(1, READINGS, LEAST_PARTITIONS)
    assert delegated is not fill_staged
    for name, fill in (("here", fill_staged), ("there", delegated)):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, READINGS, DAY, landed, pseudonymiser, decisions)
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "there")
    )
    assert here == there
    assert DECIDED_FILE in here
