"""Running the command, in this process or in one of its own.

What belongs here: calling and collecting what was said. What does not: judging it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    exit_code: int
    out: str
    err: str

    def json(self) -> Any:
        """Read standard output, which must be JSON and nothing else."""
        return json.loads(self.out)

    def problems(self, stream_id: str) -> dict[str, str]:
        """Give the status of each day of a stream that was not published, by day."""
        return {entry["partition"]: entry["status"] for entry in self._stream(stream_id)["problems"]}

    def messages(self, stream_id: str) -> dict[str, str]:
        """Give the message of each day of a stream that was not published, by day."""
        return {entry["partition"]: entry["message"] for entry in self._stream(stream_id)["problems"]}

    def published(self, stream_id: str) -> int:
        """Give how many days of a stream were published."""
        days = self._stream(stream_id)["days"]
        return int(days.get("published", 0) + days.get("published_with_warnings", 0))

    def rows(self, stream_id: str) -> dict[str, int]:
        """Give the added up counts of a stream."""
        rows: dict[str, int] = self._stream(stream_id)["rows"]
        return rows

    def _stream(self, stream_id: str) -> Any:
        [found] = [entry for entry in self.json()["streams"] if entry["stream"] == stream_id]
        return found


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Give this process's environment without any setting of the project or of Dagster, and some variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ETL_", "DAGSTER_"))}
    # No process that a test starts may ask the public catalogue, whose address is a default.
    return {**kept, "ETL_EIDC_URL": "http://127.0.0.1:9", **variables}


def command_line(*arguments: str) -> list[str]:
    """Give the command as a process of its own is started with it."""
    return [sys.executable, "-m", "etl_assets", *arguments]


def run_process(variables: Mapping[str, str], *arguments: str, within: Sequence[str] = ()) -> Finished:
    """Run the command in a process of its own.

    Args:
        variables: The settings.
        arguments: Of the command.
        within: A command that runs it, with its arguments.
    """
    done = subprocess.run(
        [*within, *command_line(*arguments)],
        env=clean_environment({"PYTHONPATH": str(PROJECT), **variables}),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)
