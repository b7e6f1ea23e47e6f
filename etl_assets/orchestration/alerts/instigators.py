"""Schedules and sensors that fail, lag or were switched off, and the daemon that runs them.

What belongs here: reading their ticks and heartbeats. What does not: what they do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote

import dagster as dg
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    InstigatorType,
    TickStatus,
)
from dagster._utils.schedules import reverse_cron_string_iterator

from etl_assets.alerts.conditions import OFF, Condition, Kind, Report, Severity
from etl_assets.alerts.durations import spell_span
from etl_assets.alerts.engine import Scene, Watcher
from etl_assets.alerts.outbox import moment
from etl_assets.alerts.scrub import first_line
from etl_assets.orchestration.alerts.errors import innermost

NAME = "instigators"
INTERVAL = timedelta(minutes=1)
GRACE = timedelta(minutes=10)
"""Lag that nobody has to hear of."""
TICKS_IN_A_ROW = 3
"""Ticks of a sensor that must have failed: it tries again soon enough by itself. Of a schedule one is enough."""
FINISHED = (TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE)


@dataclass(frozen=True, slots=True)
class Declared:
    """A schedule or sensor, as the definitions declare it.

    Attributes:
        name: Its name.
        kind: Which of the two.
        interval: Longest time between two ticks of a sensor.
        cron: When a schedule ticks.
        zone: In which time zone.
        is_on: Whether it is on unless somebody switches it off.
    """

    name: str
    kind: Kind
    interval: timedelta | None = None
    cron: str = ""
    zone: str = "UTC"
    is_on: bool = True

    @property
    def subject(self) -> str:
        """Its name, as people read it."""
        return f"{'schedule' if self.kind is Kind.SCHEDULE_FAILING else 'sensor'} {self.name}"

    def link_in(self, location: str) -> str:
        """Give the path of its page in the UI, in a code location."""
        folder = "schedules" if self.kind is Kind.SCHEDULE_FAILING else "sensors"
        return f"/locations/{quote(location)}/{folder}/{self.name}"


def declared_in(repository: dg.RepositoryDefinition) -> list[Declared]:
    """Give all schedules and sensors of a repository."""
    schedules = [
        Declared(
            schedule.name,
            Kind.SCHEDULE_FAILING,
            cron=schedule.cron_schedule if isinstance(schedule.cron_schedule, str) else "",
            zone=schedule.execution_timezone or "UTC",
            is_on=schedule.default_status is dg.DefaultScheduleStatus.RUNNING,
        )
        for schedule in repository.schedule_defs
    ]
    sensors = [
        Declared(
            sensor.name,
            Kind.SENSOR_FAILING,
            interval=timedelta(seconds=sensor.minimum_interval_seconds or 30),
            is_on=sensor.default_status is dg.DefaultSensorStatus.RUNNING,
        )
        for sensor in repository.sensor_defs
    ]
    return [*schedules, *sensors]


def instigator_watcher(
    instance: dg.DagsterInstance, declared: list[Declared], *, interval: timedelta = INTERVAL
) -> Watcher:
    """Give the watcher of an instance's schedules and sensors.

    Args:
        instance: The instance.
        declared: Those that there should be.
        interval: How often to look.
    """

    def watch(scene: Scene) -> Report:
        last = scene.outbox.cursor(NAME)
        if last and timedelta(0) <= scene.now - datetime.fromisoformat(json.loads(last)) < interval:
            return Report()
        states = {(state.instigator_type, state.name): state for state in instance.all_instigator_state()}
        told = _told_streaks(scene)
        found = [
            # However long a sensor fails: it is one failure, since the first look that found it.
            replace(condition, ref=told.get(condition.fingerprint, condition.ref))
            for one in declared
            for condition in _judge(instance, scene, one, _state_of(states, one))
        ]
        return Report(
            conditions=found,
            complete=frozenset({Kind.SCHEDULE_FAILING, Kind.SENSOR_FAILING}),
            cursor=json.dumps(scene.now.isoformat()),
        )

    return Watcher(NAME, watch)


def _told_streaks(scene: Scene) -> Mapping[str, str]:
    """Give what is known of sensors that go on failing; a schedule's next failure is another day's."""
    found = scene.outbox.rows(
        "SELECT fingerprint, ref FROM occurrences WHERE state = 'open' AND kind = ?",
        Kind.SENSOR_FAILING.value,
    )
    return {str(row["fingerprint"]): str(row["ref"]) for row in found}


def _state_of(
    states: Mapping[tuple[InstigatorType, str], InstigatorState], declared: Declared
) -> InstigatorState | None:
    is_schedule = declared.kind is Kind.SCHEDULE_FAILING
    return states.get((InstigatorType.SCHEDULE if is_schedule else InstigatorType.SENSOR, declared.name))


def _judge(
    instance: dg.DagsterInstance, scene: Scene, declared: Declared, state: InstigatorState | None
) -> Iterator[Condition]:
    if state is None:
        # The daemon has not begun with it yet; that the daemon runs is looked at by itself.
        return
    if state.status is InstigatorStatus.STOPPED:
        if declared.is_on:
            said = "it was switched off by hand"
            yield _condition(declared, state, OFF, said, scene.now, Severity.WARNING)
        return
    ticks = [
        tick
        for tick in instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=TICKS_IN_A_ROW + 2
        )
        if tick.status in FINISHED
    ]
    if (failing := _failing(declared, ticks)) is not None:
        error = first_line(innermost(failing.error) or "the tick failed", scene.secrets, foreign=True)
        yield _condition(declared, state, "failing", error, moment(failing.timestamp))
    elif (due := _due(declared, state, ticks, scene.now)) is not None:
        yield _condition(declared, state, "lag", f"a tick was due {spell_span(scene.now - due)} ago", due)


def _failing(declared: Declared, ticks: list[InstigatorTick]) -> InstigatorTick | None:
    """Give the first of the failures in a row that are too many, if they are."""
    needed = 1 if declared.kind is Kind.SCHEDULE_FAILING else TICKS_IN_A_ROW
    last = ticks[:needed]
    if len(last) == needed and all(tick.status is TickStatus.FAILURE for tick in last):
        return last[-1]
    return None


def _due(
    declared: Declared, state: InstigatorState, ticks: list[InstigatorTick], now: datetime
) -> datetime | None:
    """Give when a tick was due that has not come."""
    last = moment(ticks[0].timestamp) if ticks else None
    if declared.interval is not None:
        if last is None or now - last <= max(GRACE, declared.interval * 10):
            return None
        return last + declared.interval
    begun = getattr(state.instigator_data, "start_timestamp", None)
    if not declared.cron or begun is None:
        return None
    due = next(reverse_cron_string_iterator((now - GRACE).timestamp(), declared.cron, declared.zone))
    is_missed = due.timestamp() > begun and (last is None or last.timestamp() < due.timestamp())
    return moment(due.timestamp()) if is_missed else None


def _condition(
    declared: Declared,
    state: InstigatorState,
    key: str,
    error: str,
    at: datetime,
    severity: Severity | None = None,
) -> Condition:
    return Condition(
        kind=declared.kind,
        subject=declared.subject,
        key=key,
        # Lasting, until it is over: one message however often it is looked at.
        ref=at.isoformat() if key != OFF else OFF,
        at=at,
        severity=severity,
        error=error,
        cause=key,
        link=declared.link_in(state.origin.repository_origin.code_location_origin.location_name),
    )


def daemon_problem(instance: dg.DagsterInstance, now: datetime) -> Condition | None:
    """Say whether the daemon has stopped; None while every part of it is alive."""
    statuses = instance.get_daemon_statuses()
    dead = {kind: status for kind, status in statuses.items() if status.required and not status.healthy}
    if not dead:
        return None
    beats = [status.last_heartbeat.timestamp for status in dead.values() if status.last_heartbeat is not None]
    since = moment(max(beats)) if beats else now
    parts = ", ".join(sorted(kind.lower() for kind in dead))
    said = f"no sign of life since {since:%Y-%m-%d %H:%M:%S} UTC" if beats else "it has never run here"
    return Condition(
        kind=Kind.DAEMON_STOPPED,
        subject="the Dagster daemon",
        key="",
        ref=since.isoformat() if beats else "never",
        at=since,
        error=f"{said}: {parts}",
        cause="",
        link="/health",
    )
