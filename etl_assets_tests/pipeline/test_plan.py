"""What a backfill would do: every reason for loading a day, and none for a day that is up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta

import pytest

from etl_assets.demo.server import RunningSource, running_source
from etl_assets.observability.progress import SilentReporter
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.plan import Reason, StreamPlan, plan
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import Settings, load_settings
from etl_assets.streams.base import Field, Stream
from etl_assets.streams.discovery import discover_streams

CATALOGUE = discover_streams()
LINES, ORDERS = CATALOGUE["shop/order_lines"], CATALOGUE["shop/orders"]
DAYS = [date(2025, 3, 10) + timedelta(days=number) for number in range(5)]
LINES_PER_DAY = 30


@pytest.fixture
def source() -> Iterator[RunningSource]:
    """A small shop."""
    with running_source(lines_per_day=LINES_PER_DAY) as running:
        yield running


@pytest.fixture
def settings(source: RunningSource, environment_of: Callable[..., dict[str, str]]) -> Settings:
    """Settings that point at the shop."""
    return load_settings(environment_of(source))


def environment(
    settings: Settings, code_versions: Mapping[str, str] = CATALOGUE.code_versions
) -> Environment:
    """The rooms, as one version of the code sees them."""
    return Environment.of(settings, code_versions)


def load(
    settings: Settings, days: list[date], stream: Stream = LINES, stages: frozenset[Stage] = frozenset(Stage)
) -> None:
    """Load days of a stream."""
    rooms = environment(settings)
    with closing(rooms.open_source(stream.source)) as reader:
        pipeline = PartitionPipeline(rooms, stream, stages, "run-1", reader)
        list(run_partitions(pipeline, days, reporter=SilentReporter(), threads=1))


def reasons(found: StreamPlan) -> dict[date, Reason]:
    """Why each day would be loaded."""
    return {day.partition: day.reason for day in found.days}


def test_before_the_first_load_every_day_is_missing(settings: Settings) -> None:
    lines, orders = plan(environment(settings), [LINES, ORDERS], DAYS)
    assert (lines.stream, orders.stream) == (LINES.id, ORDERS.id)
    assert reasons(lines) == reasons(orders) == dict.fromkeys(DAYS, Reason.MISSING)
    assert (lines.rows, lines.requests, lines.seconds) == (None, None, None)
    assert not settings.warehouse_path.exists()


def test_each_day_is_told_with_its_own_reason(settings: Settings, source: RunningSource) -> None:
    source.faults.fail_days = [DAYS[1].isoformat()]
    load(settings, DAYS[:2])
    source.faults.renamed_fields = {"unit_price": "price"}
    load(settings, [DAYS[2]])
    source.faults.renamed_fields = {}
    load(settings, [DAYS[3]])
    [found] = plan(environment(settings), [LINES], DAYS)
    assert reasons(found) == {
        DAYS[1]: Reason.FAILED,
        DAYS[2]: Reason.WITHHELD,
        DAYS[4]: Reason.MISSING,
    }
    assert found.up_to_date == 2
    messages = {day.partition: day.message for day in found.days}
    assert "422" in messages[DAYS[1]]
    assert "unit_price" in messages[DAYS[2]]
    assert messages[DAYS[4]] == ""


def test_only_the_reasons_that_are_asked_for_count(settings: Settings, source: RunningSource) -> None:
    source.faults.fail_days = [DAYS[0].isoformat()]
    load(settings, DAYS[:2])
    [found] = plan(environment(settings), [LINES], DAYS, reasons={Reason.FAILED})
    assert reasons(found) == {DAYS[0]: Reason.FAILED}


def test_a_day_loaded_by_other_code_or_under_another_contract_has_changed(settings: Settings) -> None:
    class MoreLines(LINES.contract):  # type: ignore[misc, name-defined]
        """The same with a column more."""

        note: str = Field(missing="allow")

    load(settings, DAYS[:2])
    other_code = environment(settings, {LINES.id: "changed"})
    [found] = plan(other_code, [LINES], DAYS[:2])
    assert reasons(found) == dict.fromkeys(DAYS[:2], Reason.CODE_CHANGED)
    [found] = plan(other_code, [replace(LINES, contract=MoreLines)], DAYS[:2])
    assert reasons(found) == dict.fromkeys(DAYS[:2], Reason.CONTRACT_CHANGED)


def test_a_day_that_was_landed_again_is_loaded_again(settings: Settings, source: RunningSource) -> None:
    load(settings, DAYS[:2])
    source.faults.empty_days = [DAYS[0].isoformat()]
    load(settings, DAYS[:2], stages=frozenset({Stage.EXTRACT}))
    [found] = plan(environment(settings), [LINES], DAYS[:2])
    assert reasons(found) == {DAYS[0]: Reason.LANDED_AGAIN}


def test_the_estimate_comes_from_earlier_loads(settings: Settings) -> None:
    load(settings, DAYS[:3])
    [found] = plan(environment(settings), [LINES], DAYS)
    with environment(settings).warehouse.read("test") as connection:
        rows, seconds = connection.execute(
            "SELECT median(extracted), median(seconds_total) FROM etl.loads"
        ).fetchone() or (0, 0)
    assert found.rows == round(rows * 2)
    assert found.seconds == round(seconds * 2, 2)
    assert found.requests == 2


def test_nothing_is_run_and_nobody_is_asked(settings: Settings, source: RunningSource) -> None:
    load(settings, DAYS[:1])
    asked = source.stats.total
    before = settings.warehouse_path.read_bytes()
    plan(environment(settings), [LINES, ORDERS], DAYS)
    assert source.stats.total == asked
    assert settings.warehouse_path.read_bytes() == before
