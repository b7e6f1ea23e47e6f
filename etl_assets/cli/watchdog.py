"""The command `etl-assets watchdog`: tells when the daemon, a schedule or the alerts themselves have stopped.

It runs outside the daemon, by cron or as a liveness probe. What belongs here: its options and its lines. What does not:
looking (`etl_assets.orchestration.alerts.watchdog`).
"""

from __future__ import annotations

import json
from typing import Annotated

import typer


def watchdog(
    with_daemon: Annotated[
        bool, typer.Option("--daemon/--no-daemon", help="Whether a Dagster daemon should be running.")
    ] = True,
    telling: Annotated[
        bool, typer.Option("--tell/--no-tell", help="Tell of it by the alerts' channels; a probe need not.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> int:
    """Look from outside whether the daemon, the schedules and the alerts are alive, and tell if not.

    Where nothing else does, it also looks for what is wrong and delivers what waits, so that alerts work without a
    daemon. Exit code 1 when something has stopped.
    """
    from etl_assets.build import build_definitions
    from etl_assets.orchestration.alerts.instigators import declared_in
    from etl_assets.orchestration.alerts.watchdog import examine
    from etl_assets.settings import load_settings

    settings = load_settings()
    declared = declared_in(build_definitions(settings).get_repository_def()) if with_daemon else None
    found = examine(settings, declared, telling=telling)
    if as_json:
        typer.echo(json.dumps({"stopped": found}, indent=2))
    else:
        for line in found:
            typer.echo(line)
        if not found:
            typer.echo("everything is alive")
    return 1 if found else 0
