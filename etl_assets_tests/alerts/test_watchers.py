"""What is noticed in the warehouse's bookkeeping and in state files: of real warehouses, by a clock of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from etl_assets.alerts.conditions import Kind, Severity
from etl_assets.alerts.engine import Tick, Watcher, tick
from etl_assets.alerts.problems import Problem, problems_in, with_conditions
from etl_assets.alerts.watchers import circuits, warehouse
from etl_assets.alerts.watchers.warehouse import LOCK_SECONDS
from etl_assets.failures import FailureClass, SnapshotGuardTripped
from etl_assets.outcomes import CheckResult, SchemaChange, SchemaChangeKind, Status
from etl_assets.sources.circuit_file import CircuitFile
from etl_assets.sources.circuit_state import CircuitState, CircuitStatus
from etl_assets.warehouse.checks import CheckedPartition, record_checks
from etl_assets.warehouse.ledger import Ledger, LoadEntry, PartitionEntry
from etl_assets.warehouse.opening import open_warehouse
from etl_assets.warehouse.schema_changes import record_changes
from etl_assets_tests.alerts.desk import Desk, Recorder, open_desk

RULES = """
daily_summary = "13:00"

[channels.chat]
kind = "slack"

[streams."shop/orders"]
seconds = { warning = 60, error = 600 }
rows = { warning_below = 5, error_below = 1 }

[streams."shop/customers"]
deadline = "never"

