"""`python -m benchmarks.sensor_ticks`: what a tick of each sensor takes that finds nothing to do.

What belongs here: ticks in this process, on the warehouse and the Dagster instance that the environment names. What
does not: Dagster's way to a sensor, by its daemon and code server, which is the same for every project.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from threading import Thread

import dagster as dg

from etl_assets.build import build_definitions
from etl_assets.observability.logging import configure_logging
from etl_assets.orchestration.instance import opened_instance
from etl_assets.settings import load_settings

TICKS = 20
MOST_UNTIL_IDLE = 40
IDLE = "nothing new"
MARTS = "marts"
RULES = """
group_wait = "1s"

[channels.chat]
kind = "slack"
webhook = "ETL_SLACK_WEBHOOK_URL"
"""


class _Webhook(BaseHTTPRequestHandler):
    """Takes every message, as Slack does."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def webhook() -> Iterator[str]:
    """Run a webhook for the time of a `with` block; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Webhook)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/of-the-benchmark"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Print the median seconds of a tick, by sensor, as JSON."""
    configure_logging("console", "ERROR")
    rules = Path(os.environ["ETL_DATA_DIR"]) / "alerts.toml"
    rules.write_text(RULES, encoding="utf-8")
    with webhook() as url:
        settings = load_settings({**os.environ, "ETL_ALERTS_FILE": str(rules), "ETL_SLACK_WEBHOOK_URL": url})
        definitions = build_definitions(settings)
        with opened_instance(settings) as instance:
            ticks = {
                "alerts": ticks_of_alerts(definitions, instance),
                MARTS: ticks_of_marts(definitions, instance),
            }
    print(json.dumps({name: median(seconds) for name, seconds in ticks.items()}))


def ticks_of_alerts(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[float]:
    """Take the seconds of ticks of the alerts, after all that stands has been told.

    Raises:
        RuntimeError: If there is always something new.
    """
    repository = definitions.get_repository_def()
    sensor = repository.get_sensor_def("alerts")
    seconds: list[float] = []
    for _ in range(MOST_UNTIL_IDLE + TICKS):
        context = dg.build_sensor_context(instance=instance, repository_def=repository)
        started = time.perf_counter()
        said = sensor.evaluate_tick(context).skip_message
        took = time.perf_counter() - started
        if said == IDLE:
            seconds.append(took)
            if len(seconds) == TICKS:
                return seconds
        else:
            seconds.clear()
            time.sleep(0.5)
    raise RuntimeError(f"the alerts always found something: {said}")


def ticks_of_marts(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[float]:
    """Take the seconds of evaluations of the marts' automation, after the first has asked for what was due."""
    evaluated = dg.evaluate_automation_conditions(definitions, instance)
    seconds: list[float] = []
    while len(seconds) < TICKS:
        started = time.perf_counter()
        evaluated = dg.evaluate_automation_conditions(definitions, instance, cursor=evaluated.cursor)
        if evaluated.total_requested:
            seconds.clear()
        else:
            seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()
