"""The account of a change feed's numbers: which were loaded, and which are missing in between.

Loaded numbers are kept as ranges without gaps, so that the missing ones follow from what was loaded alone, in
whichever order. A gap says that changes were lost, or quarantined, or belong to a day that has not been loaded yet;
it is never an error. What belongs here: `etl.sequence_ranges` and `etl.sequence_gaps`. What does not: the changes.
"""

from __future__ import annotations

import structlog

from etl_assets.warehouse.dispositions.base import Load

log = structlog.get_logger(__name__)

_RANGES = "_etl_ranges"
_GAPS = "_etl_gaps"
_THIS_STREAM = "source = $source AND stream = $stream"


def account_for(load: Load, numbers: str) -> int:
    """Add numbers to those that were loaded; record new gaps, and close those that were filled.

    A gap that is filled in part is closed, and what is left of it is noticed anew.

    Args:
        load: The load.
        numbers: A SELECT without parameters of one column `number`; repeats do not matter.

    Returns:
        Gaps that this load noticed.
    """
    if extend_the_range(load, numbers):
        return 0
    stream = load.of_stream
    _unite(load, numbers, stream)
    connection = load.connection
    connection.execute(f"DELETE FROM etl.sequence_ranges WHERE {_THIS_STREAM}", stream)
    connection.execute(
        "INSERT INTO etl.sequence_ranges (source, stream, first_sequence, last_sequence) "
        f"SELECT $source, $stream, first_sequence, last_sequence FROM {_RANGES}",
        stream,
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_GAPS} AS SELECT * FROM (SELECT last_sequence AS after_sequence, "
        f"lead(first_sequence) OVER (ORDER BY first_sequence) AS before_sequence FROM {_RANGES}) "
        "WHERE before_sequence IS NOT NULL"
    )
    any_gap = load.one(
        f"SELECT EXISTS (SELECT 1 FROM {_GAPS}) OR EXISTS "
        f"(SELECT 1 FROM etl.sequence_gaps WHERE {_THIS_STREAM} AND closed_at IS NULL)",
        stream,
    )[0]
    noticed = _record(load, stream) if any_gap else 0
    load.drop(_GAPS, _RANGES)
    if noticed:
        log.warning(
            "sequence_gaps_noticed",
            source=load.stream.source.name,
            stream=load.stream.id,
            partition=load.partition.isoformat(),
            run_id=load.run_id,
            stage="commit",
            gaps=noticed,
        )
    return noticed


def extend_the_range(load: Load, numbers: str) -> bool:
    """Add what most loads bring, numbers without a gap that go on where the known ones end, with few statements.

    Args:
        load: The load.
        numbers: As for `account_for`.

    Returns:
        Whether it was that, and they are added.
    """
    stream = load.of_stream
    first, last, count, ranges, known_first, known_last = load.one(
        f"SELECT * FROM (SELECT min(number), max(number), count(DISTINCT number) FROM ({numbers}) AS given), "
        "(SELECT count(*), min(first_sequence), max(last_sequence) FROM etl.sequence_ranges "
        f"WHERE {_THIS_STREAM})",
        stream,
    )
    # A gap lies between two ranges; where there is one range, or none, no gap is open.
    if count == 0 or last - first + 1 != count or ranges > 1:
        return False
    bounds = stream | {"first": first, "last": last}
    if ranges == 0:
        load.connection.execute(
            "INSERT INTO etl.sequence_ranges (source, stream, first_sequence, last_sequence) "
            "VALUES ($source, $stream, $first, $last)",
            bounds,
        )
    elif first > known_last + 1 or last < known_first - 1:
        return False
    elif first < known_first or last > known_last:
        load.connection.execute(
            "UPDATE etl.sequence_ranges SET first_sequence = least(first_sequence, $first), "
            f"last_sequence = greatest(last_sequence, $last) WHERE {_THIS_STREAM}",
            bounds,
        )
    return True


def _unite(load: Load, numbers: str, stream: dict[str, str]) -> None:
    """Put all loaded numbers, earlier ones and these, into a table of ranges that neither touch nor overlap.

    Neighbouring numbers share their difference to their rank, so that a load shrinks to its ranges before
    they are united with the known ones. Differences are taken in a wider type than the numbers', at whose
    ends they would not fit.
    """
    load.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_RANGES} AS "
        f"WITH loaded AS (SELECT DISTINCT CAST(number AS HUGEINT) AS number FROM ({numbers}) AS given), "
        "ranked AS (SELECT number, number - row_number() OVER (ORDER BY number) AS island FROM loaded), "
        "parts AS (SELECT min(number) AS first, max(number) AS last FROM ranked GROUP BY island "
        "UNION ALL SELECT CAST(first_sequence AS HUGEINT), CAST(last_sequence AS HUGEINT) "
        f"FROM etl.sequence_ranges WHERE {_THIS_STREAM}), "
        "seen AS (SELECT first, last, max(last) OVER (ORDER BY first, last "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached FROM parts), "
        "grouped AS (SELECT first, last, count(*) FILTER (reached IS NULL OR first > reached + 1) "
        "OVER (ORDER BY first, last ROWS UNBOUNDED PRECEDING) AS united FROM seen) "
        "SELECT CAST(min(first) AS BIGINT) AS first_sequence, CAST(max(last) AS BIGINT) AS last_sequence "
        "FROM grouped GROUP BY united",
        stream,
    )


def _record(load: Load, stream: dict[str, str]) -> int:
    at = {"at": load.loaded_at}
    same = "gap.after_sequence = known.after_sequence AND gap.before_sequence = known.before_sequence"
    load.connection.execute(
        "UPDATE etl.sequence_gaps AS known SET closed_at = CAST($at AS TIMESTAMP) "
        f"WHERE {_THIS_STREAM} AND closed_at IS NULL "
        f"AND NOT EXISTS (SELECT 1 FROM {_GAPS} AS gap WHERE {same})",
        stream | at,
    )
    found = load.one(
        "INSERT INTO etl.sequence_gaps (source, stream, after_sequence, before_sequence, partition, run_id, "
        "noticed_at, closed_at) SELECT $source, $stream, gap.after_sequence, gap.before_sequence, "
        "CAST($partition AS DATE), $run_id, CAST($at AS TIMESTAMP), NULL "
        f"FROM {_GAPS} AS gap WHERE NOT EXISTS (SELECT 1 FROM etl.sequence_gaps AS known "
        f"WHERE {_THIS_STREAM} AND closed_at IS NULL AND {same})",
        stream | at | {"partition": load.partition, "run_id": load.run_id},
    )
    return int(found[0])
