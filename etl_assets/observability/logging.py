"""Structured logs: for people on the console, as JSON for machines, and the main lines in Dagster's run logs as well.

What belongs here: how lines look and where they go. What does not: what is logged (each room logs its own happenings).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MIRRORED_EVENTS = frozenset(
    {"partition_done", "partition_failed", "partition_withheld", "remaining_partitions_put_off"}
)
"""Lines that Dagster's run log gets too. Each costs a write to its event log, so that the steps within a partition are
left to the console and the run's captured output."""

Together = Callable[[], AbstractContextManager[object]]

_mirror: ContextVar[tuple[logging.Logger, Together] | None] = ContextVar("mirror", default=None)
_SILENCED_LIBRARIES = ("httpx", "httpcore", "stamina", "pybreaker", "filelock")


def configure_logging(log_format: str, log_level: str, *, stream: TextIO | None = None) -> None:
    """Set up structlog for this process.

    Args:
        log_format: `console` or `json`.
        log_level: Least severe level that is shown.
        stream: Where lines go; standard error by default.
    """
    output = stream or sys.stderr
    shown = logging.getLevelNamesMapping()[log_level]
    renderer: Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer(sort_keys=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=output.isatty(),
            sort_keys=False,
            # The prettier formatters show local variables, and with them whole rows of data.
            exception_formatter=structlog.dev.plain_traceback,
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _mirror_line,
            _LevelFilter(shown),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if log_format == "json" else _keep,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(min(logging.INFO, shown)),
        logger_factory=_StreamLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    for name in _SILENCED_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def mirror_to_dagster(logger: logging.Logger, together: Together = nullcontext) -> Iterator[None]:
    """Send the main lines of this context to a run's own log as well.

    Args:
        logger: Dagster's log manager.
        together: Gives a block whose lines are written at its end, all at once.
    """
    token = _mirror.set((logger, together))
    try:
        yield
    finally:
        _mirror.reset(token)


def lines_together() -> AbstractContextManager[object]:
    """Give a block whose lines reach a run's own log at its end, which costs less than one by one."""
    mirror = _mirror.get()
    return mirror[1]() if mirror is not None else nullcontext()


class _StreamLoggerFactory:
    """Looks up standard error anew for every line, because Dagster redirects it while a step runs."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __call__(self, *args: Any) -> structlog.WriteLogger:
        return structlog.WriteLogger(self._stream or sys.stderr)


def _mirror_line(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    mirror = _mirror.get()
    if mirror is not None and event.get("event") in MIRRORED_EVENTS:
        fields = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "level"))
        mirror[0].log(logging.getLevelNamesMapping()[event["level"].upper()], f"{event['event']} {fields}")
    return event


class _LevelFilter:
    """Drops lines that are not to be shown, after Dagster's run log had its chance: that one gets them in any case."""

    def __init__(self, shown: int) -> None:
        self._shown = shown

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if logging.getLevelNamesMapping()[event["level"].upper()] < self._shown:
            raise structlog.DropEvent
        return event


def _keep(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return event
