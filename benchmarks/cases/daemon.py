"""The year of order lines asked for in Dagster's UI, against the command line.

What belongs here: the whole of Dagster as `etl-assets ui` starts it, asked as its page asks. What does not: what a run
does.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.bench import Bench, Result, loading
from benchmarks.measure import BenchmarkError, Measurement
from benchmarks.workload import COMMAND_LINE, LINES, backfill, clean_environment, served, settings_of
from etl_assets.cli.days import days_between
from etl_assets.demo.server import SpawnedSource, end_process

LAYERS = ("raw", "staged", "warehouse")
STARTING_SECONDS, LOADING_SECONDS, STOP_SECONDS = 120.0, 1_200.0, 90.0
SECONDS_BETWEEN_LOOKS = 0.5
ENDED_WELL = ("COMPLETED", "COMPLETED_SUCCESS")
ENDED_BADLY = ("COMPLETED_FAILED", "FAILED", "CANCELED")

HEALTH = '{ instance { daemonHealth { daemonStatus(daemonType: "BACKFILL") { healthy } } } }'
LAUNCH = """
mutation ($selection: [AssetKeyInput!], $days: [String!]) {
  launchPartitionBackfill(backfillParams: {assetSelection: $selection, partitionNames: $days}) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
LOOK = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } }
  runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}]}) {
    ... on Runs { results { status endTime } }
  }
}"""


def through_the_daemon(bench: Bench) -> list[Result]:
    """Load every day of order lines by the command line, and by a backfill asked for in the running UI, by turns."""
    days = bench.days
    by_command: list[Measurement] = []
    published: list[float] = []
    ended: list[float] = []
    with served(days) as source:
        for number in range(bench.runs):
            folder = bench.scratch / f"by_command_{number}"
            by_command.append(backfill(source, folder, LINES, days.first, days.last))
            took = _by_daemon(bench, source, bench.scratch / f"by_daemon_{number}")
            published.append(took[0])
            ended.append(took[1])
    command = loading("command_line", f"{days.count} days of order lines by the command line", by_command)
    figures = {
        "published_seconds": median(published),
        "ended_seconds": median(ended),
        "command_seconds": command.figures["wall_seconds"],
        "more_seconds": median(published) - command.figures["wall_seconds"],
    }
    sentence = (
        f"{figures['published_seconds']:.1f} s from the request to the last day published, against "
        f"{figures['command_seconds']:.1f} s by the command line, by turns: {figures['more_seconds']:+.1f} s; "
        f"{figures['ended_seconds']:.1f} s until Dagster says that the backfill is complete. The mart, which the "
        "command has rebuilt, is left to its sensor"
    )
    what = f"{days.count} days of order lines through `etl-assets ui`, its daemon and its webserver"
    return [Result("daemon", what, figures, published, sentence)]


def _by_daemon(bench: Bench, source: SpawnedSource, folder: Path) -> tuple[float, float]:
    """Give the seconds from the request to the end of the last run, and to that of the backfill."""
    days = bench.days
    names = [day.isoformat() for day in days_between(days.first, days.last)]
    selection = [{"path": [layer, *LINES.split("/")]} for layer in LAYERS]
    environment = clean_environment(**settings_of(source, folder, days.first))
    with _running_ui(environment, folder) as ask:
        requested, started = time.time(), time.perf_counter()
        launched = ask(LAUNCH, {"selection": selection, "days": names})["launchPartitionBackfill"]
        if "backfillId" not in launched:
            raise BenchmarkError(f"the backfill was not launched: {launched}")
        while True:
            found = ask(LOOK, {"id": launched["backfillId"]})
            status = found["partitionBackfillOrError"].get("status")
            runs = found["runsOrError"]["results"]
            if status in ENDED_BADLY:
                raise BenchmarkError(f"the backfill ended as {status}")
            if status in ENDED_WELL:
                ended = time.perf_counter() - started
                break
            if time.perf_counter() - started > LOADING_SECONDS:
                raise BenchmarkError(f"the backfill did not end in {LOADING_SECONDS:.0f} s: {status}")
            time.sleep(SECONDS_BETWEEN_LOOKS)
    _check_published(environment, names)
    return max(run["endTime"] for run in runs) - requested, ended


def _check_published(environment: Mapping[str, str], days: list[str]) -> None:
    """See by the command line that no day is missing.

    Raises:
        BenchmarkError: If one is.
    """
    command = [sys.executable, *COMMAND_LINE, "status", LINES, "--json", "--from", days[0], "--to", days[-1]]
    said = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if said.returncode:
        raise BenchmarkError(f"etl-assets status: {said.stderr.strip()[-500:]}")
    (stream,) = json.loads(said.stdout)["streams"]
    published = stream["published"] + stream["published_with_warnings"]
    if published != len(days):
        raise BenchmarkError(f"only {published:,} of {len(days):,} days were published")


@contextmanager
def _running_ui(
    environment: Mapping[str, str], folder: Path
) -> Iterator[Callable[[str, dict[str, Any]], dict[str, Any]]]:
    """Run `etl-assets ui` until its daemon can take backfills; gives a function that asks its GraphQL."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "ui.log"
    command = [sys.executable, *COMMAND_LINE, "ui", "--no-source", "--port", str(port)]
    with log.open("wb") as output, httpx.Client(timeout=60) as client:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )

        def ask(query: str, variables: dict[str, Any]) -> dict[str, Any]:
            answer = client.post(
                f"http://127.0.0.1:{port}/graphql", json={"query": query, "variables": variables}
            )
            body = answer.json()
            if body.get("errors"):
                raise BenchmarkError(f"the UI did not understand: {body['errors'][0]['message']}")
            found: dict[str, Any] = body["data"]
            return found

        try:
            _wait_for_daemon(process, ask, log)
            yield ask
        finally:
            end_process(process, STOP_SECONDS)


def _wait_for_daemon(
    process: subprocess.Popen[bytes], ask: Callable[[str, dict[str, Any]], dict[str, Any]], log: Path
) -> None:
    give_up = time.monotonic() + STARTING_SECONDS
    while True:
        try:
            status = ask(HEALTH, {})["instance"]["daemonHealth"]["daemonStatus"]
            if status["healthy"]:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > give_up:
            said = log.read_text(errors="replace")[-1_000:].strip()
            raise BenchmarkError(f"etl-assets ui did not start: {said}")
        time.sleep(SECONDS_BETWEEN_LOOKS)
