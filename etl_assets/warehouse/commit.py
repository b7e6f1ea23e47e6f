"""The one commit: all of one partition's effect on the warehouse, in one transaction.

What belongs here: the order of what happens in between. What does not: how rows enter a table (`dispositions`), and
what is written down beside them (`commit_account`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import duckdb

from etl_assets.failures import EtlError, FailureClass, PartitionWithheld, WarehouseError
from etl_assets.outcomes import SchemaChange, Status
from etl_assets.streams.base import SchemaPolicy
from etl_assets.warehouse.commit_account import conservation, counts_of, outcome_of, record_bad, record_load
from etl_assets.warehouse.commit_request import CommitRequest, CommitResult
from etl_assets.warehouse.dispositions.base import Ahead, Applied, Load
from etl_assets.warehouse.dispositions.registry import disposition_of
from etl_assets.warehouse.ledger import Ledger
from etl_assets.warehouse.schema import TableLayout
from etl_assets.warehouse.transaction import naive_utc
from etl_assets.warehouse.waived import make_room_for_marks, mark_waived


@dataclass(frozen=True, slots=True)
class Together:
    """What was found out or done for all partitions of a transaction together, of one of them.

    Attributes:
        ahead: What its disposition found out or did.
        never_bad: Whether the quarantine has nothing of the day.
    """

    ahead: Ahead | None = None
    never_bad: bool = False


_ALONE = Together()


def commit_partition(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    layout: TableLayout,
    request: CommitRequest,
    table_changes: tuple[SchemaChange, ...] = (),
    together: Together = _ALONE,
) -> CommitResult:
    """Commit one partition within an open transaction; the stream's table exists.

    Args:
        connection: The warehouse.
        ledger: The session's bookkeeping.
        layout: The table's layout.
        request: The partition.
        table_changes: What was changed of the table for its contract's sake, within the same transaction.
        together: What was found out or done for all partitions of the transaction together.

    Raises:
        WarehouseError: If the staged files do not hold what the request says.
        EtlError: If somebody decided on the partition's quarantined rows since it was staged.
    """
    _check_decisions(ledger, request)
    if request.verdict is Status.WITHHELD:
        return _withhold(connection, ledger, request, request.message)
    load = replace(
        load_of(connection, layout, request),
        restates=_restates(ledger, request),
        table_changes=table_changes,
        ahead=together.ahead,
    )
    if reason := _refusal(load, request):
        return _withhold(connection, ledger, request, reason)
    make_room_for_marks(load, request.decided)
    applied = _already_loaded(load, ledger, request)
    unchanged_content = applied is not None
    if applied is None:
        try:
            applied = load.brought_in or disposition_of(request.stream.write).apply(load)
        except PartitionWithheld as refusal:
            return _withhold(connection, ledger, request, refusal.message, type(refusal))
    record_bad(connection, request, published=True, is_new=together.never_bad)
    _follow_decisions(load, ledger, request)
    counts = counts_of(request, applied)
    load_id = record_load(ledger, request, counts, applied.touched_dates, restates=load.restates)
    return CommitResult(
        request.verdict,
        counts,
        request.message,
        load_id,
        applied.touched_dates,
        unchanged_content,
        checks=(*request.checks, conservation(counts, "loaded", "unchanged", "deduplicated", "quarantined")),
    )


def load_of(connection: duckdb.DuckDBPyConnection, layout: TableLayout, request: CommitRequest) -> Load:
    """Give a partition on its way into the table.

    Raises:
        WarehouseError: If there are staged rows, but no file of them.
    """
    if request.counts.staged and request.rows is None:
        raise WarehouseError(f"{request.what}: {request.counts.staged} staged rows, but no file of them")
    return Load(
        connection=connection,
        stream=request.stream,
        layout=layout,
        partition=request.partition,
        rows=request.rows if request.counts.staged else None,
        run_id=request.run_id,
        loaded_at=naive_utc(request.loaded_at),
        confirmed=request.confirm_empty,
        asked=request.asked,
        evolves=request.fields is not None and request.stream.schema_changes == SchemaPolicy.EVOLVE,
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
    """Tell whether the partition was loaded before by other code, so that its rows may now read differently.

    Other decisions on its quarantined rows are like other code.
    """
    last = ledger.last_load(request.stream.source.name, request.stream.name, request.partition)
    return last is not None and (last.contract_version, last.code_version, last.decisions) != (
        request.contract_version,
        request.code_version,
        request.decisions,
    )


def _follow_decisions(load: Load, ledger: Ledger, request: CommitRequest) -> None:
    """Mark waived rows, and take marks back; only loads with decisions, or after such a load, cost anything."""
    source, stream = request.stream.source.name, request.stream.name
    last = ledger.last_load(source, stream, request.partition)
    if request.decisions or (last is not None and last.decisions):
        mark_waived(load, request.decided)
        # A mend that could not be carried out was ended.
        ledger.forget_decisions(source, stream)


def _check_decisions(ledger: Ledger, request: CommitRequest) -> None:
    """Refuse rows that were staged with other decisions than those that hold now: they would undo one.

    Raises:
        EtlError: If so; it passes when the partition is staged again.
    """
    if (
        ledger.decisions(request.stream.source.name, request.stream.name, request.partition)
        != request.decisions
    ):
        raise EtlError(
            "somebody decided on quarantined rows of this day meanwhile",
            hint="run again",
            failure_class=FailureClass.TRANSIENT,
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
    restated = ledger.last_restating(request.stream.source.name, request.stream.name) > last.load_id
    load = replace(load, restated_since=restated)
    if last.staged != staged or not disposition_of(request.stream.write).still_holds(load, staged):
        return None
    return Applied(0, 0, staged - last.deduplicated, last.deduplicated, ())


def _withhold(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    request: CommitRequest,
    message: str,
    kind: type[PartitionWithheld] = PartitionWithheld,
) -> CommitResult:
    record_bad(connection, request, published=False)
    outcome = outcome_of(request, Status.WITHHELD, request.counts, message)
    ledger.record_outcome(replace(outcome, error_type=kind.__name__))
    checks = (*request.checks, conservation(request.counts, "staged", "quarantined"))
    return CommitResult(
        Status.WITHHELD, request.counts, message, None, (), unchanged_content=False, checks=checks
    )
