"""Judging staged days by their stream's audits, in the order of the days.

What belongs here: which audit is evaluated how, and what days that are committed together mean to each other. What does
not: any single audit, and what follows from a failure (`etl_assets.quality.verdict`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import pyarrow as pa

from etl_assets.outcomes import CheckResult
from etl_assets.quality.audits import agreement, columns, keys, volume
from etl_assets.quality.audits.history import History, read_history
from etl_assets.quality.audits.staged_day import Finding, StagedDay, path_literal, personal_columns
from etl_assets.quality.preview import preview
from etl_assets.streams.audits import Audit, Categories, MeanDrift, NullShare, Outliers, RowCount, Volume
from etl_assets.streams.audits_of_tables import Agreement, ForeignKey, UniqueInTable, audits_at_commit
from etl_assets.streams.base import Stream
from etl_assets.streams.children import CHILDREN_COLUMN

WORST_ROWS = 5


@dataclass(frozen=True, slots=True)
class _Known:
    """What a day can be compared with: earlier days, and what was looked up for the whole group."""

    history: History
    repeats: Mapping[str, Mapping[date, keys.Repeats]]
    orphans: Mapping[str, Mapping[date, keys.Orphans]]
    totals: Mapping[str, Mapping[date, agreement.Comparison]]
    published: set[date]


def judge(
    connection: duckdb.DuckDBPyConnection,
    group: Sequence[StagedDay],
    streams: Mapping[str, Stream],
    *,
    tolerant: bool = False,
) -> list[tuple[CheckResult, ...]]:
    """Judge days of one stream.

    Args:
        connection: The warehouse; the stream's table exists.
        group: The days, in their order.
        streams: All streams, for audits that look at another one.
        tolerant: Whether a day is published, and so counts as an earlier one, even if an audit would withhold it.

    Returns:
        The results of each day, in the order in which the audits are declared.
    """
    if not group:
        return []
    audits = audits_at_commit(group[0].stream.audits)
    if not audits:
        return [() for _ in group]
    known = _look_up(connection, audits, group, streams)
    judged = []
    for staged in group:
        results = tuple(
            _result(connection, audit, staged, _evaluate(audit, staged, known)) for audit in audits
        )
        judged.append(results)
        withheld = any(result.withholds and not result.passed for result in results)
        if staged.publishable and (tolerant or not withheld):
            known.history.add(staged.day, staged.statistics)
            known.published.add(staged.day)
    return judged


def _look_up(
    connection: duckdb.DuckDBPyConnection,
    audits: Sequence[Audit],
    group: Sequence[StagedDay],
    streams: Mapping[str, Stream],
) -> _Known:
    weeks = max((audit.weeks for audit in audits if isinstance(audit, Volume)), default=0)
    days = [staged.day for staged in group]
    history = History()
    if any(audit.compares_with_earlier_days for audit in audits):
        history = read_history(connection, group[0].stream.id, min(days), max(days), weeks)
    return _Known(
        history=history,
        repeats={
            audit.check_name: keys.find_repeats(connection, audit, group)
            for audit in audits
            if isinstance(audit, UniqueInTable)
        },
        orphans={
            audit.check_name: keys.find_orphans(connection, audit, group, streams.get(audit.references))
            for audit in audits
            if isinstance(audit, ForeignKey)
        },
        totals={
            audit.check_name: agreement.compare(connection, audit, group, streams[audit.stream])
            for audit in audits
            if isinstance(audit, Agreement) and audit.stream in streams
        },
        published=set(),
    )


def _evaluate(audit: Audit, staged: StagedDay, known: _Known) -> Finding:
    for kind, evaluate in _EVALUATIONS.items():
        if isinstance(audit, kind):
            return evaluate(audit, staged, known)
    raise TypeError(f"{audit.kind} is no audit that judges a day")


# Each takes the audit of its own kind; that a mapping by type pairs them rightly is beyond what types can say.
_EVALUATIONS: dict[type[Audit], Callable[..., Finding]] = {
    RowCount: lambda audit, staged, known: volume.row_count(audit, staged),
    Volume: lambda audit, staged, known: volume.volume(audit, staged, known.history),
    NullShare: lambda audit, staged, known: columns.null_share(audit, staged, known.history),
    Categories: lambda audit, staged, known: columns.categories(audit, staged, known.history),
    Outliers: lambda audit, staged, known: columns.outliers(audit, staged),
    MeanDrift: lambda audit, staged, known: columns.mean_drift(audit, staged, known.history),
    UniqueInTable: lambda audit, staged, known: known.repeats[audit.check_name][staged.day].judge(
        audit, staged, known.published
    ),
    ForeignKey: lambda audit, staged, known: known.orphans[audit.check_name][staged.day].judge(audit, staged),
    Agreement: lambda audit, staged, known: _agreement(audit, staged, known),
}


def _agreement(audit: Agreement, staged: StagedDay, known: _Known) -> Finding:
    if audit.check_name not in known.totals:
        return Finding(True, f"{audit.stream} is not among the streams, nothing to compare with")
    return known.totals[audit.check_name][staged.day].judge(audit, staged)


def _result(
    connection: duckdb.DuckDBPyConnection, audit: Audit, staged: StagedDay, finding: Finding
) -> CheckResult:
    sample = finding.sample
    if not finding.passed and not sample and finding.worst:
        sample = _worst_rows(connection, staged, finding.worst)
    return CheckResult(
        check=audit.check_name,
        kind=audit.kind,
        passed=finding.passed,
        withholds=audit.withholds,
        message=finding.message,
        numbers=dict(finding.numbers),
        sample="" if finding.passed else sample,
    )


def _worst_rows(connection: duckdb.DuckDBPyConnection, staged: StagedDay, condition: str) -> str:
    # Lists hold names and the like, which are shown nowhere.
    hidden = ", ".join(["_row", *([CHILDREN_COLUMN] if staged.stream.children else [])])
    rows: pa.Table = connection.execute(
        f"SELECT * EXCLUDE ({hidden}) FROM read_parquet({path_literal(staged.rows)}) "
        f"WHERE {condition} LIMIT {WORST_ROWS}"
    ).to_arrow_table()
    return preview(rows, personal_columns(staged.stream), WORST_ROWS)