[streams."eidc/datasets"]
deadline = "never"
"""
DAY = date(2025, 2, 27)
COUNTS = dict(extracted=100, staged=100, quarantined=0, warned=0, failed_items=0)


@dataclass
class Watch:
    """A desk that watches a warehouse, into which outcomes are written as loads write them."""

    desk: Desk
    told: Recorder
    loads: int = 0

    def outcome(self, day: date, status: Status, stream: str = "orders", **changes: Any) -> None:
        """Write the last outcome of a day."""
        failed = status is Status.FAILED
        entry = PartitionEntry(
            source="shop",
            stream=stream,
            partition=day,
            status=status.value,
            message="" if status.is_published else f"shop answered 500 for {day}",
            failure_stage="extract" if failed else None,
            failure_class=FailureClass.PERMANENT.value if failed else None,
            error_type="SourceError" if failed else None,
            run_id="run-1",
            loaded_rows=100 if status.is_published else None,
            warnings="{}",
            violations="{}",
            seconds="{}",
            landing_version=None,
            updated_at=self.desk.now.replace(tzinfo=None),
            published_at=self.desk.now.replace(tzinfo=None) if status.is_published else None,
            **COUNTS,
        )
        with open_warehouse(self.desk.settings).session("test") as session:
            ledger = Ledger(session.connection)
            ledger.record_outcome(replace(entry, **changes))
            ledger.write()

    def load(self, day: date, **changes: Any) -> None:
        """Write a load of a day."""
        self.loads += 1
        values = {
            "load_id": self.loads,
            "source": "shop",
            "stream": "orders",
            "partition": day,
            "run_id": "run-1",
            "verdict": "published",
            **COUNTS,
            "loaded": 100,
            **dict.fromkeys(("updated", "unchanged", "deduplicated", "removed"), 0),
            "warnings": "{}",
            "violations": "{}",
            "content_hash": str(self.loads),
            "landing_version": None,
            "watermark": datetime(2025, 1, 1),
            "contract_version": "c1",
            "code_version": "k1",
            "seconds": "{}",
            "seconds_total": 1.0,
            "loaded_at": self.desk.now.replace(tzinfo=None),
        }
        with open_warehouse(self.desk.settings).session("test") as session:
            ledger = Ledger(session.connection)
            ledger.record_load(LoadEntry(**(values | changes)), ())
            ledger.write()

    def tick(self, seconds: float = 0, **more: Any) -> Tick:
        """Turn the clock, and tick."""
        self.desk.now += timedelta(seconds=seconds)
        watchers = [
            Watcher(warehouse.NAME, warehouse.warehouse_conditions),
            Watcher(circuits.NAME, circuits.open_circuits),
        ]
        return tick(self.desk.scene(**more), watchers, open_with=self.told.opener())

    def problems(self, kind: Kind) -> list[Problem]:
        """Give the open problems of a kind."""
        found = [each for each in problems_in(self.desk.outbox, "open") if each.kind is kind]
        return [with_conditions(self.desk.outbox, each) for each in found]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """A desk at noon, without deadlines behind it."""
    with open_desk(tmp_path, rules=RULES) as desk:
        yield Watch(desk, Recorder())


def test_days_that_failed_or_were_withheld_are_told_with_what_is_known_of_them(watch: Watch) -> None:
    watch.outcome(DAY, Status.FAILED)
    watch.outcome(DAY + timedelta(days=1), Status.WITHHELD, quarantined=30, failure_class="withheld")
    watch.outcome(DAY - timedelta(days=1), Status.PUBLISHED)
    watch.tick()
    watch.tick(30)
    assert watch.told.titles == ["shop/orders 2025-02-27 failed to load", "shop/orders 2025-02-28 withheld"]
    failed, withheld = watch.told.notices
    facts = {fact.label: fact.text for fact in withheld.facts}
    assert facts["Owner"] == "team:sales"
    assert facts["How much"] == "1 day, 100 rows"
    assert facts["Quarantined"] == "30 of 100 rows of the last day"
    assert failed.error == "shop answered 500 for 2025-02-27"
    assert any("etl.quarantine" in step.command for step in withheld.steps)
    watch.outcome(DAY, Status.PUBLISHED)
    watch.tick(30)
    assert watch.told.titles[2:] == ["shop/orders 2025-02-27 failed to load"]


def test_a_day_that_an_audit_withheld_names_the_audit_and_the_way_on(watch: Watch) -> None:
    failed = CheckResult("null_share__customer_id", "null_share", False, True, "100% missing", {})
    with open_warehouse(watch.desk.settings).session("test") as session:
        record_checks(
            session.connection,
            [
                CheckedPartition(
                    "shop", "orders", DAY, (failed,), None, "run-1", watch.desk.now.replace(tzinfo=None)
                )
            ],
        )
    watch.outcome(
        DAY, Status.WITHHELD, failure_class="withheld", message="null_share__customer_id: 100% missing"
    )
    watch.outcome(DAY, Status.WITHHELD, "products", failure_class="withheld", extracted=0, staged=0)
    watch.tick()
    watch.tick(30)
    by_title = {notice.title: notice for notice in watch.told.notices}
    audited, empty = (by_title[f"shop/{name} {DAY} withheld"] for name in ("orders", "products"))
    assert {fact.label: fact.text for fact in audited.facts}["Failed audits"] == "null_share__customer_id"
    assert "etl.quarantine" not in audited.to_json()
    commands = [step.command for step in audited.steps]
    assert "FROM etl.check_results" in commands[0]
    assert commands[1:] == [
        f"etl-assets backfill shop/orders --from {DAY} --to {DAY}{more}" for more in ("", " --confirm-audits")
    ]
    assert empty.steps[-1].command.endswith("--confirm-empty")


def test_a_snapshot_guard_is_a_kind_of_its_own(watch: Watch) -> None:
    watch.outcome(DAY, Status.WITHHELD, "customers", error_type=SnapshotGuardTripped.__name__)
    watch.tick()
    watch.tick(30)
    [notice] = watch.told.notices
    assert notice.title == "shop/customers 2025-02-27 withheld: the snapshot would remove too many rows"
    assert notice.steps[1].command.endswith("--confirm-empty")


def test_a_day_that_is_tried_again_by_its_own_run_is_not_told_yet(watch: Watch) -> None:
    watch.outcome(DAY, Status.FAILED, failure_class=FailureClass.TRANSIENT.value)
    watch.tick(is_over=lambda run_id: False)
    watch.tick(60, is_over=lambda run_id: False)
    assert watch.told.notices == []
    watch.tick(60)
    watch.tick(60)
    assert watch.told.titles == ["shop/orders 2025-02-27 failed to load"]
    assert "repeated requests and steps" in watch.told.notices[0].did
    watch.outcome(DAY, Status.FAILED, failure_class=FailureClass.TRANSIENT.value, run_id="run-2")
    watch.tick(60, is_over=lambda run_id: run_id == "run-1")
    assert len(watch.told.notices) == 1, "a new attempt is under way: neither news nor an end"


def test_days_that_failed_long_before_anybody_listened_are_left_alone(watch: Watch) -> None:
    watch.outcome(DAY, Status.FAILED, updated_at=datetime(2025, 2, 20))
    watch.tick()
    assert watch.problems(Kind.PARTITION_FAILED) == []


def test_nothing_is_read_when_nothing_has_changed(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.outcome(DAY, Status.FAILED)
    watch.tick()
    holder = watch.desk.settings.warehouse_path.with_name("warehouse.duckdb.queue")
    before = holder.stat().st_mtime_ns
    holder.unlink()
    for _ in range(3):
        watch.tick(30)
    assert not holder.exists(), "nobody has asked for the warehouse"
    assert before
    watch.tick(3_600)
    assert holder.exists(), "after an hour it is looked at anyway"


def test_a_busy_warehouse_is_not_waited_for(watch: Watch) -> None:
    watch.outcome(DAY, Status.FAILED)
    path = watch.desk.settings.warehouse_path
    with FileLock(str(path.with_name(path.name + ".lock"))):
        done = watch.tick()
    assert "is in use by" in done.failed["warehouse"]
    assert f"waited {LOCK_SECONDS:g} s" in done.failed["warehouse"]
    assert watch.tick(30).failed == {}
    assert len(watch.problems(Kind.PARTITION_FAILED)) == 1


def test_a_broken_warehouse_keeps_nothing_else_from_being_told(watch: Watch) -> None:
    path = watch.desk.settings.warehouse_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a database" * 1_000)
    open_circuit(watch, minutes=20)
    assert set(watch.tick().failed) == {"warehouse"}
    watch.tick(1_200)
    watch.tick(60)
    assert watch.told.titles == ["source shop does not answer", "alerts (warehouse) stopped"]
    assert "is damaged" in watch.told.notices[1].error


def test_late_days_are_told_after_their_deadline_by_day_and_not_by_the_latest_load(watch: Watch) -> None:
    watch.tick()
    assert watch.problems(Kind.PARTITION_LATE) == [], "what was due before anybody listened is not told"
    watch.desk.now = datetime(2025, 3, 2, 5, 59, tzinfo=UTC)
    # An old day that is loaded now makes nothing fresh.
    watch.outcome(DAY, Status.PUBLISHED)
    watch.outcome(date(2025, 3, 1), Status.PUBLISHED, "order_lines")
    watch.tick()
    assert watch.problems(Kind.PARTITION_LATE) == []
    watch.tick(120)
    late = watch.problems(Kind.PARTITION_LATE)
    assert {(each.subject, each.key) for problem in late for each in problem.occurrences} == {
        ("erp/stock_levels", "2025-03-01"),
        ("finance/fx_rates", "2025-03-01"),
        ("shop/orders", "2025-03-01"),
        ("shop/products", "2025-03-01"),
    }, "shop/customers and eidc/datasets may take any time"
    watch.tick(30)
    titles = {notice.title for notice in watch.told.notices}
    assert "shop (2 streams): 2 days late" in titles
    watch.outcome(date(2025, 3, 1), Status.PUBLISHED, "orders")
    watch.outcome(date(2025, 3, 1), Status.PUBLISHED, "products")
    watch.tick(60)
    assert watch.told.notices[-1].title == "shop (2 streams): 2 days late"


def test_a_late_day_that_fails_is_a_failed_day(watch: Watch) -> None:
    watch.tick()
    watch.desk.now = datetime(2025, 3, 2, 7, tzinfo=UTC)
    watch.tick()
    watch.tick(30)
    watch.outcome(date(2025, 3, 1), Status.FAILED)
    watch.tick(30)
    watch.tick(30)
    assert not any("over" in title for title in watch.told.titles)
    assert watch.told.titles[-1] == "shop/orders 2025-03-01 failed to load"


@pytest.mark.parametrize(
    ("changes", "said", "severity"),
    [
        ({"quarantined": 6}, "the share of quarantined rows is 6.0%, above 5%", Severity.WARNING),
        ({"seconds_total": 61.0}, "the time of the load is 61.0 s, above 60 s", Severity.WARNING),
        ({"seconds_total": 601.0}, "the time of the load is 601.0 s, above 600 s", Severity.ERROR),
        ({"extracted": 4}, "the number of rows is 4, below 5", Severity.WARNING),
        ({"extracted": 0}, "the number of rows is 0, below 1", Severity.ERROR),
    ],
    ids=["error rate", "slow", "very slow", "few", "none"],
)
def test_numbers_beyond_a_threshold(
    watch: Watch, changes: dict[str, Any], said: str, severity: Severity
) -> None:
    watch.load(DAY, **changes)
    watch.tick()
    [problem] = watch.problems(Kind.THRESHOLD)
    assert (problem.severity, problem.occurrences[0].error) == (severity, said)
    watch.tick(30)
    watch.load(DAY)
    watch.tick(30)
    assert [notice.status for notice in watch.told.notices] == ["new", "recovered"]


def test_a_number_that_is_back_to_normal_on_a_later_day_is_over(watch: Watch) -> None:
    watch.load(DAY, seconds_total=90.0)
    watch.load(DAY + timedelta(days=1))
    watch.tick()
    assert len(watch.problems(Kind.THRESHOLD)) == 1, "days of one backfill do not end each other"
    watch.desk.now += timedelta(days=1)
    watch.load(DAY + timedelta(days=2))
    watch.tick()
    assert watch.problems(Kind.THRESHOLD) == []


def test_a_changed_contract_is_told_once(watch: Watch) -> None:
    watch.load(DAY)
    watch.tick()
    watch.load(DAY + timedelta(days=1), contract_version="c2")
    watch.load(DAY + timedelta(days=2), contract_version="c2")
    watch.tick(30)
    watch.tick(30)
    assert watch.told.titles == ["shop/orders changed its fields, columns or rules"]
    assert watch.problems(Kind.SCHEMA_CHANGED) == []


def test_what_a_source_changed_is_told_once(watch: Watch) -> None:
    watch.load(DAY)
    change = SchemaChange(SchemaChangeKind.SET_ASIDE, field="tier", after="VARCHAR", rows=3)
    withheld = SchemaChange(SchemaChangeKind.WITHHELD, field="rank", after="BIGINT", rows=3)
    with open_warehouse(watch.desk.settings).session("test") as session:
        stream = watch.desk.scene().streams["shop/orders"]
        at = watch.desk.now.replace(tzinfo=None)
        record_changes(session.connection, stream, DAY, [change, withheld], run_id="run-1", at=at)
    watch.tick(30)
    watch.tick(30)
    [notice] = watch.told.notices
    assert notice.error == "unknown field tier was set aside, it looks like VARCHAR (3 rows)"
    assert notice.severity is Severity.WARNING
    assert notice.owners == ("team:sales",)


def test_a_rollback_is_no_change_of_contract(watch: Watch) -> None:
    watch.load(DAY)
    watch.tick()
    watch.load(DAY, contract_version="", verdict="rolled_back")
    watch.tick(30)
    assert watch.told.titles == []


def open_circuit(watch: Watch, minutes: float, status: CircuitStatus = CircuitStatus.OPEN) -> None:
    """Have the shop's circuit be open for some time."""
    path = watch.desk.settings.state_dir / "shop.json"
    since = watch.desk.now - timedelta(minutes=minutes)
    CircuitFile(path).record(CircuitState(status, since, 9, "HTTP 503 at ada@example.com"))


