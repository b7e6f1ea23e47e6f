"""Log lines: valid JSON for machines, plain for people, and the main ones in Dagster's run log too."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr
from datetime import date, timedelta
from typing import Any

import pytest
import structlog

from etl_assets.demo.server import RunningSource, running_source
from etl_assets.observability.logging import (
    MIRRORED_EVENTS,
    configure_logging,
    lines_together,
    mirror_to_dagster,
)
from etl_assets.observability.progress import SilentReporter
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams.discovery import discover_streams

DAYS = [date(2025, 3, 10) + timedelta(days=number) for number in range(3)]
TOKEN = "t0ken-that-nobody-may-see"


@pytest.fixture(autouse=True)
def other_settings_afterwards() -> Iterator[None]:
    """Puts the configuration back."""
    yield
    structlog.contextvars.clear_contextvars()
    configure_logging("console", "ERROR")


@pytest.fixture
def source() -> Iterator[RunningSource]:
    """A small shop with a token of its own."""
    with running_source(lines_per_day=20, token=TOKEN) as running:
        yield running


def load(source: RunningSource, environment_of: Callable[..., dict[str, str]]) -> None:
    """Load three days, one of which fails and one of which is withheld."""
    catalogue = discover_streams()
    stream = catalogue["shop/order_lines"]
    environment = Environment.of(load_settings(environment_of(source)), catalogue.code_versions)

    def run(days: list[date]) -> None:
        with closing(environment.open_source(stream.source)) as reader:
            pipeline = PartitionPipeline(environment, stream, frozenset(Stage), "run-7", reader)
            list(run_partitions(pipeline, days, reporter=SilentReporter(), threads=2))

    source.faults.fail_days = [DAYS[1].isoformat()]
    run(DAYS[:2])
    source.faults.renamed_fields = {"country": "land"}
    run(DAYS[2:])


def test_json_lines_of_a_run(source: RunningSource, environment_of: Callable[..., dict[str, str]]) -> None:
    output = io.StringIO()
    configure_logging("json", "INFO", stream=output)
    load(source, environment_of)
    told: list[dict[str, Any]] = [json.loads(line) for line in output.getvalue().splitlines()]
    # Requests are counted for the source, whichever streams asked.
    lines = [line for line in told if line["event"] != "requests_counted"]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", line["event"]), "one snake_case name per happening"
        assert line["level"] in ("info", "warning", "error")
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T[\d:.]+Z", line["timestamp"])
        assert line["source"] == "shop"
        assert line["stream"] == "shop/order_lines"
        assert line["run_id"] == "run-7"
        assert line["partition"] in {day.isoformat() for day in DAYS}
        assert line["stage"] in ("extract", "stage", "commit")
    events = {(line["event"], line["partition"]) for line in lines}
    assert events >= {
        ("extracted", "2025-03-10"),
        ("staged", "2025-03-10"),
        ("committed", "2025-03-10"),
        ("partition_done", "2025-03-10"),
        ("partition_failed", "2025-03-11"),
        ("staged", "2025-03-12"),
        ("commit_withheld", "2025-03-12"),
        ("partition_withheld", "2025-03-12"),
    }
    (failed,) = (line for line in lines if line["event"] == "partition_failed")
    assert (failed["level"], failed["stage"], failed["failure_class"]) == ("error", "extract", "permanent")
    assert TOKEN not in output.getvalue()


def test_no_line_holds_rows(source: RunningSource, environment_of: Callable[..., dict[str, str]]) -> None:
    output = io.StringIO()
    configure_logging("console", "DEBUG", stream=output)
    load(source, environment_of)
    assert "partition_withheld" in output.getvalue()
    for word in ("United Kingdom", TOKEN):
        assert word not in output.getvalue()


def lines_of(log_format: str, level: str, tell: Callable[[Any], None]) -> list[str]:
    """Write lines and give them."""
    output = io.StringIO()
    configure_logging(log_format, level, stream=output)
    tell(structlog.get_logger("test"))
    return output.getvalue().splitlines()


def test_console_lines_are_plain_where_there_is_no_terminal() -> None:
    (line,) = lines_of("console", "INFO", lambda log: log.info("happened", stream="shop/orders", rows=3))
    assert re.match(r"\d{4}-\d{2}-\d{2}T", line)
    assert "happened" in line
    assert "stream=shop/orders rows=3" in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("DEBUG", ["debug", "info", "warning", "error"]),
        ("INFO", ["info", "warning", "error"]),
        ("WARNING", ["warning", "error"]),
        ("ERROR", ["error"]),
        ("CRITICAL", []),
    ],
)
def test_level(level: str, shown: list[str]) -> None:
    def tell(log: Any) -> None:
        for name in ("debug", "info", "warning", "error"):
            getattr(log, name)("happened")

    assert [json.loads(line)["level"] for line in lines_of("json", level, tell)] == shown


@pytest.mark.parametrize(
    "value", ["two\nlines", "\u2028", "\ud800", '"quoted"', b"bytes", {1: {2}}, object(), date(2025, 1, 1)]
)
def test_any_value_makes_one_valid_json_line(value: Any) -> None:
    (line,) = lines_of("json", "INFO", lambda log: log.info("happened", value=value))
    assert json.loads(line)["event"] == "happened"


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_traceback_shows_no_local_variables(log_format: str) -> None:
    def tell(log: Any) -> None:
        customer = "Ada" + "Lovelace"
        try:
            raise ValueError(len(customer))
        except ValueError:
            log.exception("went_wrong")

    text = "\n".join(lines_of(log_format, "INFO", tell))
    assert "ValueError: 11" in text
    assert "AdaLovelace" not in text


def test_lines_follow_standard_error() -> None:
    configure_logging("json", "INFO")
    log = structlog.get_logger("test")
    first, second = io.StringIO(), io.StringIO()
    with redirect_stderr(first):
        log.info("one")
    with redirect_stderr(second):
        log.info("two")
    assert json.loads(first.getvalue())["event"] == "one"
    assert json.loads(second.getvalue())["event"] == "two"


class Kept(logging.Handler):
    """Keeps what a run's own log is told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append((record.levelname, record.getMessage()))


