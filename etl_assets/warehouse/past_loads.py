"""The load log read backwards: which loads stood behind a stream's table at some time, and which stand behind it now.

A rollback adds to the log like everything else: a row with the verdict `rolled_back` says that a partition's loads
before it count no longer, and rows that `restores` says it of bring the effect of earlier loads back. So the loads that
count at any time are those after the partition's last `rolled_back` up to then.

What belongs here: finding them. What does not: taking anything back (`rollback`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import duckdb

from etl_assets.failures import ConfigurationError
from etl_assets.streams.base import ReplacePartition, Stream
from etl_assets.warehouse.ledger import ROLLED_BACK
from etl_assets.warehouse.schema import table_columns

LEAST_OF_RUN_ID = 6
"""Characters of a run's identifier that may stand for the whole."""


@dataclass(frozen=True, slots=True)
class Target:
    """The time to go back to: right after a load.

    Attributes:
        load_id: The last load that had been committed.
        at: When that was, or the time that was asked for; naive UTC.
    """

    load_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class PastLoad:
    """A load that counts.

    Attributes:
        load_id: The load that first brought it about; a rollback may have restored it since.
        partition: The day.
        run_id: The run that the rows bear which it wrote.
        loaded_at: When; naive UTC.
        landing_version: The landed answers that it was made from.
        made_by: Contract and code that made it, when it was last made.
        watermark: Its watermark; naive UTC.
        extracted: Rows extracted.
        held: Rows that it left in the table, or found there.
        wrote: Whether it wrote any row.
        seconds: Seconds per stage, as JSON.
        restates: Whether it took the place of what other code had made.
        decisions: Version of the decisions on quarantined rows that it was made with; empty without any.
    """

    load_id: int
    partition: date
    run_id: str
    loaded_at: datetime
    landing_version: str | None
    made_by: tuple[str, str]
    watermark: datetime
    extracted: int
    held: int
    wrote: bool
    seconds: str
    restates: bool
    decisions: str


Loads = Mapping[date, tuple[PastLoad, ...]]


@dataclass(frozen=True, slots=True)
class Cut:
    """What going back means for a stream.

    Attributes:
        stream: Stream id.
        target: The time to go back to.
        now: The loads that count now, by partition and in their order.
        then: The loads that are to count.
        changed: Partitions behind which other loads are to stand; of all others `then` is what is `now`.
        whole: Whether the table has to be made anew from all loads that are to count, since its rows move from day to
            day; else only the partitions that differ.
        made_by: The present contract and code.
    """

    stream: str
    target: Target
    now: Loads
    then: Loads
    changed: tuple[date, ...]
    whole: bool
    made_by: tuple[str, str]

    @property
    def taken_out(self) -> tuple[date, ...]:
        """Those of them that are to hold nothing, because they had not been loaded."""
        return tuple(day for day in self.changed if day not in self.then)

    @property
    def restored(self) -> tuple[date, ...]:
        """Those of them that are to be what they were."""
        return tuple(day for day in self.changed if day in self.then)

    @property
    def kept(self) -> tuple[date, ...]:
        """Partitions behind which the same loads stand as then."""
        return tuple(sorted(self.now.keys() - set(self.changed)))

    @property
    def logged(self) -> frozenset[date]:
        """Partitions of which the log has to tell: those that differ, and those that other code makes anew."""
        if not (self.whole and self.changed):
            return frozenset(self.changed)
        made_anew = {
            day for day, loads in self.then.items() if any(self.is_made_anew(load) for load in loads)
        }
        return frozenset(made_anew.union(self.changed))

    @property
    def loads(self) -> tuple[PastLoad, ...]:
        """The loads to bring back, in the order in which they were once committed."""
        if not self.changed:
            return ()
        if self.whole:
            return tuple(sorted((load for loads in self.then.values() for load in loads), key=_number))
        return tuple(_with_stamps_of_writer(self.then[day]) for day in self.restored)

    def is_made_anew(self, load: PastLoad) -> bool:
        """Whether a load is made by other code, or under another contract, than it was."""
        return load.made_by != self.made_by


