"""The command's front door: registers the sub-commands and turns errors into one line and an exit code.

Exit codes: 0 all went well, 1 something did not, 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer
from typer.exceptions import Abort, Exit, TyperException

from etl_assets.failures import ConfigurationError, EtlError, describe_unexpected, is_disk_full
from etl_assets.settings import VARIABLES

INTERRUPTED = 130
"""What shells expect of a program that ended by Ctrl-C."""

COMMANDS = (
    "demo",
    "source",
    "plan",
    "backfill",
    "retry-failed",
    "reconcile",
    "rollback",
    "status",
    "query",
    "search",
    "report",
    "dictionary",
    "doctor",
    "watchdog",
    "ui",
    "quarantine",
    "alerts",
)
"""All sub-commands in the order of the help; each is the object of its name in the module of its name."""


def _settings_help() -> str:
    rows = [
        f"[bold]{variable.name}[/bold]  {variable.description}"
        + (f" [dim]\\[default: {variable.default}][/dim]" if variable.default else "")
        for variable in VARIABLES
    ]
    other = (
        "[bold]DAGSTER_HOME[/bold]  Dagster's own folder [dim]\\[default: dagster_home in ETL_DATA_DIR][/dim]"
    )
    return "\n\n".join(["Settings come from the environment:", *rows, other])


def _show_version(wanted: bool) -> None:
    if wanted:
        from etl_assets import __version__

        typer.echo(f"etl-assets {__version__}")
        raise typer.Exit


def etl_assets(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")
    ] = False,
) -> None:
    """Load APIs, files and databases into a warehouse, one UTC day at a time."""


def app_for(arguments: list[str]) -> typer.Typer:
    """Make the command with the sub-command that is asked for; with all of them where none of them is.

    Args:
        arguments: Without the program's name.
    """
    app = typer.Typer(
        name="etl-assets",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(epilog=_settings_help())(etl_assets)
    # What stands before a sub-command are switches, none of which takes a value.
    asked = next((argument for argument in arguments if not argument.startswith("-")), "")
    for name in (asked,) if asked in COMMANDS else COMMANDS:
        _add(app, name)
    return app


def _add(app: typer.Typer, name: str) -> None:
    spelled = name.replace("-", "_")
    command = getattr(importlib.import_module(f"etl_assets.cli.{spelled}"), spelled)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def main() -> None:
    """Run the command and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line in this process.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit code.
    """
    debug = "--debug" in arguments
    try:
        return _run_plain(arguments)
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def _run_plain(arguments: list[str]) -> int:
    try:
        result = app_for(arguments)(args=arguments, prog_name="etl-assets", standalone_mode=False)
        return _left(result) if isinstance(result, int) else 0
    except Exit as leaving:
        return _left(leaving.exit_code)
    except (Abort, KeyboardInterrupt):
        return _left(INTERRUPTED)
    except TyperException as error:
        say = getattr(error, "format_message", None)
        _say(f"{_one_line(say() if say else str(error))} (see etl-assets --help)")
        return 2
    except BrokenPipeError:
        # The reader of our output went away, as with `| head`; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _left(code: int) -> int:
    if code == INTERRUPTED:
        _say("interrupted; everything committed so far is safe, run the same command again to go on")
    return code


def _explain(error: Exception) -> int:
    if isinstance(error, EtlError):
        _say(_one_line(str(error)))
        return 2 if isinstance(error, ConfigurationError) else 1
    if is_disk_full(error):
        _say("no room left on the disk; everything committed so far is safe: free some space and run again")
        return 1
    if isinstance(error, PermissionError) and error.filename:
        _say(f"no permission for {error.filename}: check ETL_DATA_DIR and its permissions")
        return 1
    _say(f"unexpected {describe_unexpected(error)} (for a traceback: etl-assets --debug ...)")
    return 1


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(message: str) -> None:
    typer.secho(f"error: {message}", err=True, fg="red" if sys.stderr.isatty() else None)