@pytest.fixture
def run_log() -> Iterator[tuple[logging.Logger, Kept]]:
    """A run's own log."""
    kept = Kept()
    logger = logging.Logger("run", logging.DEBUG)
    logger.addHandler(kept)
    yield logger, kept
    logger.removeHandler(kept)


@pytest.mark.parametrize("level", ["INFO", "ERROR", "CRITICAL"])
def test_main_lines_are_mirrored_whatever_is_shown(run_log: tuple[logging.Logger, Kept], level: str) -> None:
    logger, kept = run_log

    def tell(log: Any) -> None:
        log.error("partition_failed", stream="shop/orders")
        with mirror_to_dagster(logger), structlog.contextvars.bound_contextvars(run_id="r"):
            log.error("partition_failed", stream="shop/orders")
            log.info("partition_done", stream="shop/orders", loaded=3)
            log.warning("partition_withheld")
            log.info("staged")
        log.info("partition_done")

    lines_of("json", level, tell)
    assert kept.lines == [
        ("ERROR", "partition_failed stream=shop/orders run_id=r"),
        ("INFO", "partition_done stream=shop/orders loaded=3 run_id=r"),
        ("WARNING", "partition_withheld run_id=r"),
    ]


def test_mirrored_events_are_those_that_are_told(
    source: RunningSource,
    environment_of: Callable[..., dict[str, str]],
    run_log: tuple[logging.Logger, Kept],
) -> None:
    logger, kept = run_log
    configure_logging("json", "CRITICAL", stream=io.StringIO())
    with mirror_to_dagster(logger):
        load(source, environment_of)
    told = [message.split()[0] for _, message in kept.lines]
    assert sorted(told) == ["partition_done", "partition_failed", "partition_withheld"]
    assert set(told) <= MIRRORED_EVENTS


def test_lines_of_a_block_reach_the_run_log_together(run_log: tuple[logging.Logger, Kept]) -> None:
    logger, kept = run_log
    told: list[int] = []

    @contextmanager
    def together() -> Iterator[None]:
        told.append(len(kept.lines))
        yield
        told.append(len(kept.lines))

    configure_logging("json", "CRITICAL", stream=io.StringIO())
    log = structlog.get_logger("test")
    with lines_together():
        log.info("partition_done")
    with mirror_to_dagster(logger, together), lines_together():
        log.info("partition_done")
        log.info("partition_done")
    assert told == [0, 2]
