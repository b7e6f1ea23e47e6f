"""The one commit: all of one partition's effect on the warehouse, in one transaction.

What belongs here: the request, the result, and the order of what happens in between. What does not: how rows
enter a table (`dispositions`), how the bookkeeping is written (`ledger`, `quarantine`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

import duckdb

from etl_assets.failures import FailureClass, PartitionWithheld, WarehouseError
from etl_assets.outcomes import Counts, FailedItem, Status
from etl_assets.streams.base import Documents, Stream
from etl_assets.warehouse.children import follow_parent
from etl_assets.warehouse.dispositions.base import Applied, Load
from etl_assets.warehouse.dispositions.registry import disposition_of
from etl_assets.warehouse.failed_items import FailedItems, record_failed_items
from etl_assets.warehouse.ledger import Ledger, LoadEntry, PartitionEntry, as_json
from etl_assets.warehouse.quarantine import BadRows, record_bad_rows
from etl_assets.warehouse.schema import TableLayout
from etl_assets.warehouse.transaction import naive_utc


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """A partition as the audit left it.

    Attributes:
        stream: The stream.
        partition: The day.
        run_id: The run that asks.
        verdict: PUBLISHED, PUBLISHED_WITH_WARNINGS or WITHHELD.
        message: Why it is withheld; empty otherwise.
        rows: Staged Parquet with the contract's columns, and any others, which are not read; None for no
            rows.
        quarantine: Parquet with row_number BIGINT, rules VARCHAR[], reasons VARCHAR[], raw_payload VARCHAR
            (JSON); None for no rows.
        counts: extracted, staged, quarantined and warned, filled in.
        warnings: Rows per warning rule.
        violations: Rows per quarantine rule.
        content_hash: Identifies the staged rows: equal rows, equal hash. A change of the transform must
            change it.
        landing_version: The landed answers that the rows were made from.
        watermark: End of the window; aware.
        contract_version: Version of the contract.
        code_version: Version of the code.
        seconds: Time per stage so far.
        confirm_empty: Whether someone confirmed that the day may become empty, or a snapshot remove many rows.
        failed_items: Documents that could not be had or read.
        asked: Identifiers of all documents that were asked for.
        loaded_at: When; aware.
    """

    stream: Stream
    partition: date
    run_id: str
    verdict: Status
    counts: Counts
    content_hash: str
    watermark: datetime
    contract_version: str
    loaded_at: datetime
    message: str = ""
    rows: Path | None = None
    quarantine: Path | None = None
    warnings: dict[str, int] = field(default_factory=dict)
    violations: dict[str, int] = field(default_factory=dict)
    landing_version: str | None = None
    code_version: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    confirm_empty: bool = False
    failed_items: tuple[FailedItem, ...] = ()
    asked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.verdict.is_published or self.verdict is Status.WITHHELD):
            raise ValueError(f"{self.verdict.value} is not a verdict")

    @property
    def what(self) -> str:
        """The partition, as messages name it."""
        return f"{self.stream.id} {self.partition}"


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did.

    Attributes:
        status: How the partition ended; WITHHELD also where the commit itself found a reason.
        counts: The request's, with loaded, updated, unchanged, deduplicated and removed.
        message: Why it was withheld.
        load_id: Its number in the load log; None when withheld.
        touched_dates: Business dates whose rows changed.
        unchanged_content: Whether the partition held exactly this content already, so that no row was looked
            at.
        warnings: Rows per warning rule, those that only the warehouse can judge included.
    """

    status: Status
    counts: Counts
    message: str
    load_id: int | None
    touched_dates: tuple[date, ...]
    unchanged_content: bool
    warnings: dict[str, int] = field(default_factory=dict)


def commit_partition(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, layout: TableLayout, request: CommitRequest
) -> CommitResult:
    """Commit one partition within an open transaction; the stream's table exists.

    Raises:
        WarehouseError: If the staged files do not hold what the request says.
    """
    if request.verdict is Status.WITHHELD:
        return _withhold(connection, ledger, request, request.message)
    load = Load(
        connection=connection,
        stream=request.stream,
        layout=layout,
        partition=request.partition,
        rows=request.rows if request.counts.staged else None,
        run_id=request.run_id,
        loaded_at=naive_utc(request.loaded_at),
        confirmed=request.confirm_empty,
        restates=_restates(ledger, request),
        asked=request.asked,
    )
    if request.counts.staged and request.rows is None:
        raise WarehouseError(f"{request.what}: {request.counts.staged} staged rows, but no file of them")
    if reason := _refusal(load, request):
        return _withhold(connection, ledger, request, reason)
    applied = _already_loaded(load, ledger, request)
    unchanged_content = applied is not None
    if applied is None:
        try:
            applied = disposition_of(request.stream.write).apply(load)
        except PartitionWithheld as refusal:
            return _withhold(connection, ledger, request, refusal.message)
    unknown = follow_parent(connection, request.stream, layout)
    request = replace(request, warnings={**request.warnings, **unknown})
    _record_quarantine(connection, request, published=True)
    _record_failed_items(connection, request, published=True)
    counts = replace(
        request.counts,
        loaded=applied.loaded,
        updated=applied.updated,
        unchanged=applied.unchanged,
        deduplicated=applied.deduplicated,
        removed=applied.removed,
    )
    _check_conservation(request, applied, counts)
    load_id = _record(ledger, request, counts, applied.touched_dates)
    return CommitResult(
        request.verdict,
        counts,
        request.message,
        load_id,
        applied.touched_dates,
        unchanged_content,
        request.warnings,
    )


