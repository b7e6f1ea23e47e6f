"""The consoles that commands write to."""

from __future__ import annotations

from rich.console import Console

PLAIN_WIDTH = 120
"""Columns where output goes to a file or a pipe, which have no width of their own."""


def make_console(*, stderr: bool = False) -> Console:
    """Make a console for standard output or standard error."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=PLAIN_WIDTH)
