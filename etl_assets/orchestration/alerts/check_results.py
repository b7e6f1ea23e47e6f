"""Failed checks as conditions, each result once, and over when the same check passes.

What belongs here: what an evaluation tells. What does not: the check `contract`, whose share of bad rows the load log
tells with the streams' own thresholds, and withheld days by themselves; freshness, which late days tell.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg
from dagster import AssetCheckEvaluation
from dagster._core.events.log import EventLogEntry

from etl_assets.alerts.conditions import Condition, Kind, Resolution, Severity
from etl_assets.alerts.engine import Scene
from etl_assets.alerts.outbox import moment
from etl_assets.alerts.scrub import first_line
from etl_assets.orchestration.keys import CONTRACT_CHECK, FRESHNESS_CHECK, Layer

_LAYERS = frozenset(layer.value for layer in Layer)
_SEVERITIES = {dg.AssetCheckSeverity.WARN: Severity.WARNING, dg.AssetCheckSeverity.ERROR: Severity.ERROR}
MOST_NUMBERS = 5


def judge(
    scene: Scene, entries: Iterable[tuple[int, EventLogEntry]]
) -> tuple[list[Condition], list[Resolution]]:
    """Give the failed results among some events, and what passed of those that had failed."""
    failing = {
        (str(row["subject"]), str(row["key"]))
        for row in scene.outbox.rows(
            "SELECT subject, key FROM occurrences WHERE state = 'open' AND kind = ?", Kind.CHECK_FAILED.value
        )
    }
    conditions, resolved = [], []
    for number, entry in entries:
        event = entry.dagster_event
        if event is None:
            continue
        result = event.asset_check_evaluation_data
        subject, key = _subject(result), _key(result)
        if result.asset_key.path[0] in _LAYERS and _is_told_elsewhere(scene, subject, result.check_name):
            continue
        if result.passed and (subject, key) in failing:
            resolved.append(Resolution(Kind.CHECK_FAILED, subject, moment(entry.timestamp), frozenset({key})))
        if not result.passed:
            failing.add((subject, key))
            conditions.append(_condition(scene, number, entry, result))
    return conditions, resolved


def _is_told_elsewhere(scene: Scene, stream: str, check: str) -> bool:
    if check == FRESHNESS_CHECK:
        # What is not fresh is late, or failed, or was withheld: told by the day, if its stream has a deadline.
        return scene.rules.of_stream(stream).deadline != "never"
    return check == CONTRACT_CHECK


def _subject(result: AssetCheckEvaluation) -> str:
    path = result.asset_key.path
    return "/".join(path[1:]) if path[0] in _LAYERS and len(path) > 1 else result.asset_key.to_user_string()


def _key(result: AssetCheckEvaluation) -> str:
    layer = f" of {result.asset_key.path[0]}" if result.asset_key.path[0] in _LAYERS else ""
    day = f" {result.partition}" if result.partition else ""
    return f"{result.check_name}{layer}{day}"


def _condition(scene: Scene, number: int, entry: EventLogEntry, result: AssetCheckEvaluation) -> Condition:
    subject = _subject(result)
    numbers = {
        name: f"{value.value:,}"
        for name, value in result.metadata.items()
        if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue) and value.value is not None
    }
    asset = "/".join(result.asset_key.path)
    return Condition(
        kind=Kind.CHECK_FAILED,
        subject=subject,
        key=_key(result),
        ref=f"event {number}",
        at=moment(entry.timestamp),
        owner=scene.owner_of(subject),
        severity=_SEVERITIES[result.severity],
        # A check's author may quote what was found; that may be somebody's data.
        error=first_line(result.description or "", scene.secrets, foreign=True),
        cause=result.check_name,
        run_id=entry.run_id,
        details={"Check": result.check_name, **dict(list(numbers.items())[:MOST_NUMBERS])},
        link=f"/assets/{asset}?view=checks&checkDetail={result.check_name}",
    )
