"""Many partitions at once: what fails costs nobody else, and every outcome tells what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock, Timeout

from etl_assets.cli.days import last_full_day
from etl_assets.cli.deliveries import demo_deliveries
from etl_assets.demo.server import RunningSource, running_source
from etl_assets.failures import FailureClass, WarehouseBusyError, WarehouseError
from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import Counts, FailureRecord, PartitionOutcome, Status
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Prepared, Stage, record_failure
from etl_assets.pipeline.run import _Group, run_partitions
from etl_assets.pipeline.staged import StagedPartition
from etl_assets.quality.rules import compile_contract
from etl_assets.settings import Settings, load_settings
from etl_assets.streams.base import ErrorBudget, Stream
from etl_assets.streams.discovery import discover_streams
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session

CATALOGUE = discover_streams()
LINES = CATALOGUE["shop/order_lines"]
ORDERS = CATALOGUE["shop/orders"]
FIRST = date(2025, 3, 10)
ALL = frozenset(Stage)


def days(count: int) -> list[date]:
    """Give the first days."""
    return [FIRST + timedelta(days=number) for number in range(count)]


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningSource]:
    """One small shop for all tests; its faults are put back after each."""
    with running_source(lines_per_day=30) as running:
        yield running


@pytest.fixture
def source(shop: RunningSource) -> Iterator[RunningSource]:
    """The shop, without faults at first."""
    yield shop
    shop.faults.fail_days, shop.faults.fail_status, shop.faults.renamed_fields = [], 422, {}


@pytest.fixture
def settings(source: RunningSource, environment_of: Callable[..., dict[str, str]]) -> Settings:
    """Settings that point at the shop."""
    return load_settings(environment_of(source, ETL_LOCK_TIMEOUT="1"))


class Telling(SilentReporter):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.started: list[tuple[str, list[str], int]] = []
        self.stages: set[tuple[str, str]] = set()
        self.outcomes: list[PartitionOutcome] = []
        self.ended: list[str] = []

    def start(self, work: str, stages: Sequence[str], total: int) -> None:
        """See `ProgressReporter`."""
        self.started.append((work, list(stages), total))

    def item_stage(self, work: str, item: str, stage: str) -> None:
        """See `ProgressReporter`."""
        self.stages.add((item, stage))

    def item_done(self, work: str, item: str, outcome: PartitionOutcome | None = None) -> None:
        """See `ProgressReporter`."""
        assert outcome is not None
        self.outcomes.append(outcome)

    def item_failed(
        self, work: str, item: str, message: str, outcome: PartitionOutcome | None = None
    ) -> None:
        """See `ProgressReporter`."""
        assert outcome is not None
        assert message == outcome.message
        self.outcomes.append(outcome)

    def end(self, work: str) -> None:
        """See `ProgressReporter`."""
        self.ended.append(work)


def run(
    settings: Settings,
    wanted: Sequence[date],
    stream: Stream = LINES,
    *,
    stages: frozenset[Stage] = ALL,
    reporter: SilentReporter | None = None,
    threads: int = 2,
) -> dict[date, PartitionOutcome]:
    """Take partitions to the warehouse; gives their outcomes by day."""
    environment = Environment.of(settings, CATALOGUE.code_versions)
    with closing(environment.open_source(stream.source)) as reader:
        pipeline = PartitionPipeline(environment, stream, stages, "run-1", reader)
        outcomes = list(
            run_partitions(pipeline, wanted, reporter=reporter or SilentReporter(), threads=threads)
        )
    assert len(outcomes) == len({outcome.partition for outcome in outcomes})
    return {outcome.partition: outcome for outcome in outcomes}


def published_days(settings: Settings, table: str = "shop.order_lines") -> list[date]:
    """Give the days that the warehouse shows."""
    with Environment.of(settings, {}).warehouse.read("test") as connection:
        rows = connection.execute(f"SELECT DISTINCT _partition FROM {table} ORDER BY 1").fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize("stream", CATALOGUE.values(), ids=list(CATALOGUE))
def test_every_stream_goes_all_the_way(settings: Settings, stream: Stream) -> None:
    yesterday = [last_full_day()]
    demo_deliveries(settings).deliver(yesterday)
    (outcome,) = run(settings, yesterday, stream).values()
    assert outcome.status.is_published
    assert outcome.completed == ("extract", "stage", "commit")
    assert set(outcome.seconds) == {"extract", "stage", "commit"}
    assert all(seconds >= 0 for seconds in outcome.seconds.values())
    assert outcome.counts.extracted > 0
    assert outcome.counts.conserved
    assert outcome.bytes > 0
    assert outcome.landing_version
    assert outcome.preview.startswith("| ")
    assert ("| *** |" in outcome.preview) == bool(compile_contract(stream.contract).personal_columns)
    assert outcome.failure is None
    # One of the demo's datasets is gone.
    assert outcome.counts.failed_items == (1 if stream.id == "eidc/datasets" else 0)
    assert outcome.message.startswith("1 of 200 items" if outcome.counts.failed_items else "")


def test_reporter_is_told_of_every_step(settings: Settings) -> None:
    reporter = Telling()
    run(settings, days(3), reporter=reporter)
    assert reporter.started == [("shop/order_lines", ["extract", "stage", "commit"], 3)]
    assert reporter.stages == {(day.isoformat(), stage) for day in days(3) for stage in ("extract", "stage")}
    assert {outcome.partition for outcome in reporter.outcomes} == set(days(3))
    assert reporter.ended == ["shop/order_lines"]


def test_what_has_been_staged_needs_no_process_that_stages(settings: Settings) -> None:
    environment = Environment.of(settings, CATALOGUE.code_versions)
    pipeline = PartitionPipeline(environment, LINES, ALL, "run-2")
    assert pipeline.count_unstaged(days(3)) == 3
    run(settings, days(2))
    assert pipeline.count_unstaged(days(3)) == 1
    mended = replace(environment, code_versions=dict.fromkeys(CATALOGUE, "mended"))
    assert replace(pipeline, environment=mended).count_unstaged(days(3)) == 3


@pytest.mark.parametrize("threads", [1, 4])
def test_failing_day_costs_no_other(settings: Settings, source: RunningSource, threads: int) -> None:
    source.faults.fail_days = [days(6)[2].isoformat()]
    outcomes = run(settings, days(6), threads=threads)
    failed = outcomes[days(6)[2]]
    assert [day for day, outcome in outcomes.items() if not outcome.status.is_published] == [days(6)[2]]
    assert published_days(settings) == [day for day in days(6) if day != days(6)[2]]
    assert failed.status is Status.FAILED
    assert failed.completed == ()
    assert failed.failure is not None
    assert (failed.failure.stage, failed.failure.failure_class) == ("extract", FailureClass.PERMANENT)
    assert failed.failure.error_type == "SourceError"
    assert failed.message == failed.failure.message
    assert "\n" not in failed.message
    assert "422" in failed.message


def test_failed_days_are_recorded(settings: Settings, source: RunningSource) -> None:
    source.faults.fail_days = [FIRST.isoformat()]
    run(settings, days(2))
    with Environment.of(settings, {}).warehouse.read("test") as connection:
        rows = connection.execute(
            "SELECT partition, status FROM etl.partitions WHERE status NOT LIKE 'published%'"
        ).fetchall()
    assert rows == [(FIRST, "failed")]


def test_failure_that_all_would_share_puts_off_the_rest(settings: Settings, source: RunningSource) -> None:
    source.faults.fail_days = [day.isoformat() for day in days(30)]
    source.faults.fail_status = 401
    reporter = Telling()
    before = source.stats.requests.total()
    outcomes = run(settings, days(30), reporter=reporter, threads=1)
    assert set(outcomes) == set(days(30)), "every day has an outcome"
    assert {outcome.status for outcome in outcomes.values()} == {Status.FAILED}
    assert len({outcome.message for outcome in outcomes.values()}) == 1
    assert all(outcome.failure and outcome.failure.affects_all for outcome in outcomes.values())
    assert len(reporter.outcomes) == 30
    assert source.stats.requests.total() - before < 10


def test_days_that_were_put_off_have_no_numbers_of_another_day(settings: Settings) -> None:
    with Environment.of(settings, {}).warehouse.session("test") as session:
        session.connection.execute(
            "CREATE SCHEMA shop; CREATE VIEW shop.order_lines AS SELECT 1 AS no_such_table"
        )
    outcomes = list(run(settings, days(90), threads=1).values())
    assert {(outcome.status, outcome.failure.stage) for outcome in outcomes if outcome.failure} == {
        (Status.FAILED, "commit")
    }
    begun = [outcome for outcome in outcomes if outcome.completed]
    put_off = [outcome for outcome in outcomes if not outcome.completed]
    assert all(outcome.counts.extracted > 0 and outcome.preview for outcome in begun)
    assert len(put_off) >= 10
    assert {(outcome.counts, outcome.preview, outcome.bytes) for outcome in put_off} == {(Counts(), "", 0)}


def break_on(day: date) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Make a transform that fails on one day."""

    def transform(raw: pd.DataFrame) -> pd.DataFrame:
        if raw["invoiced_at"].astype(str).str.startswith(day.isoformat()).any():
            raise ZeroDivisionError("for Ada")
        return LINES.transform(raw)

    return transform


