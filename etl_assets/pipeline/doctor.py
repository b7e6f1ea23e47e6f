"""Looking for anything unusual in the data folder and the warehouse, and mending what is safe to mend.

What belongs here: findings about files and tables, each with what to do about it. What does not: what belongs to a
normal day (days that failed are `etl-assets status`'s), and Dagster's runs (`etl_assets.orchestration.dead_runs`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import partial

import duckdb
from filelock import FileLock, Timeout

from etl_assets.failures import EtlError, LandingError
from etl_assets.landing.files import leftovers
from etl_assets.landing.partial import PARTIAL_FOLDER
from etl_assets.landing.store import Landing
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.recovery import state_drafts
from etl_assets.pipeline.rollback import SCRATCH_FOLDER, scratch_lock
from etl_assets.settings import parse_iso_day
from etl_assets.sources.circuit_file import read_circuits
from etl_assets.streams.base import Stream
from etl_assets.warehouse.children import out_of_step
from etl_assets.warehouse.consistency import (
    partitions_of,
    published_landings,
    read_everything,
    row_differences,
    undeclared_tables,
)
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.schema import table_columns

LEAST_FREE_BYTES = 1024**3
"""Room on the disk below which a day may not fit any more."""


class Weight(StrEnum):
    """How much a finding matters."""

    NOTE = "note"
    """Good to know; nothing has to be done."""
    LEFTOVER = "leftover"
    """Left behind by a process that was killed; in nobody's way, and safe to remove."""
    PROBLEM = "problem"
    """Somebody has to do something."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something unusual.

    Attributes:
        weight: How much it matters.
        where: The file, folder, stream or table.
        what: What is unusual about it, in one line.
        advice: What to do.
        mend: Mends it; None where only a person can.
    """

    weight: Weight
    where: str
    what: str
    advice: str = ""
    mend: Callable[[], None] | None = field(default=None, compare=False)


def examine(environment: Environment, streams: Sequence[Stream], *, deep: bool = False) -> Iterator[Finding]:
    """Look at everything that the project keeps. Nothing is changed, and no source is asked.

    Args:
        environment: Where everything is.
        streams: All declared streams.
        deep: Read every landed answer and every table back, and compare their check sums.

    Yields:
        What was found, as it is found.
    """
    yield from _leftovers(environment)
    yield from _drafts(environment)
    yield from _disk(environment)
    for stream in streams:
        yield from _landed(environment.landing, stream.id, deep=deep)
    yield from _warehouse(environment, streams, deep=deep)
    yield from _circuits(environment)


def _leftovers(environment: Environment) -> Iterator[Finding]:
    for root in (environment.landing.root, environment.staged.root):
        # <root>/<source>/<stream>/<day>
        for folder in sorted(root.glob("*/*/*")):
            for leftover in leftovers(folder):
                yield Finding(
                    Weight.LEFTOVER,
                    str(leftover),
                    "half-written files of a process that was killed",
                    mend=partial(shutil.rmtree, leftover, ignore_errors=True),
                )

    scratch = environment.staged.root / SCRATCH_FOLDER
    with suppress(Timeout):
        if scratch.exists():
            # While a rollback is under way the lock is held.
            with FileLock(scratch_lock(environment), timeout=0):
                yield Finding(
                    Weight.LEFTOVER,
                    str(scratch),
                    "what a killed rollback had staged; nothing of it was committed, or all",
                    mend=partial(shutil.rmtree, scratch, ignore_errors=True),
                )


def _drafts(environment: Environment) -> Iterator[Finding]:
    for draft in state_drafts(environment.settings.state_dir):
        yield Finding(
            Weight.LEFTOVER,
            str(draft),
            "half-written state of a source, by a process that was killed",
            mend=partial(draft.unlink, missing_ok=True),
        )


def _disk(environment: Environment) -> Iterator[Finding]:
    folder = environment.settings.data_dir
    if not folder.exists():
        return
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            Weight.PROBLEM,
            str(folder),
            f"only {free / 1024**2:,.0f} MiB are free on its disk",
            "free some space before the next load",
        )


def _landed(landing: Landing, stream_id: str, *, deep: bool) -> Iterator[Finding]:
    for folder in sorted((landing.root / stream_id).glob("????-??-??")):
        day = _day(folder.name)
        if day is None:
            continue
        if (folder / PARTIAL_FOLDER).exists():
            yield Finding(
                Weight.NOTE,
                f"{stream_id} {day}",
                "an extraction that was cut short, or is under way",
                "the next load of the day goes on with it, or starts again",
            )
        try:
            landed = landing.latest(stream_id, day)
            if landed is not None and deep:
                for _ in landed.pages():
                    pass
        except LandingError as error:
            yield Finding(
                Weight.PROBLEM,
                f"{stream_id} {day}",
                error.message,
                f"etl-assets backfill {stream_id} --from {day} --to {day}",
            )


