"""Going back: the later loads of a stream are taken out, and the earlier ones brought back, in one transaction.

Where days are replaced as a whole, that is done to the days that differ. In every other table the rows of a day depend
on those of others, so that it is emptied, with all that is kept beside it, and the loads that are to count are applied
again in the order in which they were once committed, with the run and the time that their rows bore.

What belongs here: what happens within that transaction. What does not: which loads count (`past_loads`), and staging
them (`etl_assets.pipeline.rollback`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import duckdb

from etl_assets.failures import FailureClass, WarehouseError
from etl_assets.streams.base import Stream
from etl_assets.warehouse.checks import CheckedPartition, record_checks
from etl_assets.warehouse.children import follow_parent
from etl_assets.warehouse.commit import load_of
from etl_assets.warehouse.commit_account import counts_of, record_bad, record_load
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.dispositions.accounts import account_tables, settle_accounts
from etl_assets.warehouse.dispositions.base import Applied
from etl_assets.warehouse.dispositions.registry import disposition_of
from etl_assets.warehouse.failed_items import RESOLVED
from etl_assets.warehouse.identifiers import quoted
from etl_assets.warehouse.ledger import Ledger
from etl_assets.warehouse.past_loads import Cut, PastLoad, cut_of
from etl_assets.warehouse.schema import BROUGHT_BY, TableLayout, table_columns
from etl_assets.warehouse.transaction import naive_utc
from etl_assets.warehouse.waived import mark_waived

_BEFORE, _AFTER = "_etl_rows_before", "_etl_rows_after"
_OF_NO_MART = frozenset({"_run_id", "_loaded_at", BROUGHT_BY.name})
_ACCOUNTS = ("etl.tombstones", "etl.sequence_ranges", "etl.sequence_gaps", "etl.snapshots")
_THIS_STREAM = "source = $source AND stream = $stream"
_THESE_DAYS = f"{_THIS_STREAM} AND list_contains(CAST($days AS DATE[]), partition)"


@dataclass(frozen=True, slots=True)
class Rollback:
    """What is to be done to a stream.

    Attributes:
        stream: The stream.
        cut: Which loads are to count.
        requests: The staged partition of each of `cut.loads`, by the load's number.
    """

    stream: Stream
    cut: Cut
    requests: Mapping[int, CommitRequest]


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What was done to a stream.

    Attributes:
        stream: Stream id.
        rows_before: Rows in its table before.
        rows_after: Rows in its table now.
        touched_dates: Business dates whose rows differ.
    """

    stream: str
    rows_before: int
    rows_after: int
    touched_dates: tuple[date, ...]


def roll_back(
    connection: duckdb.DuckDBPyConnection,
    layout: TableLayout,
    rollback: Rollback,
    run_id: str,
    at: datetime,
) -> RolledBack:
    """Take a stream back within an open transaction; its table exists.

    Args:
        connection: The warehouse.
        layout: The stream's table.
        rollback: What is to be done.
        run_id: Recorded with what is written to the log.
        at: When; naive UTC.

    Raises:
        WarehouseError: If the stream was loaded since the rollback was planned, or a staged file does not hold what it
            should.
    """
    stream, cut = rollback.stream, rollback.cut
    if cut_of(connection, stream, cut.target, cut.made_by, cut.changed) != cut:
        raise WarehouseError(
            f"{stream.id} was loaded while its rollback was being prepared; nothing was changed",
            hint="run again",
            failure_class=FailureClass.TRANSIENT,
        )
    if not cut.changed:
        rows = _count(connection, layout)
        return RolledBack(stream.id, rows, rows, ())
    ledger, rows_before = Ledger(connection), _count(connection, layout)
    _digest(connection, layout, rollback, _BEFORE)
    if cut.whole:
        # As long as nothing was deleted: DuckDB alters no table from which the transaction has deleted rows.
        settle_accounts(connection, stream, layout, at)
    ledger.record_rolled_back(stream, sorted(cut.logged & cut.now.keys()), run_id, at)
    _take_out(connection, layout, rollback, run_id)
    _restore(connection, ledger, layout, rollback)
    follow_parent(connection, stream, layout)
    _digest(connection, layout, rollback, _AFTER)
    dates = _differing_dates(connection, stream)
    ledger.touch(stream, dates)
    ledger.write()
    _set_watermark(connection, rollback)
    return RolledBack(stream.id, rows_before, _count(connection, layout), dates)


def _take_out(
    connection: duckdb.DuckDBPyConnection, layout: TableLayout, rollback: Rollback, run_id: str
) -> None:
    stream, cut = rollback.stream, rollback.cut
    key = {"source": stream.source.name, "stream": stream.name}
    if cut.whole:
        for table in (layout.name, *account_tables(connection, layout)):
            connection.execute(f"DELETE FROM {table}")
        for table in _ACCOUNTS:
            connection.execute(f"DELETE FROM {table} WHERE {_THIS_STREAM}", key)
    else:
        connection.execute(
            f"DELETE FROM {layout.name} WHERE list_contains(CAST($days AS DATE[]), _partition)",
            {"days": list(cut.taken_out)},
        )
    gone = key | {"days": list(cut.taken_out)}
    for table in ("etl.partitions", "etl.partition_statistics"):
        connection.execute(f"DELETE FROM {table} WHERE {_THESE_DAYS}", gone)
    for table, state in (("etl.quarantine", "superseded"), ("etl.failed_items", RESOLVED)):
        connection.execute(
            f"UPDATE {table} SET state = '{state}', run_id = $run_id WHERE {_THESE_DAYS} AND state = 'pending'",
            gone | {"run_id": run_id},
        )