def test_transform_that_fails_on_one_day(settings: Settings) -> None:
    bad = days(3)[1]
    outcomes = run(settings, days(3), replace(LINES, transform=break_on(bad)))
    failed = outcomes.pop(bad)
    assert all(outcome.status.is_published for outcome in outcomes.values())
    assert failed.failure is not None
    assert (failed.failure.stage, failed.failure.error_type) == ("stage", "TransformError")
    assert failed.completed == ("extract",), (
        "the answers are landed, so that a fixed transform can be replayed"
    )
    assert failed.counts.extracted > 0
    replayed = run(settings, [bad], stages=frozenset({Stage.STAGE, Stage.COMMIT}))
    assert replayed[bad].status.is_published
    assert replayed[bad].completed == ("stage", "commit")


def test_day_above_its_budget_is_withheld(settings: Settings, source: RunningSource) -> None:
    good, bad = days(2)
    assert run(settings, [good])[good].status.is_published
    source.faults.renamed_fields = {"stock_code": "sku"}
    outcome = run(settings, [bad])[bad]
    assert outcome.status is Status.WITHHELD
    assert outcome.completed == ("extract", "stage")
    assert outcome.failure is not None
    assert outcome.failure.failure_class is FailureClass.WITHHELD
    assert f"{outcome.counts.extracted} of {outcome.counts.extracted} rows (100.0%)" in outcome.message
    assert "stock_code.missing" in outcome.message
    assert published_days(settings) == [good]
    with Environment.of(settings, {}).warehouse.read("test") as connection:
        kept = connection.execute("SELECT count(*) FROM etl.quarantine WHERE partition = ?", [bad]).fetchone()
    assert kept == (outcome.counts.extracted,), "the bad rows are there for inspection"