def cut_of(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    target: Target,
    made_by: tuple[str, str],
    days: Collection[date] | None = None,
) -> Cut:
    """Find out what going back means for a stream.

    Args:
        connection: The warehouse.
        stream: The stream.
        target: The time to go back to.
        made_by: The present contract and code.
        days: Partitions that go back; all where not given.
    """
    rows = _log_of(connection, stream)
    now = _counting(rows)
    then = _counting(row for row in rows if row["log_id"] <= target.load_id)
    whole = not isinstance(stream.write, ReplacePartition)
    differ = {
        day
        for day in {*now, *then}
        if _numbers(now.get(day, ()), whole) != _numbers(then.get(day, ()), whole)
    }
    changed = differ if days is None else differ.intersection(days)
    # What stays is as it was loaded last, perhaps by a rollback, and not as it was then.
    stays = {day: loads for day, loads in now.items() if day not in changed}
    back = {day: loads for day, loads in then.items() if day in changed}
    return Cut(stream.id, target, now, stays | back, tuple(sorted(changed)), whole, made_by)


def target_at(connection: duckdb.DuckDBPyConnection, moment: datetime) -> Target:
    """Give the time to go back to that a moment means; naive UTC.

    Raises:
        ConfigurationError: If nothing had been loaded then.
    """
    last, first = _one(
        connection,
        "SELECT max(load_id) FILTER (loaded_at <= $at), min(loaded_at) FROM etl.loads",
        {"at": moment},
    )
    if last is None:
        since = f"the first load was at {first:%Y-%m-%d %H:%M:%S} UTC" if first else "nothing has been loaded"
        raise ConfigurationError(f"--to {moment:%Y-%m-%d %H:%M:%S} UTC is before the first load", hint=since)
    return Target(int(last), moment)


def target_of_run(connection: duckdb.DuckDBPyConnection, run: str) -> Target:
    """Give the time right after a run's last commit.

    Args:
        connection: The warehouse.
        run: The run's identifier, or its beginning.

    Raises:
        ConfigurationError: If there is no such run, there are several, or it committed nothing.
    """
    which = "run_id = $run" + (" OR starts_with(run_id, $run)" if len(run) >= LEAST_OF_RUN_ID else "")
    found = connection.execute(
        f"SELECT run_id, max(load_id), arg_max(loaded_at, load_id) FROM etl.loads WHERE {which} "
        "GROUP BY run_id ORDER BY run_id = $run DESC, run_id",
        {"run": run},
    ).fetchall()
    if found and (len(found) == 1 or found[0][0] == run):
        return Target(int(found[0][1]), found[0][2])
    if found:
        names = ", ".join(row[0] for row in found[:3])
        raise ConfigurationError(f"--to {run!r} begins several runs", hint=f"give more of it: {names}")
    tried = _one(connection, f"SELECT count(*) FROM etl.partitions WHERE {which}", {"run": run})[0]
    if tried:
        raise ConfigurationError(
            f"run {run} committed nothing", hint="name a time, or a run that published a day"
        )
    raise ConfigurationError(
        f"--to {run!r} is neither a time nor a run that committed anything",
        hint="write a time as 2025-01-10T08:00Z; runs are in etl.loads",
    )


def days_taken_out(connection: duckdb.DuckDBPyConnection, stream: Stream) -> tuple[date, ...]:
    """Give the partitions that a rollback took out and that have not been loaded since."""
    found = connection.execute(
        "SELECT partition FROM (SELECT * FROM etl.loads WHERE source = ? AND stream = ? "
        "QUALIFY row_number() OVER (PARTITION BY partition ORDER BY load_id DESC) = 1) "
        "WHERE verdict = ? ORDER BY partition",
        [stream.source.name, stream.name, ROLLED_BACK],
    ).fetchall()
    return tuple(row[0] for row in found)


