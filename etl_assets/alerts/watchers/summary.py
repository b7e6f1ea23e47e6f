"""The quality of yesterday in one message a day, for each owner; only where a time for it is set."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

from etl_assets.alerts.conditions import Condition, Kind, Report
from etl_assets.alerts.engine import Scene
from etl_assets.outcomes import Status

_QUERY = """
SELECT source || '/' || stream AS id, status, extracted, quarantined, failed_items
FROM etl.partitions WHERE partition = ? ORDER BY id"""


def daily_summary(
    connection: duckdb.DuckDBPyConnection | None, scene: Scene, memory: dict[str, Any]
) -> Report:
    """Report how yesterday stands, once a day from the set time on; the day of the first look is left out."""
    at = scene.rules.daily_summary
    if at is None:
        return Report()
    due = datetime.combine(scene.now.date(), at, tzinfo=UTC)
    yesterday = scene.now.date() - timedelta(days=1)
    last = memory.get("summary")
    if last is None:
        # What is due later today is told; what was due before anybody listened is not.
        memory["summary"] = (yesterday if scene.now >= due else yesterday - timedelta(days=1)).isoformat()
        return Report()
    if scene.now < due or last >= yesterday.isoformat():
        return Report()
    memory["summary"] = yesterday.isoformat()
    rows = connection.execute(_QUERY, [yesterday]).fetchall() if connection is not None else []
    return Report(conditions=_by_owner(scene, yesterday, {row[0]: row[1:] for row in rows}))


def _by_owner(scene: Scene, day: date, rows: dict[str, tuple[Any, ...]]) -> list[Condition]:
    of_owner: dict[str, dict[str, str]] = defaultdict(dict)
    extracted: dict[str, int] = defaultdict(int)
    published: dict[str, int] = defaultdict(int)
    for stream in scene.streams.values():
        found = rows.get(stream.id)
        of_owner[stream.owner][stream.id] = _line(found)
        extracted[stream.owner] += found[1] if found else 0
        published[stream.owner] += bool(found and Status(found[0]).is_published)
    return [
        Condition(
            kind=Kind.DAILY_SUMMARY,
            subject=f"Summary of {day}: {_gist(lines, published[owner])}",
            key=owner,
            ref=day.isoformat(),
            at=scene.now,
            owner=owner,
            rows=extracted[owner] or None,
            cause="",
            details=lines,
        )
        for owner, lines in of_owner.items()
    ]


def _gist(lines: dict[str, str], published: int) -> str:
    what = f"{len(lines):,} stream{'' if len(lines) == 1 else 's'}"
    return f"{what} published" if published == len(lines) else f"{published:,} of {what} published"


def _line(found: tuple[Any, ...] | None) -> str:
    if found is None:
        return "not loaded"
    status, extracted, quarantined, failed_items = found
    share = f" ({quarantined / extracted:.1%})" if extracted and quarantined else ""
    items = f", {failed_items:,} documents missing" if failed_items else ""
    return f"{Status(status).value.replace('_', ' ')}: {extracted:,} rows, {quarantined:,} quarantined{share}{items}"
