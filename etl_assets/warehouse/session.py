"""A session: the warehouse held exclusively, for as many commits as there are.

What belongs here: the operations that write, each one transaction, each told plainly when it fails. What
does not: opening and closing (`database`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import duckdb
import structlog

from etl_assets.marts.catalogue import Mart
from etl_assets.outcomes import PartitionOutcome, SchemaChange, Status
from etl_assets.streams.base import Stream
from etl_assets.warehouse.commit import CommitRequest, CommitResult, commit_partition
from etl_assets.warehouse.decisions import Decision, standing_decisions
from etl_assets.warehouse.errors import told_plainly
from etl_assets.warehouse.evolution import Evolution, Plan
from etl_assets.warehouse.ledger import Ledger
from etl_assets.warehouse.marts import MartResult, pending_marts, rebuild_mart
from etl_assets.warehouse.outcomes import failed_entry, settled_outcomes
from etl_assets.warehouse.rollback import Rollback, RolledBack, roll_back
from etl_assets.warehouse.schema import TableLayout
from etl_assets.warehouse.schema_changes import log_changes
from etl_assets.warehouse.transaction import naive_utc, transaction

log = structlog.get_logger(__name__)


class Session:
    """The warehouse, open for writing by this session alone. For one thread at a time.

    Args:
        connection: The open warehouse.
        path: Its file, for messages.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._ledger = Ledger(connection)
        self._evolution = Evolution(connection)
        self._layouts: dict[str, TableLayout] = {}

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection, for reading within the session."""
        return self._connection

    def commit(self, request: CommitRequest) -> CommitResult:
        """Commit a partition, or nothing of it.

        That is its rows, quarantine rows, load-log row, watermark, touched dates and status.

        Raises:
            StorageFullError: If the disk is full.
            WarehouseError: If the partition cannot be committed; nothing of it was.
        """
        return self.commit_group([request])[0]

    def commit_group(self, requests: Sequence[CommitRequest]) -> list[CommitResult]:
        """Commit some partitions in one transaction, or nothing of any; see `commit`.

        One that is withheld is recorded as such and keeps no other one back.

        Args:
            requests: The partitions, in the order in which they are to be committed.

        Raises:
            StorageFullError: If the disk is full.
            WarehouseError: If one of the partitions cannot be committed; nothing of any was.
        """
        requests = list(requests)
        while True:
            try:
                results, layouts = self._commit_once(requests)
                break
            except _WithheldLateError as late:
                requests[late.place] = replace(
                    requests[late.place], verdict=Status.WITHHELD, message=late.message
                )
        self._layouts |= layouts
        for request, result in zip(requests, results, strict=True):
            _log_commit(request, result)
            log_changes(request.stream, request.partition, result.schema_changes, request.run_id)
        return results

    def _commit_once(
        self, requests: Sequence[CommitRequest]
    ) -> tuple[list[CommitResult], dict[str, TableLayout]]:
        """Commit partitions in one transaction; give the results, and the layouts of the tables."""
        with self._writing(f"commit {_named(requests)}"):
            plans = self._plans(requests)
            layouts, changed = self._tables_of(plans)
            results = []
            for place, plan in enumerate(plans):
                layout, of_table = layouts[plan.request.stream.id], changed.pop(plan.request.stream.id, ())
                result = commit_partition(self._connection, self._ledger, layout, plan.request, of_table)
                if plan.alters and result.status is Status.WITHHELD:
                    # The table was altered for rows that will not be in it.
                    raise _WithheldLateError(place, result.message)
                changes = of_table + plan.changes
                results.append(replace(result, warnings=plan.request.warnings, schema_changes=changes))
        return results, layouts

    def _plans(self, requests: Sequence[CommitRequest]) -> list[Plan]:
        """Look at the fields of all partitions, each as if those before it were committed."""
        versions: dict[tuple[str, date], tuple[str, str]] = {}
        plans = []
        for request in requests:
            stream, own = request.stream, (request.contract_version, request.code_version)
            known = self._ledger.newest_day(stream.source.name, stream.name)
            earlier = {day for name, day in versions if name == stream.id} | ({known} if known else set())
            newest, alike = max(earlier, default=None), True
            if newest is not None and (stream.id, newest) not in versions:
                last = self._ledger.last_load(stream.source.name, stream.name, newest)
                alike = last is not None and (last.contract_version, last.code_version) == own
            plans.append(self._evolution.plan(request, newest, newest_is_alike=alike))
            if request.verdict.is_published and request.counts.staged:
                versions[stream.id, request.partition] = own
        return plans

    def _tables_of(
        self, plans: Sequence[Plan]
    ) -> tuple[dict[str, TableLayout], dict[str, tuple[SchemaChange, ...]]]:
        """Settle the tables of all partitions, before a row of any is written; give what contracts changed as well."""
        layouts: dict[str, TableLayout] = {}
        changed: dict[str, tuple[SchemaChange, ...]] = {}
        altered = {plan.request.stream.id for plan in plans if plan.alters}
        for plan in plans:
            stream = plan.request.stream
            if stream.id in layouts:
                continue
            known = self._layouts.get(stream.id)
            if known is not None and stream.id not in altered:
                layouts[stream.id] = known
            else:
                layouts[stream.id], changed[stream.id] = self._settled_table(
                    stream, plan.request.partition, plan.request.run_id, plan.request.loaded_at
                )
        return layouts, changed

    def _settled_table(
        self, stream: Stream, day: date, run_id: str, at: datetime
    ) -> tuple[TableLayout, tuple[SchemaChange, ...]]:
        return self._evolution.settle_table(stream, day, run_id=run_id, at=naive_utc(at))

    def record_failures(self, outcomes: Iterable[PartitionOutcome], run_id: str, at: datetime) -> None:
        """Record failed attempts as their partitions' last outcome; rows published before stay.

        Args:
            outcomes: Outcomes of any kind; those that did not fail are left to their own commits.
            run_id: The run.
            at: When; aware.

        Raises:
            WarehouseError: If they cannot be written.
        """
        failed = [outcome for outcome in outcomes if outcome.status is Status.FAILED]
        if not failed:
            return
        with self._writing("record failed partitions"):
            for outcome in failed:
                self._ledger.record_outcome(failed_entry(outcome, run_id, naive_utc(at)))

    def settled_in_run(
        self, stream: Stream, run_id: str, days: Sequence[date], stages: Sequence[str]
    ) -> list[PartitionOutcome]:
        """Give what a run has settled already, so that a retry of the run does not do it again.

        Settled are days that the run published or withheld, and those that failed in a way that trying again
        cannot help.

        Args:
            stream: The stream.
            run_id: The run.
            days: The run's days.
            stages: Stages that the run was asked for.

        Returns:
            Outcomes by day, as the run reported them, without size and preview.
        """
        with told_plainly(f"read what run {run_id} has done", self._path):
            return settled_outcomes(self._connection, stream.id, run_id, days, stages)

    def roll_back(self, rollbacks: Sequence[Rollback], run_id: str, at: datetime) -> list[RolledBack]:
        """Take streams back to an earlier time, all of them in one transaction, or none.

        Args:
            rollbacks: What is to be done to each stream.
            run_id: The run.
            at: When; aware.

        Raises:
            StorageFullError: If the disk is full.
            WarehouseError: If a stream was loaded meanwhile, or cannot be taken back; nothing was changed.
        """
        with self._writing(f"roll back {', '.join(each.stream.id for each in rollbacks)}"):
            done = []
            for each in rollbacks:
                day = min(each.cut.changed, default=at.date())
                layout, _ = self._settled_table(each.stream, day, run_id, at)
                done.append(roll_back(self._connection, layout, each, run_id, naive_utc(at)))
        self._ledger.forget()
        for result in done:
            log.info(
                "rolled_back",
                stream=result.stream,
                run_id=run_id,
                stage="rollback",
                rows_before=result.rows_before,
                rows_after=result.rows_after,
                dates=len(result.touched_dates),
            )
        return done

    def rebuild_mart(self, mart: Mart, run_id: str, at: datetime, *, full: bool = False) -> MartResult:
        """Rebuild a mart for the business dates that loads have touched since its last build.

        Args:
            mart: The mart.
            run_id: The run.
            at: When; aware.
            full: Rebuild it whole.

        Raises:
            WarehouseError: If its SQL fails; the mart stays as it was.
        """
        with self._writing(f"rebuild mart {mart.name}"):
            result = rebuild_mart(self._connection, mart, run_id, naive_utc(at), full=full)
        log.info(
            "mart_rebuilt" if result.built else "mart_unchanged",
            mart=mart.name,
            run_id=run_id,
            stage="mart",
            dates=len(result.dates),
            rows=result.rows,
        )
        return result

    def pending_marts(self, marts: Iterable[Mart]) -> tuple[Mart, ...]:
        """Give the marts that a rebuild would change: data was loaded since, or the SQL changed."""
        with told_plainly("read the marts' state", self._path):
            return pending_marts(self._connection, marts)

    def decisions(self, stream: Stream, days: Sequence[date]) -> dict[date, tuple[Decision, ...]]:
        """Give what people decided on quarantined rows of a stream, by day; days without any are left out."""
        with told_plainly("read decisions on quarantined rows", self._path):
            return standing_decisions(self._connection, stream.id, days)

    @contextmanager
    def change_quarantine(self, doing: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """Change the quarantine by hand, in one transaction.

        Args:
            doing: What is being done, as in ``"waive rows of shop/orders"``.

        Raises:
            WarehouseError: If it cannot be done; nothing of it was.
        """
        with self._writing(doing):
            yield self._connection
        self._ledger.forget()

    @contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        try:
            with told_plainly(doing, self._path), transaction(self._connection):
                yield
        except BaseException:
            self._ledger.forget()
            self._evolution.forget()
            raise


class _WithheldLateError(Exception):
    """A partition was withheld after its table had been altered for it: all begins anew without its rows."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def _named(requests: Sequence[CommitRequest]) -> str:
    first, *others = (request.what for request in requests)
    return f"{first} and {len(others)} more" if others else first


def _log_commit(request: CommitRequest, result: CommitResult) -> None:
    log.info(
        "commit_withheld" if result.status is Status.WITHHELD else "committed",
        source=request.stream.source.name,
        stream=request.stream.id,
        partition=request.partition.isoformat(),
        run_id=request.run_id,
        stage="commit",
        load_id=result.load_id,
        loaded=result.counts.loaded,
        unchanged=result.counts.unchanged,
        quarantined=result.counts.quarantined,
    )