def rows_of_days(
    connection: duckdb.DuckDBPyConnection, stream: Stream, days: Collection[date]
) -> dict[date, int]:
    """Give how many rows the last publication of some partitions has in the table."""
    found = connection.execute(
        "SELECT partition, loaded_rows FROM etl.partitions WHERE source = ? AND stream = ? "
        "AND list_contains(CAST(? AS DATE[]), partition) ORDER BY partition",
        [stream.source.name, stream.name, list(days)],
    ).fetchall()
    return {row[0]: int(row[1]) for row in found}


def _log_of(connection: duckdb.DuckDBPyConnection, stream: Stream) -> list[dict[str, Any]]:
    """Read a stream's rows of the log, each with what is known of the load that it restores."""
    if not (there := table_columns(connection, "etl", "loads")):
        return []
    # A file that is opened for reading may be of before the first rollback.
    lacking = "".join(
        f", NULL AS {name}" for name in ("restores", "restates", "decisions") if name not in there
    )
    cursor = connection.execute(
        f"WITH l AS (SELECT *{lacking} FROM etl.loads "
        "WHERE source = $source AND stream = $stream) "
        "SELECT l.load_id AS log_id, coalesce(o.load_id, l.load_id) AS load_id, l.partition, l.verdict, "
        "coalesce(o.run_id, l.run_id) AS run_id, coalesce(o.loaded_at, l.loaded_at) AS loaded_at, "
        "l.landing_version, (l.contract_version, l.code_version) AS made_by, l.watermark, l.extracted, "
        "l.loaded + l.unchanged AS held, coalesce(o.loaded, l.loaded) > 0 AS wrote, l.seconds, l.restates, "
        "coalesce(l.decisions, '') AS decisions "
        "FROM l LEFT JOIN l AS o ON o.load_id = l.restores ORDER BY log_id",
        {"source": stream.source.name, "stream": stream.name},
    )
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _counting(rows: Iterable[Mapping[str, Any]]) -> Loads:
    """Go through the log, and keep the loads that count at its end; one that repeats the one before adds nothing.

    Unless mended code loaded any day in between: then the repeat may have brought its rows back.
    """
    loads: dict[date, tuple[PastLoad, ...]] = {}
    restated_since: set[date] = set()
    for row in rows:
        day = row["partition"]
        if row["verdict"] == ROLLED_BACK:
            loads.pop(day, None)
            continue
        before = loads.get(day, ())
        load = _load_of(row, before[-1] if before else None)
        if day in restated_since or not (before and _repeats(load, before[-1])):
            loads[day] = (*before, load)
        if load.restates:
            restated_since.update(loads)
        restated_since.discard(day)
    return loads


def _load_of(row: Mapping[str, Any], before: PastLoad | None) -> PastLoad:
    made_by = tuple(row["made_by"])
    restates = row["restates"]
    if restates is None:
        # Not noted at the time: no rollback had been made then, so that it shows in the load before.
        restates = before is not None and before.made_by != made_by
    values = {name: row[name] for name in PastLoad.__dataclass_fields__ if name in row}
    return PastLoad(**(values | {"made_by": made_by, "restates": restates}))


def _repeats(load: PastLoad, before: PastLoad) -> bool:
    same = load.landing_version is not None and load.landing_version == before.landing_version
    return same and not load.restates


def _with_stamps_of_writer(loads: Sequence[PastLoad]) -> PastLoad:
    """Give a partition's last load with run and time of the one that wrote its rows: equal rows are left alone."""
    writer = next((load for load in reversed(loads) if load.wrote), loads[-1])
    return replace(loads[-1], run_id=writer.run_id, loaded_at=writer.loaded_at)


def _numbers(loads: Sequence[PastLoad], whole: bool) -> list[int]:
    """Give the loads that a partition is made of: where it is replaced as a whole, the last one alone."""
    numbers = [load.load_id for load in loads]
    return numbers if whole else numbers[-1:]


def _number(load: PastLoad) -> int:
    return load.load_id


def _one(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
    found: tuple[Any, ...] | None = connection.execute(sql, parameters).fetchone()
    assert found is not None
    return found
