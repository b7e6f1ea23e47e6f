"""Some partitions in one transaction: their fields looked at, their tables settled, audited, then committed one by one.

What belongs here: that order. What does not: the transaction itself (`session`), and the commit of one partition
(`commit`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date

import duckdb

from etl_assets.outcomes import SchemaChange, Status
from etl_assets.streams.base import Stream
from etl_assets.warehouse.checks import CheckedPartition, record_checks
from etl_assets.warehouse.children import follow_parent
from etl_assets.warehouse.commit import Together, commit_partition, load_of
from etl_assets.warehouse.commit_request import CommitRequest, CommitResult, Judge
from etl_assets.warehouse.dispositions.base import Ahead
from etl_assets.warehouse.dispositions.registry import disposition_of
from etl_assets.warehouse.evolution import Evolution, Plan
from etl_assets.warehouse.ledger import Ledger
from etl_assets.warehouse.quarantine import days_in_quarantine
from etl_assets.warehouse.schema import TableLayout
from etl_assets.warehouse.transaction import naive_utc


class WithheldLateError(Exception):
    """A partition was withheld after its table had been altered for it: all begins anew without its rows.

    Args:
        place: The partition's place among the requests.
        request: What is to be asked for in its stead.
    """

    def __init__(self, place: int, request: CommitRequest) -> None:
        super().__init__(request.what)
        self.place = place
        self.request = request


def commit_together(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    evolution: Evolution,
    known_layouts: Mapping[str, TableLayout],
    requests: Sequence[CommitRequest],
    judge: Judge | None,
) -> tuple[list[CommitResult], dict[str, TableLayout]]:
    """Commit partitions within an open transaction.

    Args:
        connection: The warehouse.
        ledger: The session's bookkeeping.
        evolution: The schemas of the session's streams.
        known_layouts: Layouts of tables that were settled before, by stream id.
        requests: The partitions, in the order in which they are to be committed.
        judge: Audits them; the tables of their streams exist then.

    Returns:
        The results, and the layouts of all their tables.

    Raises:
        WithheldLateError: If all has to begin anew.
        WarehouseError: If one of the partitions cannot be committed.
    """
    plans = _plans(ledger, evolution, requests)
    layouts, changed = _tables_of(evolution, known_layouts, plans)
    planned = [plan.request for plan in plans]
    judged = judge(connection, planned) if judge else planned
    together = _look_ahead(connection, ledger, layouts, judged)
    results = []
    for place, (plan, request) in enumerate(zip(plans, judged, strict=True)):
        layout, of_table = layouts[request.stream.id], changed.pop(request.stream.id, ())
        known = together.get((request.stream.id, request.partition), Together())
        result = commit_partition(connection, ledger, layout, request, of_table, known)
        if plan.alters and result.status is Status.WITHHELD:
            # The table was altered for rows that will not be in it. What the audits say is said again.
            message = requests[place].message if request.verdict is Status.WITHHELD else result.message
            raise WithheldLateError(place, replace(requests[place], verdict=Status.WITHHELD, message=message))
        changes = of_table + plan.changes
        results.append(replace(result, warnings=request.warnings, schema_changes=changes))
    for stream, layout in _to_follow(known_layouts, layouts, results, planned):
        follow_parent(connection, stream, layout)
    ledger.write()
    record_checks(connection, [_checked(*pair) for pair in zip(judged, results, strict=True)])
    return results, layouts


def _look_ahead(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    layouts: Mapping[str, TableLayout],
    requests: Sequence[CommitRequest],
) -> dict[tuple[str, date], Together]:
    """Do for all partitions of a stream together what does not depend on their order."""
    found: dict[tuple[str, date], Together] = {}
    for stream in {request.stream.id: request.stream for request in requests}.values():
        times = Counter(request.partition for request in requests if request.stream.id == stream.id)
        given = [one for one in requests if one.stream.id == stream.id and times[one.partition] == 1]
        if len(given) < 2:
            continue
        days = [request.partition for request in given]
        bad = days_in_quarantine(connection, stream.source.name, stream.name, days)
        ahead = _brought_in(connection, ledger, layouts[stream.id], given)
        found |= {(stream.id, day): Together(ahead.get(day), day not in bad) for day in days}
    return found


def _brought_in(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    layout: TableLayout,
    requests: Sequence[CommitRequest],
) -> dict[date, Ahead]:
    """Look at the days of a stream, and bring rows in that will be published, where its disposition can."""
    stream, given = requests[0].stream, [request for request in requests if request.verdict.is_published]
    if not given:
        return {}
    days = [request.partition for request in given]
    # A first waived row adds a column, which has to be done before any row is written; and files are read as one only
    # if they are of one contract.
    alike = len({request.contract_version for request in given}) == 1
    return disposition_of(stream.write).look_ahead(
        [load_of(connection, layout, request) for request in given],
        bring_in=alike and all(request.decided is None for request in given),
        are_first=all(ledger.last_load(stream.source.name, stream.name, day) is None for day in days),
    )


def _to_follow(
    known_layouts: Mapping[str, TableLayout],
    layouts: Mapping[str, TableLayout],
    results: Sequence[CommitResult],
    requests: Sequence[CommitRequest],
) -> Iterator[tuple[Stream, TableLayout]]:
    """Give the streams whose child tables may be out of step: rows changed, or the tables were just settled."""
    changed = {
        request.stream.id
        for request, result in zip(requests, results, strict=True)
        if result.counts.loaded or result.counts.removed or request.stream.id not in known_layouts
    }
    for stream in {request.stream.id: request.stream for request in requests}.values():
        if stream.children and stream.id in changed:
            yield stream, layouts[stream.id]


def _plans(ledger: Ledger, evolution: Evolution, requests: Sequence[CommitRequest]) -> list[Plan]:
    """Look at the fields of all partitions, each as if those before it were committed."""
    versions: dict[tuple[str, date], tuple[str, str]] = {}
    plans = []
    for request in requests:
        stream, own = request.stream, (request.contract_version, request.code_version)
        known = ledger.newest_day(stream.source.name, stream.name)
        earlier = {day for name, day in versions if name == stream.id} | ({known} if known else set())
        newest, alike = max(earlier, default=None), True
        if newest is not None and (stream.id, newest) not in versions:
            last = ledger.last_load(stream.source.name, stream.name, newest)
            alike = last is not None and (last.contract_version, last.code_version) == own
        plans.append(evolution.plan(request, newest, newest_is_alike=alike))
        if request.verdict.is_published and request.counts.staged:
            versions[stream.id, request.partition] = own
    return plans


def _tables_of(
    evolution: Evolution, known_layouts: Mapping[str, TableLayout], plans: Sequence[Plan]
) -> tuple[dict[str, TableLayout], dict[str, tuple[SchemaChange, ...]]]:
    """Settle the tables of all partitions, before a row of any is written; give what contracts changed as well."""
    layouts: dict[str, TableLayout] = {}
    changed: dict[str, tuple[SchemaChange, ...]] = {}
    altered = {plan.request.stream.id for plan in plans if plan.alters}
    for plan in plans:
        stream = plan.request.stream
        if stream.id in layouts:
            continue
        known = known_layouts.get(stream.id)
        if known is not None and stream.id not in altered:
            layouts[stream.id] = known
        else:
            layouts[stream.id], changed[stream.id] = evolution.settle_table(
                stream,
                plan.request.partition,
                run_id=plan.request.run_id,
                at=naive_utc(plan.request.loaded_at),
            )
    return layouts, changed


def _checked(request: CommitRequest, result: CommitResult) -> CheckedPartition:
    return CheckedPartition(
        source=request.stream.source.name,
        stream=request.stream.name,
        partition=request.partition,
        results=result.checks,
        statistics=request.statistics if result.status.is_published else None,
        run_id=request.run_id,
        at=naive_utc(request.loaded_at),
    )
