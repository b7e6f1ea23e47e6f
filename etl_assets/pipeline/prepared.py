"""A partition on its way: the stages, what has been made of it so far, and what went wrong.

What belongs here: the state that is handed from stage to stage. What does not: the stages themselves
(`etl_assets.pipeline.partition`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

import structlog
from filelock import FileLock

from etl_assets.failures import (
    ConfigurationError,
    EtlError,
    StorageFullError,
    WarehouseBusyError,
    WarehouseError,
    classify,
    describe_unexpected,
    is_disk_full,
)
from etl_assets.landing.store import LandedPartition
from etl_assets.outcomes import Counts, FailedItem, FailureRecord, Harvest, PartitionOutcome, Status
from etl_assets.pipeline.documents import Tally, failed_items_of, harvest_of
from etl_assets.pipeline.staged import StagedPartition

log = structlog.get_logger(__name__)


class Stage(StrEnum):
    """The stages of a partition, and the assets that they make: raw, staged, warehouse."""

    EXTRACT = "extract"
    STAGE = "stage"
    COMMIT = "commit"


@dataclass(slots=True)
class Prepared:
    """A partition that is ready to be committed, or has failed before.

    Attributes:
        day: The partition.
        landed: Its landed answers.
        staged: Its staged rows.
        failure: Why it got no further.
        seconds: Time per stage so far.
        lock: Held from extraction to commit, so that two runs never load one partition at the same time.
        personal: Whether its rows hold personal data, which no failure may tell.
        tally: What happened to its documents.
    """

    day: date
    landed: LandedPartition | None = None
    staged: StagedPartition | None = None
    failure: FailureRecord | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    lock: FileLock | None = None
    personal: bool = False
    tally: Tally = field(default_factory=Tally)

    @property
    def failed_items(self) -> tuple[FailedItem, ...]:
        """Documents that could not be had or read, in order."""
        return failed_items_of(self.landed, self.staged)

    @property
    def harvest(self) -> Harvest:
        """What became of its documents."""
        return harvest_of(self.landed, self.failed_items, self.tally)

    @property
    def counts(self) -> Counts:
        """What is known of its rows so far."""
        extracted = self.landed.records if self.landed else 0
        counts = self.staged.counts if self.staged else Counts(extracted=extracted)
        return replace(counts, failed_items=len(self.failed_items))

    @property
    def rows(self) -> int:
        """Rows that are to be committed."""
        return self.staged.counts.extracted if self.staged else 0

    @property
    def content_hash(self) -> str:
        """Identifies what is to be loaded: a snapshot's outcome depends on the documents that failed as well."""
        content = self.staged.content_hash if self.staged else ""
        if not self.failed_items:
            return content
        digest = hashlib.sha256(content.encode())
        for item in self.failed_items:
            digest.update(b"\0" + item.identifier.encode())
        return digest.hexdigest()

    def release(self) -> None:
        """Let other runs have the partition."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Measure a stage and turn what goes wrong in it into a failure."""
        started = time.perf_counter()
        try:
            with structlog.contextvars.bound_contextvars(stage=stage.value):
                yield
        except Exception as error:
            # The system's own errors speak of files, never of rows.
            may_tell_data = self.personal and not isinstance(error, OSError)
            self.failure = record_failure(stage, error, may_tell_data=may_tell_data)
        finally:
            self.seconds[stage] = time.perf_counter() - started


def record_failure(stage: Stage, error: Exception, *, may_tell_data: bool = False) -> FailureRecord:
    """Turn an exception into the record that is collected: one line, with its class."""
    if is_disk_full(error) and not isinstance(error, StorageFullError):
        error = StorageFullError(
            "no room left on the disk; everything committed so far is safe",
            hint="free some space and run the same command again",
        )
    told = isinstance(error, EtlError)
    message = str(error) if told else describe_unexpected(error, may_tell_data=may_tell_data)
    return FailureRecord(
        stage=stage.value,
        failure_class=classify(error),
        error_type=type(error).__name__,
        message=" ".join(message.split()),
        affects_all=_affects_all(error),
    )


def _affects_all(error: Exception) -> bool:
    """Whether every further partition would fail the same way."""
    if isinstance(error, StorageFullError | ConfigurationError):
        return True
    if isinstance(error, WarehouseError):
        return not isinstance(error, WarehouseBusyError)
    return bool(getattr(error, "affects_all", False))


def log_outcome(outcome: PartitionOutcome, run_id: str) -> None:
    """Say how a partition ended, in one line."""
    last_stage = outcome.completed[-1] if outcome.completed else ""
    fields = {
        "source": outcome.stream.partition("/")[0],
        "stream": outcome.stream,
        "partition": outcome.partition.isoformat(),
        "run_id": run_id,
        "stage": outcome.failure.stage if outcome.failure else last_stage,
        "status": outcome.status.value,
        "extracted": outcome.counts.extracted,
        "loaded": outcome.counts.loaded,
        "unchanged": outcome.counts.unchanged,
        "quarantined": outcome.counts.quarantined,
    }
    if outcome.status is Status.FAILED and outcome.failure is not None:
        failure_class = outcome.failure.failure_class.value
        log.error("partition_failed", message=outcome.message, failure_class=failure_class, **fields)
    elif outcome.status is Status.WITHHELD:
        log.warning("partition_withheld", message=outcome.message, **fields)
    else:
        log.info("partition_done", **fields)
