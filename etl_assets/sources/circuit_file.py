"""The circuit breakers' states on disk, for people who ask while or after a run: one small JSON file per source.

Nothing in the program acts on these files. What belongs here: writing and reading them. What does not: the breaker
(`circuit`), and showing them (the command line).
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from etl_assets.observability.loggers import LazyLogger
from etl_assets.sources.circuit_state import CircuitState, CircuitStatus
from etl_assets.sources.state_files import write_state

log = LazyLogger(__name__)


class CircuitFile:
    """Keeps one source's state; give `record` to its `Circuit`.

    Args:
        path: `<folder>/<source>.json`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, state: CircuitState) -> None:
        """Write a state; the file of a source that was never in trouble is not made."""
        try:
            if state.state is CircuitStatus.CLOSED and not self._path.exists():
                return
            write_state(self._path, asdict(state))
        except OSError as error:
            log.warning("circuit_state_not_kept", source=self._path.stem, reason=error.strerror)


def read_circuits(folder: Path) -> dict[str, CircuitState]:
    """Read the states of all sources that were ever in trouble, by name of the source.

    Args:
        folder: Where the files are; need not exist. A file that cannot be read is left out.
    """
    found = {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}
    return {source: state for source, state in found.items() if state is not None}


def _read(path: Path) -> CircuitState | None:
    try:
        value: dict[str, Any] = orjson.loads(path.read_bytes())
        return CircuitState(
            state=CircuitStatus(value["state"]),
            since=datetime.fromisoformat(value["since"]),
            failures=int(value["failures"]),
            last_error=str(value["last_error"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        log.warning("circuit_state_unreadable", source=path.stem)
        return None
