"""The way of one partition: extract, stage, judge; then commit.

What belongs here: the order of the steps for one partition, and turning whatever goes wrong into its outcome. What does
not: running many of them (`etl_assets.pipeline.run`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cached_property

import duckdb
import structlog
from filelock import FileLock, Timeout

from etl_assets.failures import (
    EtlError,
    FailureClass,
    LandingError,
)
from etl_assets.landing.store import LandedPartition, utc_now
from etl_assets.observability.logging import lines_together
from etl_assets.observability.progress import ProgressReporter
from etl_assets.outcomes import CheckResult, FailureRecord, PartitionOutcome, Status
from etl_assets.pipeline.documents import (
    SILENT,
    Tally,
    asked_of,
    ensure_known_by_identifier,
    land_again,
)
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.extraction import Extraction, log_extracted
from etl_assets.pipeline.prepared import Prepared, Stage, log_outcome, record_failure
from etl_assets.pipeline.pseudonyms import is_personal
from etl_assets.pipeline.recovery import partition_lock, recover_partition
from etl_assets.pipeline.staged import StagedPartition, cannot_be_written
from etl_assets.pipeline.staging import FillStaged, fill_staged, stage_partition, staged_by
from etl_assets.quality.audits.judge import judge
from etl_assets.quality.audits.staged_day import StagedDay
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.verdict import contract_result, decide, with_audits
from etl_assets.sources.base import Reader
from etl_assets.streams.base import Documents, Stream
from etl_assets.warehouse.commit_request import CommitRequest, CommitResult, Judge
from etl_assets.warehouse.decisions import Decision, decisions_version
from etl_assets.warehouse.session import Session

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class PartitionPipeline:
    """Takes partitions of one stream from source to commit.

    Args:
        environment: Stores, warehouse and sources.
        stream: The stream.
        stages: Which stages are asked for, in order. Without `EXTRACT`, the newest landed answers are used.
        run_id: The run that this happens in.
        client: Reads the opened source; needed for `EXTRACT`.
        confirm_empty: Whether an empty answer may empty a partition that holds rows.
        confirm_audits: Whether a partition is published though an audit would withhold it.
        now: The clock, for days that can be asked for only for a while.
        retry: Documents to ask for again, by partition; all others are taken from landing. None to extract as usual.
        fill_staged: Writes staged files, here or in another process.
        decisions: What people decided on quarantined rows, by partition.
        progress: Told of every document.
        extracting: Held while a partition is extracted.
    """

    environment: Environment
    stream: Stream
    stages: frozenset[Stage]
    run_id: str
    client: Reader | None = None
    confirm_empty: bool = False
    confirm_audits: bool = False
    now: Callable[[], datetime] = utc_now
    retry: Mapping[date, Collection[str]] | None = None
    fill_staged: FillStaged = fill_staged
    decisions: Mapping[date, Sequence[Decision]] = field(default_factory=dict)
    progress: ProgressReporter = SILENT
    extracting: AbstractContextManager[object] = field(default_factory=nullcontext)

    def count_unstaged(self, days: Iterable[date]) -> int:
        """Count the partitions that have never been staged by the present code, at a glance."""
        try:
            pseudonymiser = self._pseudonymiser
        except EtlError:
            return 0  # nothing will be staged; each partition says why
        made_by = staged_by(self.stream, self.environment.code_versions[self.stream.id], pseudonymiser)
        return sum(not self.environment.staged.has_any(self.stream, day, made_by) for day in days)

    def prepare(self, day: date) -> Prepared:
        """Extract and stage one partition; never raises, the failure is part of the result."""
        prepared = Prepared(day, personal=is_personal(self.stream))
        with structlog.contextvars.bound_contextvars(
            source=self.stream.source.name,
            stream=self.stream.id,
            partition=day.isoformat(),
            run_id=self.run_id,
        ):
            with self.extracting, prepared.timed(Stage.EXTRACT):
                # First of all: without its key, nothing of the stream is asked for.
                pseudonymiser = self._pseudonymiser
                prepared.lock = self._lock(day)
                recover_partition(self.environment, self.stream, day)
                prepared.landed = self._land(day, prepared.tally)
            if prepared.failure is None and self.stages & {Stage.STAGE, Stage.COMMIT}:
                with prepared.timed(Stage.STAGE):
                    prepared.staged = self._stage(prepared, pseudonymiser)
        return prepared

    def prepare_landed(self, landed: LandedPartition) -> Prepared:
        """Stage landed answers of whichever version; never raises, the failure is part of the result."""
        prepared = Prepared(
            landed.day,
            landed=landed,
            personal=is_personal(self.stream),
        )
        with (
            structlog.contextvars.bound_contextvars(
                source=self.stream.source.name,
                stream=self.stream.id,
                partition=landed.day.isoformat(),
                run_id=self.run_id,
            ),
            prepared.timed(Stage.STAGE),
        ):
            prepared.staged = self._stage(prepared, self._pseudonymiser)
        return prepared

    def settle(
        self, group: Sequence[Prepared], open_session: Callable[[], Session]
    ) -> list[PartitionOutcome]:
        """Commit prepared partitions if that was asked for; never raises, a failure is part of its outcome.

        They are committed in one transaction. If that fails, each is committed by itself, so that one that cannot be
        committed costs no other.

        Args:
            group: What `prepare` gave.
            open_session: Gives the warehouse session to commit in.
        """
        ready = [
            prepared
            for prepared in group
            if Stage.COMMIT in self.stages and prepared.failure is None and prepared.staged is not None
        ]
        # In the order of days, so that a change of schema is told of the day that it came with.
        ready.sort(key=lambda prepared: prepared.day)
        results = self._commit(ready, open_session) if ready else {}
        for prepared in group:
            prepared.release()
        with lines_together():
            return [self._outcome(prepared, results.get(prepared.day)) for prepared in group]

    def _commit(
        self, ready: Sequence[Prepared], open_session: Callable[[], Session]
    ) -> dict[date, CommitResult]:
        """Commit what is ready, together or else one by one; failures are noted in what is left out."""
        started = time.perf_counter()
        try:
            session = open_session()
        except Exception as error:
            for prepared in ready:
                prepared.failure = record_failure(Stage.COMMIT, error)
            return {}
        if len(ready) > 1:
            try:
                committed = session.commit_group(
                    [self.request(prepared) for prepared in ready], self._judging(ready)
                )
            except Exception as error:
                failure = record_failure(Stage.COMMIT, error)
                log.warning(
                    "group_commit_undone",
                    stream=self.stream.id,
                    partitions=len(ready),
                    message=failure.message,
                )
            else:
                for prepared in ready:
                    prepared.seconds[Stage.COMMIT] = (time.perf_counter() - started) / len(ready)
                return {prepared.day: result for prepared, result in zip(ready, committed, strict=True)}
        results: dict[date, CommitResult] = {}
        for prepared in ready:
            with prepared.timed(Stage.COMMIT):
                results[prepared.day] = session.commit(self.request(prepared), self._judging([prepared]))
        return results

    def _judging(self, ready: Sequence[Prepared]) -> Judge:
        """Give what audits the partitions within their transaction."""
        staged_of = {prepared.day: prepared.staged for prepared in ready}

        def judged(
            connection: duckdb.DuckDBPyConnection, requests: Sequence[CommitRequest]
        ) -> list[CommitRequest]:
            days = [
                staged_day(self.stream, request, staged)
                for request in requests
                if (staged := staged_of[request.partition]) is not None
            ]
            found = judge(connection, days, self.environment.streams, tolerant=self.confirm_audits)
            return [
                self._with_verdict(request, results) for request, results in zip(requests, found, strict=True)
            ]

        return judged

    def _with_verdict(self, request: CommitRequest, results: tuple[CheckResult, ...]) -> CommitRequest:
        verdict, message = with_audits(
            request.verdict, request.message, results, confirmed=self.confirm_audits
        )
        contract = contract_result(request.counts, request.violations, self.stream.budget)
        return replace(request, verdict=verdict, message=message, checks=(contract, *results))

    @cached_property
    def _pseudonymiser(self) -> Pseudonymiser:
        return self.environment.pseudonymiser(self.stream)

    def _lock(self, day: date) -> FileLock:
        try:
            lock = partition_lock(self.environment, self.stream, day)
            lock.acquire(timeout=self.environment.settings.lock_timeout, poll_interval=0.1)
        except Timeout:
            raise EtlError(
                "another run is loading this partition",
                hint="try again later",
                failure_class=FailureClass.TRANSIENT,
            ) from None
        except OSError as error:
            raise cannot_be_written(self.stream, day, error) from error
        return lock

    def _land(self, day: date, tally: Tally) -> LandedPartition:
        if Stage.EXTRACT not in self.stages:
            landed = self.environment.landing.latest(self.stream.id, day)
            if landed is None:
                raise LandingError(
                    "nothing has been landed for this day yet", hint="materialize the raw asset as well"
                )
            tally.skipped |= set(asked_of(landed))
            return landed
        if self.client is None:
            raise EtlError("a source must be opened before its partitions can be extracted")
        if self.retry is not None:
            return self._land_again(self.client, day, self.retry.get(day, ()), tally)
        extraction = Extraction(
            landing=self.environment.landing,
            stream=self.stream,
            reader=self.client,
            code_version=self.environment.code_versions[self.stream.id],
            run_id=self.run_id,
            now=self.now,
            progress=self.progress,
        )
        return extraction.land(day, tally)

    def _land_again(
        self, reader: Reader, day: date, identifiers: Collection[str], tally: Tally
    ) -> LandedPartition:
        landing = self.environment.landing
        earlier = landing.latest(self.stream.id, day)
        if earlier is None:
            raise LandingError("nothing has been landed for this day yet", hint="load the whole day")
        landed = land_again(reader, landing, earlier, self.stream, self.run_id, identifiers, tally)
        log_extracted(landed)
        return landed

    def _stage(self, prepared: Prepared, pseudonymiser: Pseudonymiser) -> StagedPartition:
        if prepared.landed is None:
            raise LandingError("nothing has been landed for this day yet")
        code_version = self.environment.code_versions[self.stream.id]
        staged = stage_partition(
            self.environment.staged,
            self.stream,
            prepared.day,
            prepared.landed,
            code_version,
            pseudonymiser,
            self.decisions.get(prepared.day, ()),
            self.fill_staged,
        )
        ensure_known_by_identifier(self.stream, staged, prepared.landed)
        log.info(
            "staged",
            extracted=staged.counts.extracted,
            staged=staged.counts.staged,
            quarantined=staged.counts.quarantined,
            warned=staged.counts.warned,
        )
        return staged

    def request(self, prepared: Prepared) -> CommitRequest:
        """Give what is to be committed of a partition that has been staged."""
        staged = prepared.staged
        assert staged is not None
        counts, failed_items = prepared.counts, prepared.failed_items
        verdict, message = decide(counts, staged.violations, self.stream.budget)
        landed = prepared.landed
        return CommitRequest(
            stream=self.stream,
            partition=prepared.day,
            run_id=self.run_id,
            verdict=verdict,
            message=message,
            rows=staged.rows,
            quarantine=staged.quarantine if staged.counts.quarantined else None,
            counts=counts,
            warnings=staged.warnings,
            violations=staged.violations,
            content_hash=prepared.content_hash,
            decided=staged.decided,
            decisions=decisions_version(self.decisions.get(prepared.day, ())),
            failed_items=failed_items,
            asked=asked_of(landed),
            fields=staged.fields,
            landing_version=landed.version if landed else None,
            watermark=self.stream.extract.window_of(prepared.day).end,
            contract_version=self._pseudonymiser.contract_version,
            code_version=self.environment.code_versions[self.stream.id],
            seconds=dict(prepared.seconds),
            confirm_empty=self.confirm_empty,
            statistics=staged.statistics.as_json(),
            loaded_at=datetime.now(UTC),
        )

    def _outcome(self, prepared: Prepared, result: CommitResult | None) -> PartitionOutcome:
        staged, landed, failure = prepared.staged, prepared.landed, prepared.failure
        counts = prepared.counts
        warnings = staged.warnings if staged else {}
        status, message = Status.DONE, ""
        if failure is not None:
            status, message = Status.FAILED, failure.message
        elif result is not None:
            counts, status, message = result.counts, result.status, result.message
            warnings = warnings | result.warnings
            if status is Status.WITHHELD:
                failure = FailureRecord(
                    Stage.COMMIT.value, FailureClass.WITHHELD, "PartitionWithheld", message
                )
        elif staged is not None:
            status, message = decide(counts, staged.violations, self.stream.budget)
            status = Status.WITHHELD if status is Status.WITHHELD else Status.DONE
        outcome = PartitionOutcome(
            stream=self.stream.id,
            partition=prepared.day,
            status=status,
            counts=counts,
            warnings=warnings,
            violations=staged.violations if staged else {},
            message=message,
            failure=failure,
            seconds={stage: round(value, 4) for stage, value in prepared.seconds.items()},
            landing_version=landed.version if landed else None,
            bytes=landed.raw_bytes if landed else 0,
            completed=tuple(
                stage.value
                for stage in Stage
                if stage in self.stages and self._completed(stage, prepared, result)
            ),
            preview=staged.preview if staged else "",
            schema_changes=result.schema_changes if result else (),
            checks=result.checks if result else (),
            harvest=prepared.harvest if isinstance(self.stream.extract, Documents) and landed else None,
        )
        log_outcome(outcome, self.run_id)
        return outcome

    @staticmethod
    def _completed(stage: Stage, prepared: Prepared, result: CommitResult | None) -> bool:
        if stage is Stage.EXTRACT:
            return prepared.landed is not None
        if stage is Stage.STAGE:
            return prepared.staged is not None
        return result is not None and result.status.is_published


def staged_day(stream: Stream, request: CommitRequest, staged: StagedPartition) -> StagedDay:
    """Give a partition as its audits see it."""
    return StagedDay(
        stream=stream,
        day=request.partition,
        rows=staged.rows,
        counts=staged.counts,
        statistics=staged.statistics,
        publishable=request.verdict.is_published,
    )
