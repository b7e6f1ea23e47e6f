"""What a backfill would do, and why: days that are missing, were not published, or were made by older code.

What belongs here: the reasons, and an estimate. What does not: running anything (`etl_assets.pipeline.run`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from statistics import median

import duckdb

from etl_assets.failures import LandingError
from etl_assets.landing.store import Landing
from etl_assets.outcomes import Status
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.present import can_be_had
from etl_assets.pipeline.pseudonyms import contract_version_of
from etl_assets.streams.base import Stream
from etl_assets.warehouse.decisions import decisions_version, standing_decisions
from etl_assets.warehouse.history import DayCost, DayHistory, cost_of, history_of

LANDED_DAYS = 5
"""Landed days that are looked at to tell how many requests a day takes."""


class Reason(StrEnum):
    """Why a day would be loaded."""

    MISSING = "missing"
    """It was never loaded."""
    FAILED = "failed"
    """Its last attempt failed."""
    WITHHELD = "withheld"
    """Its last attempt was withheld."""
    CONTRACT_CHANGED = "contract changed"
    """It was loaded under another contract."""
    CODE_CHANGED = "code changed"
    """It was loaded by another version of the stream's file."""
    LANDED_AGAIN = "landed again"
    """Newer answers have been landed since it was loaded."""
    DECIDED = "quarantine decided"
    """Somebody decided on its quarantined rows since it was loaded."""


UNPUBLISHED = frozenset({Reason.FAILED, Reason.WITHHELD})
CHANGED = frozenset({Reason.CONTRACT_CHANGED, Reason.CODE_CHANGED, Reason.LANDED_AGAIN, Reason.DECIDED})


@dataclass(frozen=True, slots=True)
class PlannedDay:
    """A day that would be loaded.

    Attributes:
        partition: The day.
        reason: Why.
        message: What its last attempt said, where it was not published.
    """

    partition: date
    reason: Reason
    message: str = ""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What would be done for a stream.

    Attributes:
        stream: Stream id.
        days: Days that would be loaded, in order.
        up_to_date: How many of the days that were asked for would be left alone, those included that a source which
            shows only the present cannot give any more.
        rows: Rows that the days will bring, as far as earlier ones tell; None where there are none.
        requests: Requests, or pages, that they will take.
        seconds: Seconds of work that they will take.
    """

    stream: str
    days: tuple[PlannedDay, ...]
    up_to_date: int
    rows: int | None = None
    requests: int | None = None
    seconds: float | None = None


def plan(
    environment: Environment,
    streams: Iterable[Stream],
    days: Sequence[date],
    *,
    reasons: Collection[Reason] = tuple(Reason),
) -> list[StreamPlan]:
    """Tell what would be loaded. Nothing is run, and no source is asked.

    Args:
        environment: Where the bookkeeping and the landed answers are.
        streams: The streams.
        days: The days to look at.
        reasons: Reasons that count.

    Raises:
        WarehouseBusyError: If another process held the warehouse for too long.
    """
    if not environment.warehouse.exists():
        return [_plan_of(environment, stream, days, {}, {}, None, reasons) for stream in streams]
    with environment.warehouse.read("plan") as connection:
        return [_plan(environment, connection, stream, days, reasons) for stream in streams]


def _plan(
    environment: Environment,
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    days: Sequence[date],
    reasons: Collection[Reason],
) -> StreamPlan:
    known = history_of(connection, stream.id, days)
    standing = standing_decisions(connection, stream.id, days)
    decided = {day: decisions_version(made) for day, made in standing.items()}
    return _plan_of(environment, stream, days, known, decided, cost_of(connection, stream.id), reasons)


def _plan_of(
    environment: Environment,
    stream: Stream,
    days: Sequence[date],
    known: dict[date, DayHistory],
    decided: dict[date, str],
    cost: DayCost | None,
    reasons: Collection[Reason],
) -> StreamPlan:
    planned = []
    for day in days:
        history = known.get(day)
        reason = _reason(environment, stream, day, history, decided.get(day, ""))
        if reason is not None and reason in reasons:
            message = history.message if history and not history.status.is_published else ""
            planned.append(PlannedDay(day, reason, message))
    found = StreamPlan(stream.id, tuple(planned), len(days) - len(planned))
    return found if cost is None else _estimated(found, cost, environment.landing)


def _reason(
    environment: Environment, stream: Stream, day: date, history: DayHistory | None, decided: str
) -> Reason | None:
    if history is None:
        possible = can_be_had(stream, day, environment.landing, datetime.now(UTC))
        return Reason.MISSING if possible else None
    if not history.status.is_published:
        return Reason.WITHHELD if history.status is Status.WITHHELD else Reason.FAILED
    if history.contract_version != contract_version_of(environment.settings, stream):
        return Reason.CONTRACT_CHANGED
    if history.code_version != environment.code_versions[stream.id]:
        return Reason.CODE_CHANGED
    landed = environment.landing.latest_version(stream.id, day)
    if landed is not None and landed != history.landing_version:
        return Reason.LANDED_AGAIN
    return Reason.DECIDED if decided != (history.decisions or "") else None


def _estimated(found: StreamPlan, cost: DayCost, landing: Landing) -> StreamPlan:
    requests = _requests_of_a_day(found.stream, cost, landing)
    number = len(found.days)
    return StreamPlan(
        stream=found.stream,
        days=found.days,
        up_to_date=found.up_to_date,
        rows=round(cost.rows * number),
        requests=None if requests is None else round(requests * number),
        seconds=round(cost.seconds * number, 2),
    )


def _requests_of_a_day(stream_id: str, cost: DayCost, landing: Landing) -> float | None:
    pages = []
    for day in cost.landed[:LANDED_DAYS]:
        try:
            landed = landing.latest(stream_id, day)
        except LandingError:
            continue
        if landed is not None:
            pages.append(len(landed.manifest.pages))
    return median(pages) if pages else None