def test_withheld_is_told_even_when_only_staging_was_asked_for(
    settings: Settings, source: RunningSource
) -> None:
    source.faults.renamed_fields = {"stock_code": "sku"}
    outcome = run(settings, days(1), stages=frozenset({Stage.EXTRACT, Stage.STAGE}))[FIRST]
    assert (outcome.status, outcome.completed) == (Status.WITHHELD, ("extract", "stage"))


def test_generous_budget_publishes_with_warnings(settings: Settings, source: RunningSource) -> None:
    source.faults.renamed_fields = {"stock_code": "sku"}
    lenient = replace(LINES, budget=ErrorBudget(warn=0.5, fail=1))
    outcome = run(settings, days(1), lenient)[FIRST]
    assert outcome.status is Status.PUBLISHED_WITH_WARNINGS
    assert "stock_code.missing" in outcome.message


@pytest.mark.parametrize(
    ("stages", "completed"),
    [
        ({Stage.EXTRACT}, ("extract",)),
        ({Stage.EXTRACT, Stage.STAGE}, ("extract", "stage")),
        ({Stage.EXTRACT, Stage.STAGE, Stage.COMMIT}, ("extract", "stage", "commit")),
    ],
)
def test_only_what_was_asked_for_is_done(
    settings: Settings, stages: set[Stage], completed: tuple[str, ...]
) -> None:
    outcome = run(settings, days(1), stages=frozenset(stages))[FIRST]
    assert outcome.completed == completed
    assert outcome.status is (Status.PUBLISHED if Stage.COMMIT in stages else Status.DONE)
    assert settings.warehouse_path.exists() == (Stage.COMMIT in stages)
    assert settings.staged_dir.exists()
    assert bool(outcome.preview) == (Stage.STAGE in stages)


def test_replay_without_landed_answers(settings: Settings) -> None:
    outcome = run(settings, days(1), stages=frozenset({Stage.STAGE, Stage.COMMIT}))[FIRST]
    assert outcome.status is Status.FAILED
    assert outcome.message.startswith("nothing has been landed for this day yet (")


def test_replay_does_not_ask_the_source(settings: Settings, source: RunningSource) -> None:
    first = run(settings, days(2))
    source.faults.fail_days = [day.isoformat() for day in days(2)]
    again = run(settings, days(2), stages=frozenset({Stage.STAGE, Stage.COMMIT}))
    assert all(outcome.status.is_published for outcome in again.values())
    assert {day: outcome.landing_version for day, outcome in again.items()} == {
        day: outcome.landing_version for day, outcome in first.items()
    }