def _restore(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, layout: TableLayout, rollback: Rollback
) -> None:
    cut = rollback.cut
    last = {day: loads[-1].load_id for day, loads in cut.then.items()}
    known: dict[date, tuple[str, Applied]] = {}
    statistics: list[CheckedPartition] = []
    for load in cut.loads:
        request, day = rollback.requests[load.load_id], load.partition
        before = known.get(day)
        if load.restates:
            # As in any commit, equal content is not looked at again, unless mended code loaded any day since.
            known.clear()
        if before and before[0] == request.content_hash and not load.restates:
            staged, repeats = before[1].staged, before[1].deduplicated
            applied = Applied(0, 0, staged - repeats, repeats, ())
        else:
            applied = _apply(connection, layout, request, load)
        known[day] = request.content_hash, applied
        counts = counts_of(request, applied)
        if day not in cut.logged:
            continue
        if load.load_id == last[day]:
            record_bad(connection, request, published=True)
            statistics.append(_numbers_of(request))
        record_load(ledger, request, counts, (), restates=load.restates, restores=load.load_id)
    record_checks(connection, statistics)


def _numbers_of(request: CommitRequest) -> CheckedPartition:
    """Give what later days are compared with; what checks said then stays where it is recorded."""
    source, stream, at = request.stream.source.name, request.stream.name, naive_utc(request.loaded_at)
    return CheckedPartition(source, stream, request.partition, (), request.statistics, request.run_id, at)


def _apply(
    connection: duckdb.DuckDBPyConnection, layout: TableLayout, request: CommitRequest, past: PastLoad
) -> Applied:
    load = replace(
        load_of(connection, layout, request),
        run_id=past.run_id,
        loaded_at=past.loaded_at,
        confirmed=True,
        restates=past.restates,
    )
    applied = disposition_of(request.stream.write).apply(load)
    if request.decisions:
        mark_waived(load, request.decided)
    return applied


def _set_watermark(connection: duckdb.DuckDBPyConnection, rollback: Rollback) -> None:
    """Have the stream read as far as the loads that count have read it."""
    key = {"source": rollback.stream.source.name, "stream": rollback.stream.name}
    connection.execute(f"DELETE FROM etl.watermarks WHERE {_THIS_STREAM}", key)
    loads = [load for of_day in rollback.cut.then.values() for load in of_day]
    if not loads:
        return
    furthest = max(loads, key=lambda load: (load.watermark, -load.load_id))
    connection.execute(
        "INSERT INTO etl.watermarks (source, stream, watermark, updated_at, run_id) "
        "VALUES ($source, $stream, $watermark, $at, $run_id)",
        key | {"watermark": furthest.watermark, "at": furthest.loaded_at, "run_id": furthest.run_id},
    )


def _digest(
    connection: duckdb.DuckDBPyConnection, layout: TableLayout, rollback: Rollback, name: str
) -> None:
    """Sum the rows of each business date up in a few numbers, in memory that does not grow with the table."""
    stream, cut = rollback.stream, rollback.cut
    if stream.business_date is None:
        return
    columns = [
        quoted(column)
        for column in sorted(table_columns(connection, layout.schema, layout.table))
        if column not in _OF_NO_MART
    ]
    which = "" if cut.whole else "WHERE list_contains(CAST($days AS DATE[]), _partition)"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT CAST({quoted(stream.business_date)} AS DATE) AS day, "
        f"count(*) AS n, sum(CAST(hash({', '.join(columns)}) AS HUGEINT)) AS digest "
        f"FROM {layout.name} {which} GROUP BY 1",
        {} if cut.whole else {"days": list(cut.changed)},
    )


def _differing_dates(connection: duckdb.DuckDBPyConnection, stream: Stream) -> tuple[date, ...]:
    if stream.business_date is None:
        return ()
    found = connection.execute(
        f"SELECT day FROM {_BEFORE} AS before FULL JOIN {_AFTER} AS after USING (day) WHERE day IS NOT NULL "
        "AND (before.n IS DISTINCT FROM after.n OR before.digest IS DISTINCT FROM after.digest) ORDER BY 1"
    ).fetchall()
    for name in (_BEFORE, _AFTER):
        connection.execute(f"DROP TABLE {name}")
    return tuple(row[0] for row in found)


def _count(connection: duckdb.DuckDBPyConnection, layout: TableLayout) -> int:
    found: Any = connection.execute(f"SELECT count(*) FROM {layout.name}").fetchone()
    return int(found[0])
