"""The sensor that has alerts told: on while there is a channel, and silent otherwise.

What belongs here: one tick of the alerts per tick of the sensor. What does not: what a tick does
(`etl_assets.alerts.engine`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import structlog

from etl_assets.alerts.channels.examine import channel_problems
from etl_assets.alerts.conditions import Kind, Report
from etl_assets.alerts.engine import Tick, Watcher, tick
from etl_assets.alerts.outbox import Outbox, outbox_path
from etl_assets.alerts.rules import Rules
from etl_assets.settings import Settings
from etl_assets.streams.base import Stream

log = structlog.get_logger(__name__)

NAME = "alerts"


@dataclass
class _Start:
    """Whether this process has looked at its channels."""

    is_done: bool = False


def alert_sensor(
    settings: Settings, rules: Rules, streams: Mapping[str, Stream], owners: Mapping[str, str]
) -> dg.SensorDefinition:
    """Make the sensor.

    Args:
        settings: Where everything is.
        rules: Who is told of what.
        streams: All streams.
        owners: Whose other assets are, by name.
    """
    start = _Start()

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=int(rules.look_every.total_seconds()),
        default_status=dg.DefaultSensorStatus.RUNNING
        if rules.is_configured
        else dg.DefaultSensorStatus.STOPPED,
        description="Tells owners what is wrong, once, and when it is over.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if not rules.is_configured:
            return dg.SkipReason("no channel is configured: see docs/alerts.md")
        # They bring SQLAlchemy and more of Dagster, half a second that no load needs.
        from etl_assets.orchestration.alerts.instigators import declared_in
        from etl_assets.orchestration.alerts.watchers import all_watchers, scene_of

        if not start.is_done:
            start.is_done = True
            for problem in channel_problems(settings, rules):
                log.warning("alert_channel_unusable", reason=problem)
        declared = declared_in(context.repository_def) if context.repository_def is not None else []
        # Whatever runs this, the daemon does.
        alive = Watcher("daemon", lambda scene: Report(complete=frozenset({Kind.DAEMON_STOPPED})))
        with Outbox(outbox_path(settings)) as outbox:
            known = {**owners_in(context.repository_def), **owners} if context.repository_def else owners
            scene = scene_of(context.instance, settings, rules, streams, known, outbox, datetime.now(UTC))
            done = tick(scene, [*all_watchers(context.instance, declared), alive])
        return dg.SkipReason(said_of(done))

    return alerts


def owners_in(repository: dg.RepositoryDefinition) -> dict[str, str]:
    """Give whose the assets are that are no stream's, by name; the first owner of each."""
    graph = repository.asset_graph
    return {
        key.to_user_string(): owners[0]
        for key in graph.get_all_asset_keys()
        if (owners := graph.get(key).owners)
    }


def said_of(done: Tick) -> str:
    """Say in one line what a tick did, for the UI."""
    if done.is_busy:
        return "another process is at it"
    parts = [f"{done.new:,} new, {done.written:,} messages written, {done.sent:,} delivered"]
    parts += [f"{name} could not look: {reason}" for name, reason in done.failed.items()]
    return "nothing new" if done.is_idle else "; ".join(parts)
