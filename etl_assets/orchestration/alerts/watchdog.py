"""Looking at daemon, schedules and alerts from outside, and doing the alerts' work where nobody else does.

What belongs here: what the sensor cannot tell, because it would not run. What does not: what it can (`sensor`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from etl_assets.alerts.conditions import Condition, Kind, Report
from etl_assets.alerts.durations import spell_span
from etl_assets.alerts.engine import TICK_BEAT, Scene, Tick, Watcher, tick
from etl_assets.alerts.messages import messages_in
from etl_assets.alerts.outbox import Outbox, outbox_path
from etl_assets.alerts.rules import load_rules
from etl_assets.failures import EtlError
from etl_assets.marts.catalogue import discover_marts
from etl_assets.orchestration.alerts.instigators import (
    Declared,
    daemon_problem,
    instigator_watcher,
)
from etl_assets.orchestration.alerts.sensor import NAME as SENSOR_NAME
from etl_assets.orchestration.alerts.watchers import all_watchers, scene_of
from etl_assets.orchestration.instance import opened_instance
from etl_assets.settings import Settings
from etl_assets.streams.discovery import discover_streams

BEAT = "watchdog"
SILENCE = timedelta(minutes=5)
"""How long the sensor may be silent."""
UNDELIVERED_FOR = timedelta(hours=1)
PATIENCE_SECONDS = 45.0


def examine(
    settings: Settings,
    declared: Sequence[Declared] | None,
    *,
    telling: bool = True,
    now: datetime | None = None,
) -> list[str]:
    """Look whether everything is alive, and have it told.

    Args:
        settings: Where everything is.
        declared: Schedules and sensors that a daemon should be running; None where there should be no daemon.
        telling: Whether to write down and deliver what is found.
        now: The time.

    Returns:
        One line for everything that has stopped.

    Raises:
        ConfigurationError: If the alerts file cannot be used.
        OutboxError: If the outbox cannot be used.
    """
    now = now or datetime.now(UTC)
    rules = load_rules(settings)
    with Outbox(outbox_path(settings)) as outbox:
        try:
            with opened_instance(settings) as instance:
                streams = discover_streams()
                owners = {f"marts/{mart.name}": mart.owner for mart in discover_marts()}
                scene = scene_of(instance, settings, rules, streams, owners, outbox, now)
                conditions = list(_stopped(instance, scene, with_daemon=declared is not None))
                conditions += _instigators(instance, scene, declared or ())
                if telling:
                    _tell(instance, scene, declared or (), conditions)
        except EtlError as error:
            # Dagster's own storage is gone: that has to be told all the same.
            conditions = [_condition("Dagster's storage", str(error), now, now.date().isoformat())]
            if telling:
                report = Report(conditions=conditions)
                _done(
                    tick(
                        Scene(settings, rules, {}, outbox, now), [Watcher(BEAT, lambda _: report)], beat=BEAT
                    )
                )
    return [f"{condition.subject}: {condition.error}" for condition in conditions]


def _stopped(instance: dg.DagsterInstance, scene: Scene, *, with_daemon: bool) -> Iterator[Condition]:
    if with_daemon and (problem := daemon_problem(instance, scene.now)) is not None:
        yield problem
    if not scene.rules.is_configured:
        return
    last = scene.outbox.last_beat(TICK_BEAT)
    if with_daemon and (last is None or scene.now - last[0] > SILENCE):
        said = f"last looked {spell_span(scene.now - last[0])} ago" if last else "it has never looked"
        yield _condition(
            f"alerts (sensor {SENSOR_NAME})",
            said,
            last[0] if last else scene.now,
            last[0].isoformat() if last else "never",
        )
    waiting = [
        message
        for message in messages_in(scene.outbox, "pending", limit=1)
        if scene.now - message.written_at > UNDELIVERED_FOR
    ]
    for message in waiting:
        said = (
            f"not delivered for {spell_span(scene.now - message.written_at)}: {message.error or 'not tried'}"
        )
        yield _condition(f"alerts (channel {message.channel})", said, message.written_at, str(message.id))


def _condition(subject: str, error: str, at: datetime, ref: str) -> Condition:
    return Condition(kind=Kind.ALERTS_STOPPED, subject=subject, key="", ref=ref, at=at, error=error, cause="")


def _instigators(instance: dg.DagsterInstance, scene: Scene, declared: Sequence[Declared]) -> list[Condition]:
    if not declared:
        return []
    # Looked at anew, whenever the sensor did so last.
    watcher = instigator_watcher(instance, list(declared), interval=timedelta(0))
    return list(watcher.watch(scene).conditions)


def _tell(
    instance: dg.DagsterInstance, scene: Scene, declared: Sequence[Declared], conditions: list[Condition]
) -> None:
    """Write down what was found, and deliver; look for everything else too where the sensor does not."""
    last = scene.outbox.last_beat(TICK_BEAT)
    is_alone = last is None or scene.now - last[0] > SILENCE
    own = [each for each in conditions if each.kind in (Kind.DAEMON_STOPPED, Kind.ALERTS_STOPPED)]
    report = Report(conditions=own, complete=frozenset({Kind.DAEMON_STOPPED}))
    watchers = [Watcher(BEAT, lambda _: report), *(all_watchers(instance, declared) if is_alone else ())]
    _done(tick(scene, watchers, beat=BEAT, patience=PATIENCE_SECONDS))


def _done(done: Tick) -> None:
    if done.is_busy:
        raise EtlError(
            "another process has been telling alerts for too long", hint="see etl-assets alerts list"
        )
