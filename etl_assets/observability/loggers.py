"""Loggers that cost nothing until something is logged.

Importing structlog takes as long as reading the whole status of a warehouse, since it brings asyncio, and a terminal's
colours and tracebacks. What belongs here: putting that off, for modules that log seldom and that commands which end at
once import. What does not: how logs look (`etl_assets.observability.logging`).
"""

from __future__ import annotations

from typing import Any


class LazyLogger:
    """A logger of structlog that is made when it is first used.

    Args:
        name: Name of the module that logs.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        """Give a method of the logger: `info`, `warning`, ..."""
        import structlog

        return getattr(structlog.get_logger(self._name), method)