def test_partition_that_another_run_is_loading(settings: Settings) -> None:
    busy, free = days(2)
    folder = Environment.of(settings, {}).staged.partition_dir(LINES, busy)
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        outcomes = run(settings, [busy, free])
    assert outcomes[free].status.is_published
    refused = outcomes[busy]
    assert refused.status is Status.FAILED
    assert refused.message == "another run is loading this partition (try again later)"
    assert refused.failure is not None
    assert refused.failure.failure_class is FailureClass.TRANSIENT
    assert run(settings, [busy])[busy].status.is_published, "and later it can be loaded"


@pytest.mark.parametrize("fails", [False, True])
def test_partition_is_held_until_it_is_settled(
    settings: Settings, source: RunningSource, fails: bool
) -> None:
    source.faults.fail_days = [FIRST.isoformat()] if fails else []
    environment = Environment.of(settings, CATALOGUE.code_versions)
    lock = FileLock(environment.staged.partition_dir(LINES, FIRST) / ".lock")
    with closing(environment.open_source(LINES.source)) as reader:
        pipeline = PartitionPipeline(environment, LINES, ALL, "run-1", reader)
        prepared = pipeline.prepare(FIRST)
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)
        with environment.warehouse.session("test") as session:
            pipeline.settle([prepared], lambda: session)
    with lock.acquire(timeout=0):
        assert prepared.lock is None


def test_partition_is_free_after_it_failed(settings: Settings, source: RunningSource) -> None:
    source.faults.fail_days = [FIRST.isoformat()]
    assert run(settings, days(1))[FIRST].status is Status.FAILED
    source.faults.fail_days = []
    assert run(settings, days(1))[FIRST].status.is_published


def test_partitions_are_free_after_a_run_was_left_in_the_middle(settings: Settings) -> None:
    environment = Environment.of(settings, CATALOGUE.code_versions)
    with closing(environment.open_source(LINES.source)) as reader:
        pipeline = PartitionPipeline(environment, LINES, ALL, "run-1", reader)
        outcomes = run_partitions(pipeline, days(8), reporter=SilentReporter(), threads=2)
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
    assert all(outcome.status.is_published for outcome in run(settings, days(8)).values())


def test_warehouse_that_cannot_be_opened_is_told_before_the_source_is_asked(settings: Settings) -> None:
    settings.warehouse_path.parent.mkdir(parents=True)
    settings.warehouse_path.write_bytes(b"no database" * 1000)
    with pytest.raises(WarehouseError):
        run(settings, days(2))
    assert not settings.landing_dir.exists()


