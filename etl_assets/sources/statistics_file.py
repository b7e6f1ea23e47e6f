"""The counters of each source's last run on disk, for people who ask: `requests/<source>.json` in the state folder.

Nothing in the program acts on these files. What belongs here: writing and reading them. What does not: counting
(`statistics`), and showing the numbers (the command line).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from etl_assets.observability.loggers import LazyLogger
from etl_assets.sources.state_files import write_state
from etl_assets.sources.statistics import RequestCounts

log = LazyLogger(__name__)

_FOLDER = "requests"


def write_counts(state_dir: Path, source: str, counts: RequestCounts) -> None:
    """Keep a source's counters; of several processes, the last one counts.

    Args:
        state_dir: The folder of all states; made where needed.
        source: Name of the source.
        counts: Its counters.
    """
    path = state_dir / _FOLDER / f"{source}.json"
    try:
        write_state(path, asdict(counts))
    except OSError as error:
        log.warning("request_counts_not_kept", source=source, reason=error.strerror)


def read_counts(state_dir: Path) -> dict[str, RequestCounts]:
    """Read the counters of all sources that were asked, by name of the source.

    Args:
        state_dir: The folder of all states; need not exist. A file that cannot be read is left out.
    """
    found = {path.stem: _read(path) for path in sorted((state_dir / _FOLDER).glob("*.json"))}
    return {source: counts for source, counts in found.items() if counts is not None}


def _read(path: Path) -> RequestCounts | None:
    try:
        value: dict[str, Any] = orjson.loads(path.read_bytes())
        return RequestCounts(
            requests=int(value["requests"]),
            retries=int(value["retries"]),
            failures=int(value["failures"]),
            failures_by_class={str(name): int(count) for name, count in value["failures_by_class"].items()},
            bytes=int(value["bytes"]),
            not_modified=int(value["not_modified"]),
            seconds_waited=float(value["seconds_waited"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        log.warning("request_counts_unreadable", source=path.stem)
        return None