def _refusal(load: Load, request: CommitRequest) -> str | None:
    """Find a reason why an empty day must not be published."""
    if request.counts.staged or request.confirm_empty:
        return None
    objection = disposition_of(request.stream.write).objection(load)
    if objection is None:
        return None
    bad = request.counts.quarantined
    what = f"none of the source's {bad} rows is good" if bad else "source returned no rows"
    return f"{what} for a day that {objection}; run again with --confirm-empty to accept"


def _restates(ledger: Ledger, request: CommitRequest) -> bool:
    """Tell whether the partition was loaded before by other code, so that its rows may now read differently."""
    last = ledger.last_load(request.stream.source.name, request.stream.name, request.partition)
    return last is not None and (last.contract_version, last.code_version) != (
        request.contract_version,
        request.code_version,
    )


def _already_loaded(load: Load, ledger: Ledger, request: CommitRequest) -> Applied | None:
    if load.restates:
        # Equal to the last load only: what loads before it left in the table is to be restated all the same.
        return None
    last = ledger.last_load(request.stream.source.name, request.stream.name, request.partition)
    if last is None or (last.content_hash, last.contract_version) != (
        request.content_hash,
        request.contract_version,
    ):
        return None
    staged = request.counts.staged
    if last.staged != staged or not disposition_of(request.stream.write).still_holds(load, staged):
        return None
    return Applied(0, 0, staged - last.deduplicated, last.deduplicated, ())


def _withhold(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, request: CommitRequest, message: str
) -> CommitResult:
    _record_quarantine(connection, request, published=False)
    _record_failed_items(connection, request, published=False)
    ledger.record_outcome(_outcome(request, Status.WITHHELD, request.counts, message))
    return CommitResult(Status.WITHHELD, request.counts, message, None, (), unchanged_content=False)


def _record_quarantine(
    connection: duckdb.DuckDBPyConnection, request: CommitRequest, *, published: bool
) -> None:
    found = record_bad_rows(
        connection,
        BadRows(
            source=request.stream.source.name,
            stream=request.stream.name,
            partition=request.partition,
            rows=request.quarantine if request.counts.quarantined else None,
            run_id=request.run_id,
            contract_version=request.contract_version,
            at=naive_utc(request.loaded_at),
            published=published,
        ),
    )
    if found != request.counts.quarantined:
        raise WarehouseError(
            f"{request.what}: {request.counts.quarantined} rows were quarantined, "
            f"but the staged file holds {found}"
        )


def _record_failed_items(
    connection: duckdb.DuckDBPyConnection, request: CommitRequest, *, published: bool
) -> None:
    if not isinstance(request.stream.extract, Documents):
        return
    record_failed_items(
        connection,
        FailedItems(
            source=request.stream.source.name,
            stream=request.stream.name,
            partition=request.partition,
            items=request.failed_items,
            run_id=request.run_id,
            published=published,
        ),
    )


def _check_conservation(request: CommitRequest, applied: Applied, counts: Counts) -> None:
    if applied.staged != counts.staged:
        raise WarehouseError(
            f"{request.what}: {counts.staged} rows were staged, but the staged file holds {applied.staged}"
        )
    if not counts.conserved:
        raise WarehouseError(
            f"{request.what}: {counts.extracted} rows extracted, but {counts.staged} staged and "
            f"{counts.quarantined} quarantined"
        )


def _record(ledger: Ledger, request: CommitRequest, counts: Counts, touched_dates: tuple[date, ...]) -> int:
    load_id = ledger.new_load_id()
    loaded_at = naive_utc(request.loaded_at)
    source, stream = request.stream.source.name, request.stream.name
    ledger.record_load(
        LoadEntry(
            load_id=load_id,
            source=source,
            stream=stream,
            partition=request.partition,
            run_id=request.run_id,
            verdict=request.verdict.value,
            **asdict(counts),
            warnings=as_json(request.warnings),
            violations=as_json(request.violations),
            content_hash=request.content_hash,
            landing_version=request.landing_version,
            watermark=naive_utc(request.watermark),
            contract_version=request.contract_version,
            code_version=request.code_version,
            seconds=as_json(request.seconds),
            seconds_total=sum(request.seconds.values()),
            loaded_at=loaded_at,
        ),
        touched_dates,
    )
    ledger.record_outcome(_outcome(request, request.verdict, counts, request.message))
    return load_id


def _outcome(request: CommitRequest, status: Status, counts: Counts, message: str) -> PartitionEntry:
    withheld = status is Status.WITHHELD
    at = naive_utc(request.loaded_at)
    return PartitionEntry(
        source=request.stream.source.name,
        stream=request.stream.name,
        partition=request.partition,
        status=status.value,
        message=message,
        failure_stage="commit" if withheld else None,
        failure_class=FailureClass.WITHHELD.value if withheld else None,
        error_type=PartitionWithheld.__name__ if withheld else None,
        run_id=request.run_id,
        extracted=counts.extracted,
        staged=counts.staged,
        loaded_rows=None if withheld else counts.loaded + counts.unchanged,
        quarantined=counts.quarantined,
        warned=counts.warned,
        failed_items=counts.failed_items,
        warnings=as_json(request.warnings),
        violations=as_json(request.violations),
        seconds=as_json(request.seconds),
        landing_version=request.landing_version,
        updated_at=at,
        published_at=None if withheld else at,
    )
