"""Sources that are left alone for longer than a while: their circuit's state file says so.

What belongs here: reading these files for alerts. What does not: the breaker (`etl_assets.sources.circuit`).
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

from etl_assets.alerts.conditions import Condition, Kind, Report
from etl_assets.alerts.engine import Scene
from etl_assets.alerts.scrub import first_line
from etl_assets.sources.circuit_file import read_circuits
from etl_assets.sources.circuit_state import CircuitState

NAME = "circuits"


def open_circuits(scene: Scene) -> Report:
    """Report every source whose circuit has not been closed for too long, however often it was tried meanwhile."""
    known: dict[str, str] = json.loads(scene.outbox.cursor(NAME) or "{}")
    states = {
        source: state
        for source, state in read_circuits(scene.settings.state_dir).items()
        if state.state != "closed"
    }
    since = {source: known.get(source, state.since.isoformat()) for source, state in states.items()}
    broken = [
        _broken(scene, source, state, datetime.fromisoformat(since[source]))
        for source, state in states.items()
        if scene.now - datetime.fromisoformat(since[source]) >= scene.rules.breaker_open
    ]
    cursor = json.dumps(since) if since != known else None
    return Report(conditions=broken, complete=frozenset({Kind.SOURCE_BROKEN}), cursor=cursor)


def _broken(scene: Scene, source: str, state: CircuitState, since: datetime) -> Condition:
    streams = [stream for stream in scene.streams.values() if stream.source.name == source]
    owners = Counter(stream.owner for stream in streams)
    return Condition(
        kind=Kind.SOURCE_BROKEN,
        subject=f"source {source}",
        key="",
        ref=since.isoformat(),
        at=since,
        owner=owners.most_common(1)[0][0] if owners else "",
        error=first_line(state.last_error, scene.secrets),
        details={
            "Failures in a row": f"{state.failures:,}",
            "Streams": ", ".join(stream.id for stream in streams),
        },
        link=f"/assets/warehouse/{source}",
    )