def test_a_source_that_is_left_alone_for_longer_than_a_while(watch: Watch) -> None:
    open_circuit(watch, minutes=10)
    watch.tick()
    assert watch.problems(Kind.SOURCE_BROKEN) == []
    # It is tried every half minute, and each time found broken: it is broken since the first of these times.
    for _ in range(20):
        open_circuit(watch, minutes=0)
        watch.tick(30)
    assert watch.told.titles == ["source shop does not answer"]
    [notice] = watch.told.notices
    assert notice.error == "HTTP 503 at ***@***"
    assert notice.owners == ("team:sales",)
    open_circuit(watch, minutes=0, status=CircuitStatus.CLOSED)
    watch.tick(30)
    assert watch.told.titles[1:] == ["source shop does not answer"]
    assert json.loads(watch.desk.outbox.cursor("circuits")) == {}


def test_the_summary_of_a_day_comes_once_at_its_time_for_each_owner(watch: Watch) -> None:
    watch.outcome(date(2025, 2, 28), Status.PUBLISHED_WITH_WARNINGS, quarantined=7)
    watch.tick()
    watch.tick(3_540)
    assert watch.told.notices == []
    watch.tick(90)
    watch.tick(60)
    of_owner = {notice.owners[0]: notice for notice in watch.told.notices}
    assert sorted(of_owner) == ["team:finance", "team:logistics", "team:research", "team:sales"]
    facts = {fact.label: fact.text for fact in of_owner["team:sales"].facts}
    assert facts["shop/orders"] == "published with warnings: 100 rows, 7 quarantined (7.0%)"
    assert facts["shop/products"] == "not loaded"
    for _ in range(20):
        watch.tick(600)
    assert len(watch.told.notices) == 4