def test_the_warehouse_is_left_to_others_while_no_day_is_ready(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(raw: pd.DataFrame) -> pd.DataFrame:
        time.sleep(0.1)
        return LINES.transform(raw)

    @contextmanager
    def counted(warehouse: Warehouse, purpose: str) -> Iterator[Session]:
        opened.append(purpose)
        with session(warehouse, purpose) as one:
            yield one

    opened: list[str] = []
    session = Warehouse.session
    monkeypatch.setattr(Warehouse, "session", counted)
    monkeypatch.setattr(Warehouse, "is_wanted", lambda warehouse: True)
    # Each is ready before the warehouse has been idle for long, but is not committed yet.
    slow = replace(LINES, transform=slowly, row_by_row=False)
    run(settings, days(1), slow, threads=1)
    opened.clear()
    outcomes = run(settings, days(8), slow, threads=1)
    assert all(outcome.status.is_published for outcome in outcomes.values())
    assert opened.count(f"load {LINES.id}") > 1


def test_no_days_nothing_to_do(settings: Settings) -> None:
    assert run(settings, []) == {}


@pytest.mark.parametrize(
    ("error", "failure_class", "affects_all", "message"),
    [
        (
            OSError(28, "No space left on device"),
            FailureClass.TRANSIENT,
            True,
            "no room left on the disk; everything committed so far is safe "
            "(free some space and run the same command again)",
        ),
        (WarehouseError("it is\nbroken"), FailureClass.PERMANENT, True, "it is broken"),
        (ValueError("bad value 'Ada'"), FailureClass.PERMANENT, False, "ValueError: bad value '...'"),
        (ConnectionError("gone"), FailureClass.TRANSIENT, False, "ConnectionError: gone"),
    ],
)
def test_failure_is_one_line_with_its_class(
    error: Exception, failure_class: FailureClass, affects_all: bool, message: str
) -> None:
    record = record_failure(Stage.STAGE, error)
    assert (record.failure_class, record.affects_all, record.message) == (failure_class, affects_all, message)


def prepared_days(environment: Environment, count: int) -> Iterator[tuple[PartitionPipeline, list[Prepared]]]:
    """Prepare some days, to be settled as one group."""
    with closing(environment.open_source(LINES.source)) as reader:
        pipeline = PartitionPipeline(environment, LINES, ALL, "run-1", reader)
        yield pipeline, [pipeline.prepare(day) for day in days(count)]


def test_partition_that_cannot_be_committed_costs_none_of_its_group(settings: Settings) -> None:
    environment = Environment.of(settings, CATALOGUE.code_versions)
    for pipeline, group in prepared_days(environment, 4):
        lost = group[1].staged
        assert lost is not None
        lost.rows.unlink()
        with environment.warehouse.session("test") as session:
            outcomes = {outcome.partition: outcome for outcome in pipeline.settle(group, lambda: session)}
    failed = outcomes.pop(days(4)[1])
    assert (failed.status, failed.completed) == (Status.FAILED, ("extract", "stage"))
    assert failed.failure is not None
    assert failed.failure.stage == "commit"
    assert all(outcome.status.is_published for outcome in outcomes.values())
    assert published_days(settings) == sorted(outcomes)


def test_withheld_partition_keeps_none_of_its_group_back(settings: Settings, source: RunningSource) -> None:
    environment = Environment.of(settings, CATALOGUE.code_versions)
    source.faults.renamed_fields = {"stock_code": "sku"}
    with closing(environment.open_source(LINES.source)) as reader:
        pipeline = PartitionPipeline(environment, LINES, ALL, "run-1", reader)
        group = [pipeline.prepare(days(3)[0])]
        source.faults.renamed_fields = {}
        group += [pipeline.prepare(day) for day in days(3)[1:]]
        with environment.warehouse.session("test") as session:
            statuses = [outcome.status for outcome in pipeline.settle(group, lambda: session)]
    assert statuses == [Status.WITHHELD, Status.PUBLISHED, Status.PUBLISHED]
    assert published_days(settings) == days(3)[1:]


def test_group_is_refused_as_one_when_the_warehouse_cannot_be_had(settings: Settings) -> None:
    environment = Environment.of(settings, CATALOGUE.code_versions)
    asked = []

    def busy() -> Session:
        asked.append(1)
        raise WarehouseBusyError("in use")

    for pipeline, group in prepared_days(environment, 3):
        outcomes = pipeline.settle(group, busy)
    assert len(asked) == 1, "nobody waits for the lock once for every partition"
    assert {outcome.message for outcome in outcomes} == {"in use"}
    assert all(outcome.failure and outcome.failure.stage == "commit" for outcome in outcomes)
    assert all(prepared.lock is None for prepared in group)


def with_rows(number: int, rows: int) -> Prepared:
    """Make a prepared day of so many rows."""
    staged = StagedPartition(Path(), Counts(extracted=rows), {}, {}, "", "")
    return Prepared(FIRST + timedelta(days=number), staged=staged)


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        ([1] * 3, [3]),
        ([1] * 8, [8]),
        ([1] * 70, [32, 32, 6]),
        ([40_000] * 5, [2, 2, 1]),
        ([10, 500_000, 10, 10], [1, 1, 2]),
    ],
)
def test_groups_are_bounded_by_partitions_and_rows(rows: list[int], groups: list[int]) -> None:
    group = _Group()
    taken = [len(ready) for ready in group.sort_out(with_rows(*numbered) for numbered in enumerate(rows))]
    while group.waiting:
        taken.append(len(group.take()))
    assert taken == groups


def test_days_wait_for_those_begun_before_where_an_audit_looks_back() -> None:
    group = _Group(in_order=True)
    for number in range(5):
        group.begin(FIRST + timedelta(days=number))

    def settled(*numbers: int, failed: bool = False) -> list[int]:
        arrived = [with_rows(number, 1) for number in numbers]
        if failed:
            for one in arrived:
                one.failure = FailureRecord("extract", FailureClass.PERMANENT, "EtlError", "broken")
        told = [(one.day - FIRST).days for ready in group.sort_out(arrived) for one in ready]
        return told or [(one.day - FIRST).days for one in group.take()]

    assert settled(1, 2) == []
    assert settled(4) == []
    assert sorted((day - FIRST).days for day in group.held) == [1, 2, 4]
    assert settled(0, failed=True) == [0], "a failure is told at once, and holds nobody back any more"
    assert [(one.day - FIRST).days for one in group.take()] == [1, 2]
    assert settled(3) == [3, 4]
    assert group.begun == []
    assert group.held == {}
