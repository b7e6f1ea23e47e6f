"""New loads, each looked at once: numbers beyond a threshold, and contracts that changed.

What belongs here: what the load log alone can tell. What does not: days that were not loaded (`partitions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

from etl_assets.alerts.conditions import Condition, Kind, Report, Resolution, Severity
from etl_assets.alerts.engine import Scene
from etl_assets.alerts.rules import Limits
from etl_assets.warehouse.ledger import ROLLED_BACK

LOADS_AT_ONCE = 20_000
BACK_TO_NORMAL_AFTER = timedelta(hours=12)
"""A number within its limits ends what older days had to say; the days of one backfill do not end each other."""

_QUERY = f"""
SELECT load_id, source || '/' || stream, partition, run_id, extracted, quarantined, seconds_total, contract_version,
       loaded_at
FROM etl.loads WHERE load_id > ? AND loaded_at >= ? AND verdict <> '{ROLLED_BACK}'
ORDER BY load_id LIMIT {LOADS_AT_ONCE}"""


@dataclass(frozen=True, slots=True)
class Load:
    """One row of the load log."""

    load_id: int
    stream: str
    partition: date
    run_id: str
    extracted: int
    quarantined: int
    seconds: float
    contract_version: str
    at: datetime

    @property
    def numbers(self) -> Mapping[str, float]:
        """What thresholds can be set for."""
        rate = self.quarantined / self.extracted if self.extracted else 0.0
        return {"error_rate": rate, "seconds": self.seconds, "rows": float(self.extracted)}


def new_loads(connection: duckdb.DuckDBPyConnection | None, scene: Scene, memory: dict[str, Any]) -> Report:
    """Report what is out of the ordinary in loads since the last look."""
    if connection is None:
        return Report()
    last = int(memory.get("load_id", 0))
    rows = connection.execute(_QUERY, [last, scene.horizon.astimezone(UTC).replace(tzinfo=None)]).fetchall()
    loads = [_load(row) for row in rows]
    if not loads:
        return Report()
    memory["load_id"] = loads[-1].load_id
    memory["waiting"] = memory.get("waiting", False) or len(loads) == LOADS_AT_ONCE
    newest = {(load.stream, load.partition): load for load in loads}
    judged = [_judge(scene, load) for load in newest.values()]
    conditions = [each for found, _ in judged for each in found]
    resolved = [each for _, over in judged for each in over]
    changes = list(_contract_changes(scene, loads, memory.setdefault("contracts", {})))
    return Report(conditions=[*conditions, *changes], resolved=resolved)


def _load(row: tuple[Any, ...]) -> Load:
    load_id, stream, partition, run_id, extracted, quarantined, seconds, contract_version, at = row
    at = at.replace(tzinfo=UTC)
    return Load(load_id, stream, partition, run_id, extracted, quarantined, seconds, contract_version, at)


def _judge(scene: Scene, load: Load) -> tuple[list[Condition], list[Resolution]]:
    conditions: list[Condition] = []
    over: list[Resolution] = []
    for name, number in load.numbers.items():
        limits = _limits(scene, load.stream, name)
        level = _level(limits, name, number)
        key = f"{load.partition} {name}"
        if level is None:
            over += _ended(scene, load, name, key)
            continue
        severity, said = level
        conditions.append(
            Condition(
                kind=Kind.THRESHOLD,
                subject=load.stream,
                key=key,
                ref=str(load.load_id),
                at=load.at,
                owner=scene.owner_of(load.stream),
                severity=severity,
                error=f"{_NAMES[name]} is {_spelled(name, number)}, {said}",
                cause=name,
                run_id=load.run_id,
                rows=load.extracted or None,
                details={
                    "Rows of the last day": f"{load.extracted:,} extracted, {load.quarantined:,} quarantined"
                },
                link=f"/assets/warehouse/{load.stream}?view=partitions&partition={load.partition}",
            )
        )
    return conditions, over


def _limits(scene: Scene, stream: str, name: str) -> Limits:
    declared: Limits | None = getattr(scene.rules.of_stream(stream), name)
    if declared is None and name == "error_rate" and stream in scene.streams:
        # The stream's own budget says from which share on its author wants to know.
        return Limits(warning=scene.streams[stream].budget.warn)
    return declared or Limits()


def _level(limits: Limits, name: str, number: float) -> tuple[Severity, str] | None:
    for severity, above, below in (
        (Severity.ERROR, limits.error, limits.error_below),
        (Severity.WARNING, limits.warning, limits.warning_below),
    ):
        if above is not None and number > above:
            return severity, f"above {_limit(name, above)}"
        if below is not None and number < below:
            return severity, f"below {_limit(name, below)}"
    return None


_NAMES = {
    "error_rate": "the share of quarantined rows",
    "seconds": "the time of the load",
    "rows": "the number of rows",
}


def _spelled(name: str, number: float) -> str:
    return {"error_rate": f"{number:.1%}", "seconds": f"{number:,.1f} s", "rows": f"{number:,.0f}"}[name]


def _limit(name: str, number: float) -> str:
    return {"error_rate": f"{number * 100:g}%", "seconds": f"{number:g} s", "rows": f"{number:,.0f}"}[name]


def _ended(scene: Scene, load: Load, name: str, key: str) -> Iterator[Resolution]:
    """End what was said of the day itself, and of older days some time ago."""
    open_keys = [
        str(row["key"])
        for row in scene.outbox.rows(
            "SELECT key FROM occurrences WHERE state = 'open' AND kind = ? AND subject = ?",
            *(Kind.THRESHOLD.value, load.stream),
        )
        if str(row["key"]).endswith(f" {name}")
    ]
    if key in open_keys:
        yield Resolution(Kind.THRESHOLD, load.stream, scene.now, frozenset({key}))
    older = frozenset(each for each in open_keys if each < key)
    if older:
        yield Resolution(Kind.THRESHOLD, load.stream, scene.now - BACK_TO_NORMAL_AFTER, older)


def _contract_changes(scene: Scene, loads: list[Load], known: dict[str, str]) -> Iterator[Condition]:
    for load in loads:
        before = known.get(load.stream)
        known[load.stream] = load.contract_version
        if before is None or before == load.contract_version:
            continue
        yield Condition(
            kind=Kind.SCHEMA_CHANGED,
            subject=load.stream,
            key=load.contract_version,
            ref=str(load.load_id),
            at=load.at,
            owner=scene.owner_of(load.stream),
            cause="contract",
            run_id=load.run_id,
            details={"Contract": f"{before} until now, {load.contract_version} from {load.partition} on"},
            link=f"/assets/warehouse/{load.stream}?view=overview",
        )