def _warehouse(environment: Environment, streams: Sequence[Stream], *, deep: bool) -> Iterator[Finding]:
    warehouse = environment.warehouse
    if not warehouse.exists():
        if any(environment.landing.root.glob("*/*/*")):
            yield Finding(
                Weight.PROBLEM,
                str(warehouse.path),
                "there are landed answers, but no warehouse",
                "etl-assets backfill --replay for the landed days makes it anew",
            )
        return
    try:
        with warehouse.read("etl-assets doctor") as connection:
            yield from _tables(environment, connection, streams)
            yield from _left_by_a_writer(warehouse)
            if deep:
                read_everything(connection)
    except EtlError as error:
        yield Finding(Weight.PROBLEM, str(warehouse.path), error.message, error.hint or "")


def _left_by_a_writer(warehouse: Warehouse) -> Iterator[Finding]:
    """Look for what only a killed process leaves; while the lock is held nobody else can be using it."""
    for spill in sorted(warehouse.path.with_name(warehouse.path.name + ".tmp").glob("*")):
        yield Finding(
            Weight.LEFTOVER,
            str(spill),
            "what a killed process had spilled from memory",
            mend=partial(spill.unlink, missing_ok=True),
        )
    log = warehouse.path.with_name(warehouse.path.name + ".wal")
    if log.exists():
        yield Finding(
            Weight.LEFTOVER,
            str(log),
            "commits of a process that was killed; they are whole, and read with the warehouse",
            "the next load takes them into the file; until then a copy needs both",
            mend=partial(_open_and_close, warehouse),
        )


def _open_and_close(warehouse: Warehouse) -> None:
    with warehouse.session("etl-assets doctor --mend"):
        pass


def _tables(
    environment: Environment, connection: duckdb.DuckDBPyConnection, streams: Sequence[Stream]
) -> Iterator[Finding]:
    if not table_columns(connection, "etl", "partitions"):
        return
    for stream in streams:
        for found in row_differences(connection, stream):
            yield Finding(
                Weight.PROBLEM,
                f"{stream.id} {found.partition}",
                f"the table has {found.in_table:,} rows of the day, its last load left {found.loaded:,}",
                f"etl-assets backfill {stream.id} --replay --from {found.partition} --to {found.partition}",
            )
        for table, records in out_of_step(connection, stream).items():
            yield Finding(
                Weight.PROBLEM,
                table,
                f"{records:,} records have other rows than {stream.source.name}.{stream.name} says",
                "somebody changed them; they can be made anew",
                mend=partial(_remake_child_tables, environment, stream),
            )
        yield from _without_landing(environment.landing, connection, stream)
        yield from _without_load(environment.landing, connection, stream)
    for name in undeclared_tables(connection, {stream.id for stream in streams}):
        yield Finding(
            Weight.NOTE,
            name,
            "was loaded once, and no file declares it any more",
            "drop its table, or keep it",
        )


def _remake_child_tables(environment: Environment, stream: Stream) -> None:
    with environment.warehouse.session("etl-assets doctor") as session:
        session.remake_child_tables(stream)


def _without_landing(
    landing: Landing, connection: duckdb.DuckDBPyConnection, stream: Stream
) -> Iterator[Finding]:
    missing = [
        day
        for day, version in published_landings(connection, stream).items()
        if not (landing.partition_path(stream.id, day) / version).exists()
    ]
    if missing:
        yield Finding(
            Weight.NOTE,
            stream.id,
            f"the answers behind {len(missing):,} published days are not in landing any more "
            f"({missing[0]} to {missing[-1]})",
            "these days cannot be replayed; they can be asked for again, if the source still has them",
        )


def _without_load(
    landing: Landing, connection: duckdb.DuckDBPyConnection, stream: Stream
) -> Iterator[Finding]:
    tried = partitions_of(connection, stream)
    days = (_day(folder.name) for folder in sorted((landing.root / stream.id).glob("????-??-??")))
    waiting = [day for day in days if day and day not in tried and landing.latest_version(stream.id, day)]
    if waiting:
        first, last = waiting[0], waiting[-1]
        yield Finding(
            Weight.NOTE,
            stream.id,
            f"{len(waiting):,} days were landed and never loaded ({first} to {last})",
            f"etl-assets backfill {stream.id} --missing --from {first} --to {last}",
        )


def _circuits(environment: Environment) -> Iterator[Finding]:
    for source, state in read_circuits(environment.settings.state_dir).items():
        if state.state != "closed":
            since = f"{state.since:%Y-%m-%d %H:%M:%S} UTC"
            yield Finding(
                Weight.NOTE,
                f"source {source}",
                f"its circuit is {state.state.replace('_', ' ')} since {since}: {state.last_error}",
                "the next run tries it again",
            )


def mend(findings: Sequence[Finding]) -> list[Finding]:
    """Mend what can be mended; gives the findings that are left."""
    left = []
    for finding in findings:
        if finding.mend is None:
            left.append(finding)
            continue
        with suppress(OSError, EtlError):
            finding.mend()
    return left


def _day(name: str) -> date | None:
    try:
        return parse_iso_day(name)
    except ValueError:
        return None
