"""What a commit writes down beside the rows: bad rows, failed items, load log, outcome, and that the counts agree.

What belongs here: making these entries of a request. What does not: the tables that they go to (`ledger`, `quarantine`,
`failed_items`).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import date

import duckdb

from etl_assets.failures import FailureClass, PartitionWithheld, WarehouseError
from etl_assets.outcomes import CheckResult, Counts, Status
from etl_assets.streams.base import Documents
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.dispositions.base import Applied
from etl_assets.warehouse.failed_items import FailedItems, record_failed_items
from etl_assets.warehouse.ledger import Ledger, LoadEntry, PartitionEntry, as_json
from etl_assets.warehouse.quarantine import BadRows, record_bad_rows
from etl_assets.warehouse.transaction import naive_utc


def record_bad(
    connection: duckdb.DuckDBPyConnection, request: CommitRequest, *, published: bool, is_new: bool = False
) -> None:
    """Record the bad rows and failed items of a partition.

    Args:
        connection: The warehouse.
        request: The partition.
        published: Whether its good rows are published.
        is_new: Whether the quarantine is known to have nothing of it yet.

    Raises:
        WarehouseError: If the staged file does not hold as many bad rows as were counted.
    """
    _record_quarantine(connection, request, published=published, is_new=is_new)
    _record_failed_items(connection, request, published=published)


def counts_of(request: CommitRequest, applied: Applied) -> Counts:
    """Complete the counts, and hold them against each other.

    Raises:
        WarehouseError: If the staged files do not hold what the request says.
    """
    counts = replace(
        request.counts,
        loaded=applied.loaded,
        updated=applied.updated,
        unchanged=applied.unchanged,
        deduplicated=applied.deduplicated,
        removed=applied.removed,
    )
    _check_conservation(request, applied, counts)
    return counts


def conservation(counts: Counts, *parts: str) -> CheckResult:
    """Put on record that every row is accounted for; where one is not, nothing is committed and nothing recorded."""
    numbers: dict[str, float] = {part: getattr(counts, part) for part in ("extracted", *parts)}
    terms = " + ".join(f"{numbers[part]} {part}" for part in parts)
    passed = counts.extracted == sum(numbers[part] for part in parts)
    message = f"{counts.extracted} extracted {'=' if passed else 'is not'} {terms}"
    return CheckResult("conservation", "conservation", passed, True, message, numbers)


def _record_quarantine(
    connection: duckdb.DuckDBPyConnection, request: CommitRequest, *, published: bool, is_new: bool
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
            decided=request.decided,
            landing_version=request.landing_version,
            is_new=is_new,
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


def record_load(
    ledger: Ledger,
    request: CommitRequest,
    counts: Counts,
    touched_dates: tuple[date, ...],
    *,
    restates: bool,
    restores: int | None = None,
) -> int:
    """Give the load log's row and the partition's outcome to the ledger; gives the load's number."""
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
            restores=restores,
            restates=restates,
            decisions=request.decisions,
        ),
        touched_dates,
    )
    ledger.record_outcome(outcome_of(request, request.verdict, counts, request.message))
    return load_id


def outcome_of(request: CommitRequest, status: Status, counts: Counts, message: str) -> PartitionEntry:
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
