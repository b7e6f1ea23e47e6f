"""Runs commands one after the other, each in a fork that has imported nothing but what they share, and tells what each
imported beyond that.

What belongs here: the program, `python -m etl_assets_tests.cli.forked_commands`: command lines as JSON on standard
input, what came of each as JSON on standard output. What does not: what a command may import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from etl_assets.cli.main import run

HEAVY = frozenset(
    {
        "asyncio",
        "dagster",
        "duckdb",
        "fsspec",
        "httpx",
        "jinja2",
        "lxml",
        "numpy",
        "pandas",
        "pandera",
        "pyarrow",
        "rich",
        "sqlalchemy",
        "starlette",
        "structlog",
        "vl_convert",
    }
)
"""Packages that take a while to import. Not pydantic: typer needs it to read any argument."""


def started(arguments: Sequence[str]) -> dict[str, Any]:
    """Run a command in a fork, and give its exit code and the heavy packages that it had imported at its end."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        code = 99
        try:
            _silence()
            code = run(list(arguments))
        except _StartsAProcess:
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            heavy = sorted(HEAVY & sys.modules.keys())
            os.write(write, json.dumps({"exit_code": code, "heavy": heavy}).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        told: dict[str, Any] = json.loads(answer.read())
    os.waitpid(child, 0)
    return told


class _StartsAProcess(BaseException):
    """A command would start another program; what that one imports is its own affair."""


def _silence() -> None:
    """Leave standard output to the answer, and end where another Python program would be started."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(nothing, number)

    begin = subprocess.Popen.__init__

    def begin_others(self: Any, command: Any, *more: Any, **options: Any) -> None:
        if command[0] == sys.executable:
            raise _StartsAProcess
        begin(self, command, *more, **options)

    subprocess.Popen.__init__ = begin_others  # type: ignore[method-assign,assignment]


def main() -> None:
    """Run what standard input asks for."""
    asked = json.load(sys.stdin)
    if asked["discovering"]:
        from etl_assets.streams.discovery import discover_streams

        discover_streams()
    shared = sorted(HEAVY & sys.modules.keys())
    print(json.dumps({"shared": shared, "commands": [started(each) for each in asked["commands"]]}))


if __name__ == "__main__":
    main()
