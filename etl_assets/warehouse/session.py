"""A session: the warehouse held exclusively, for as many commits as there are.

What belongs here: the operations that write, each one transaction, each told plainly when it fails. What
does not: opening and closing (`database`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import duckdb
import structlog

from etl_assets.marts.catalogue import Mart
from etl_assets.outcomes import CheckResult, FailedItem, PartitionOutcome, Status
from etl_assets.streams.base import Stream
from etl_assets.warehouse.checks import CheckedPartition, record_checks
from etl_assets.warehouse.children import make_anew
from etl_assets.warehouse.commit_request import CommitRequest, CommitResult, Judge
from etl_assets.warehouse.decisions import Decision, standing_decisions
from etl_assets.warehouse.embeddings import Embeddings, PendingText
from etl_assets.warehouse.errors import told_plainly
from etl_assets.warehouse.evolution import Evolution
from etl_assets.warehouse.group_commit import WithheldLateError, commit_together
from etl_assets.warehouse.ledger import Ledger
from etl_assets.warehouse.marts import MartResult, pending_marts, rebuild_mart
from etl_assets.warehouse.outcomes import failed_entry, loaded_outcomes, settled_outcomes
from etl_assets.warehouse.rollback import Rollback, RolledBack, roll_back
from etl_assets.warehouse.schema import TableLayout
from etl_assets.warehouse.schema_changes import log_changes
from etl_assets.warehouse.transaction import naive_utc, transaction
from etl_assets.warehouse.tuning import Threads

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
        self._threads = Threads(connection, path)
        self._ledger = Ledger(connection)
        self._evolution = Evolution(connection)
        self._layouts: dict[str, TableLayout] = {}

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection, for reading within the session; nobody can change its settings any more."""
        self._threads.lock()
        return self._connection

    def commit(self, request: CommitRequest, judge: Judge | None = None) -> CommitResult:
        """Commit a partition, or nothing of it.

        That is its rows, quarantine rows, load-log row, watermark, touched dates and status.

        Raises:
            StorageFullError: If the disk is full.
            WarehouseError: If the partition cannot be committed; nothing of it was.
        """
        return self.commit_group([request], judge)[0]

    def commit_group(
        self, requests: Sequence[CommitRequest], judge: Judge | None = None
    ) -> list[CommitResult]:
        """Commit some partitions in one transaction, or nothing of any; see `commit`.

        One that is withheld is recorded as such and keeps no other one back.

        Args:
            requests: The partitions, in the order in which they are to be committed.
            judge: Audits them against the warehouse, within the transaction; the tables of their streams exist then.

        Raises:
            StorageFullError: If the disk is full.
            WarehouseError: If one of the partitions cannot be committed; nothing of any was.
        """
        requests = list(requests)
        rows = sum(request.counts.staged for request in requests)
        while True:
            try:
                with self._writing(f"commit {_named(requests)}", rows):
                    results, layouts = commit_together(
                        self._connection, self._ledger, self._evolution, self._layouts, requests, judge
                    )
                break
            except WithheldLateError as late:
                requests[late.place] = late.request
        self._layouts |= layouts
        for request, result in zip(requests, results, strict=True):
            _log_commit(request, result)
            log_changes(request.stream, request.partition, result.schema_changes, request.run_id)
        return results

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
            self._ledger.write()

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
                layout, _ = self._evolution.settle_table(each.stream, day, run_id=run_id, at=naive_utc(at))
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

    def evaluate_checks(
        self,
        stream: Stream,
        days: Sequence[date],
        evaluate: Callable[
            [duckdb.DuckDBPyConnection, Sequence[date]], Mapping[date, tuple[CheckResult, ...]]
        ],
        run_id: str,
        at: datetime,
    ) -> dict[date, PartitionOutcome]:
        """Evaluate checks of loaded days and record what they say; nothing else is written.

        Args:
            stream: The stream.
            days: The days; those never loaded are left out.
            evaluate: Gives the results of the loaded ones.
            run_id: The run.
            at: When; aware.

        Returns:
            What the last load of each day brought, with the results.

        Raises:
            WarehouseError: If they cannot be evaluated.
        """
        with self._writing(f"check {stream.id}"):
            loaded = loaded_outcomes(self._connection, stream.id, days)
            results = evaluate(self._connection, list(loaded))
            record_checks(
                self._connection,
                [
                    CheckedPartition(stream.source.name, stream.name, day, found, None, run_id, naive_utc(at))
                    for day, found in results.items()
                ],
            )
        return {day: replace(outcome, checks=results.get(day, ())) for day, outcome in loaded.items()}

    def record_check(
        self, stream: Stream, partition: date, result: CheckResult, run_id: str, at: datetime
    ) -> None:
        """Record what a check says that was evaluated outside a commit.

        Raises:
            WarehouseError: If it cannot be written.
        """
        with self._writing(f"record the check {result.check}"):
            entry = CheckedPartition(
                stream.source.name, stream.name, partition, (result,), None, run_id, naive_utc(at)
            )
            record_checks(self._connection, [entry])

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
        with told_plainly(f"rebuild mart {mart.name}", self._path):
            # A mart's SQL must not change settings.
            self._threads.lock()
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

    def store_embeddings(
        self,
        stream: Stream,
        model: str,
        texts: Sequence[PendingText],
        vectors: Sequence[Sequence[float]],
        failed: Sequence[tuple[FailedItem, PendingText]],
        run_id: str,
        at: datetime,
    ) -> None:
        """Store vectors of texts, and which texts could not be embedded; see `Embeddings.store`.

        Raises:
            WarehouseError: If they cannot be written; none was.
        """
        embeddings = Embeddings(self._connection, stream, model)
        with self._writing(f"embed {stream.id}"):
            embeddings.store(texts, vectors, run_id, at)
            items, partitions = [item for item, _ in failed], [text.partition for _, text in failed]
            embeddings.record_failures(items, partitions, [text.key for text in texts], run_id)

    def remake_child_tables(self, stream: Stream) -> None:
        """Make the rows of a stream's child tables anew from its own table, after somebody changed them.

        Raises:
            WarehouseError: If they cannot be written; none was.
        """
        with self._writing(f"make the child tables of {stream.id} anew"):
            make_anew(self._connection, stream)

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
    def _writing(self, doing: str, rows: int | None = None) -> Iterator[None]:
        """Hold a transaction, of a commit of so many rows or of anything else."""
        try:
            with told_plainly(doing, self._path):
                self._threads.suit(rows)
                with transaction(self._connection):
                    yield
        except BaseException:
            self._ledger.forget()
            self._evolution.forget()
            raise


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
