"""What a user has beside the project, in a file of their own that Dagster's daemon runs: all of it breaks on demand.

What belongs here: causes that the project's own streams cannot give. What does not: assertions.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from etl_assets.build import build_definitions

TROUBLE_VARIABLE = "ETL_TROUBLE_FILE"
"""Names the file that has to be there for things to break."""


OWNERS = ["team:exports"]


def _is_trouble() -> bool:
    return Path(os.environ.get(TROUBLE_VARIABLE, "")).is_file()


@dg.asset(key_prefix="exports", owners=OWNERS)
def ledger() -> None:
    """End as a process does that took too much memory."""
    if _is_trouble():
        os.kill(os.getpid(), signal.SIGKILL)


@dg.asset(key_prefix="exports", owners=OWNERS)
def people() -> None:
    """Go down with the other one, whose process it shares."""


@dg.asset(key_prefix="exports", owners=OWNERS)
def stock() -> None:
    """Have a check."""


@dg.asset_check(asset=stock)
def balanced() -> dg.AssetCheckResult:
    """Find pieces missing."""
    return dg.AssetCheckResult(
        passed=not _is_trouble(),
        severity=dg.AssetCheckSeverity.WARN,
        description="pieces of 'Ada Lovelace' are missing",
        metadata={"missing": 3 if _is_trouble() else 0},
    )


@dg.op
def send() -> None:
    """Raise an error that quotes somebody's data."""
    if _is_trouble():
        raise ValueError("cannot write to 'Ada Lovelace', ada@example.com")


@dg.job
def nightly_export() -> None:
    """Send what was exported."""
    send()


@dg.schedule(job=nightly_export, cron_schedule="* * * * *", default_status=dg.DefaultScheduleStatus.RUNNING)
def every_minute() -> dg.SkipReason:
    """Be unable to say what is to run."""
    if _is_trouble():
        raise RuntimeError("the calendar cannot be read")
    return dg.SkipReason("nothing to do")


@dg.sensor(job=nightly_export, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
def inbox() -> dg.SkipReason:
    """Be unable to look."""
    if _is_trouble():
        raise RuntimeError("the inbox cannot be opened")
    return dg.SkipReason("it is empty")


@dg.sensor(job=nightly_export, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
def launcher() -> dg.RunRequest:
    """Launch the job once in trouble, and once without."""
    return dg.RunRequest(run_key=f"trouble: {_is_trouble()}")


@dg.sensor(
    asset_selection=dg.AssetSelection.assets(ledger, people, stock),
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def exporter() -> Iterator[dg.RunRequest]:
    """Make the first two assets in one run and the third in another, once in trouble and once without."""
    for keys in ([ledger.key, people.key], [stock.key]):
        name = keys[0].to_user_string()
        yield dg.RunRequest(run_key=f"{name}, trouble: {_is_trouble()}", asset_selection=keys)


defs = dg.Definitions.merge(
    build_definitions(),
    dg.Definitions(
        assets=[ledger, people, stock],
        asset_checks=[balanced],
        jobs=[nightly_export],
        schedules=[every_minute],
        sensors=[inbox, launcher, exporter],
    ),
)
