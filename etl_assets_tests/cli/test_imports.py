"""What each command imports: nothing heavy that it does not need, so that it answers at once.

Each runs in a process of its own, forked from one that has imported no more than the front door; those that need the
declared streams, from one that has discovered them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etl_assets.demo.server import running_source
from etl_assets.pipeline.declared import FILE_NAME
from etl_assets.settings import load_settings
from etl_assets.warehouse.opening import open_warehouse
from etl_assets_tests.integration.commands import clean_environment

YESTERDAY = str(datetime.now(UTC).date() - timedelta(days=1))
STREAMS = {"lxml", "numpy", "pandas", "pandera", "pyarrow"}
"""What the files of the streams bring, and the parsers of documents."""

# A command line, and what it may import of all that is heavy.
LIGHT: dict[str, set[str]] = {
    "--version": set(),
    "--help": {"rich"},
    "backfill --help": {"rich"},
    "backfill": set(),
    "status": {"duckdb", "rich"},
    "status --json": {"duckdb", "rich"},
    "status shop/orders": {"duckdb", "rich"},
    "query SELECT/**/1": {"duckdb", "numpy", "pyarrow", "rich"},
    "query --format csv SELECT/**/1": {"duckdb", "numpy", "pyarrow", "rich"},
    "alerts list": {"rich"},
    "alerts ack 1": set(),
    "alerts mute shop --for 1h": set(),
    "alerts unmute shop": set(),
    "alerts test": set(),
    "source --port 0 --stop-with-input": {"asyncio", "httpx", "lxml", "rich", "starlette", "structlog"},
    # As far as where it would start Dagster.
    "ui --no-source --port 24040": {"asyncio", "httpx", "structlog", "rich"},
}
# Those that need what the streams' files declare: contracts, versions of their code, which fields are personal.
DISCOVERING: dict[str, set[str]] = {
    "dictionary": STREAMS,
    "plan": STREAMS | {"asyncio", "duckdb", "rich", "structlog"},
    "plan --json": STREAMS | {"asyncio", "duckdb", "rich", "structlog"},
    "quarantine list": STREAMS | {"duckdb", "rich"},
    "quarantine show 0123456789ab": STREAMS | {"duckdb", "rich"},
    "doctor": STREAMS | {"asyncio", "duckdb", "httpx", "rich", "structlog"},
    "search peat": STREAMS | {"asyncio", "duckdb", "rich", "structlog"},
    "report --output report.html": STREAMS | {"duckdb", "jinja2", "rich", "vl_convert"},
    "reconcile --json": STREAMS | {"asyncio", "duckdb", "rich", "structlog"},
    "retry-failed --json": STREAMS | {"asyncio", "duckdb", "rich", "structlog"},
}


# Loading needs Dagster and what reads and stages, but nothing of the UI, the report, or the demo's server.
LOADING = STREAMS | {"asyncio", "dagster", "duckdb", "fsspec", "httpx", "rich", "sqlalchemy", "structlog"}


def told_by(folder: Path, commands: Sequence[str], *, discovering: bool, **more: str) -> dict[str, Any]:
    """Run commands in forks of one process, over an own data folder."""
    asked = {"discovering": discovering, "commands": [each.split() for each in commands]}
    # The doctor asks Dagster where there is a folder of Dagster's, as the command that opens the UI leaves one.
    home = folder / ("no_dagster" if discovering else "dagster_home")
    variables = {"ETL_DATA_DIR": str(folder), "ETL_START_DATE": YESTERDAY, "DAGSTER_HOME": str(home), **more}
    done = subprocess.run(
        [sys.executable, "-m", "etl_assets_tests.cli.forked_commands"],
        input=json.dumps(asked),
        env=clean_environment(variables) | {"PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    found["commands"] = dict(zip(commands, found["commands"], strict=True))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a warehouse, the streams of which were asked for once."""
    made = tmp_path_factory.mktemp("imports")
    settings = load_settings({"ETL_DATA_DIR": str(made)})
    settings.data_dir.mkdir(exist_ok=True)
    with open_warehouse(settings).session("a test"):
        pass
    first = told_by(made, ["status"], discovering=False)
    assert first["commands"]["status"]["exit_code"] == 0
    assert (settings.state_dir / FILE_NAME).exists()
    return made


@pytest.fixture(scope="module")
def light(folder: Path) -> dict[str, Any]:
    """What became of commands that are run from the front door."""
    return told_by(folder, list(LIGHT), discovering=False)


@pytest.fixture(scope="module")
def discovering(folder: Path) -> dict[str, Any]:
    """What became of commands that are run by a process which has discovered the streams."""
    return told_by(folder, list(DISCOVERING), discovering=True)


def test_the_front_door_imports_nothing_heavy(light: dict[str, Any]) -> None:
    assert light["shared"] == []


@pytest.mark.parametrize("command", LIGHT)
def test_a_command_imports_no_more_than_it_needs(light: dict[str, Any], command: str) -> None:
    told = light["commands"][command]
    assert told["exit_code"] in (0, 2)
    assert set(told["heavy"]) <= LIGHT[command]


def test_what_a_command_was_seen_to_do_is_what_it_does(light: dict[str, Any]) -> None:
    codes = {command: told["exit_code"] for command, told in light["commands"].items()}
    refused = {command for command, code in codes.items() if code == 2}
    assert refused == {"backfill", "alerts ack 1", "alerts test"}
    assert "duckdb" in light["commands"]["status"]["heavy"]


def test_discovering_streams_imports_no_more_than_their_files_need(discovering: dict[str, Any]) -> None:
    assert set(discovering["shared"]) <= STREAMS | {"asyncio"}


@pytest.mark.parametrize("command", DISCOVERING)
def test_a_command_that_needs_the_streams_imports_no_dagster(
    discovering: dict[str, Any], command: str
) -> None:
    told = discovering["commands"][command]
    assert told["exit_code"] in (0, 1, 2)
    assert set(told["heavy"]) <= DISCOVERING[command] | {"asyncio"}


def test_a_backfill_imports_nothing_of_what_it_does_not_do(tmp_path: Path) -> None:
    command = f"backfill shop/order_lines --from {YESTERDAY} --to {YESTERDAY} --json"
    with running_source() as source:
        address = {"ETL_SHOP_URL": source.url, "ETL_SHOP_TOKEN": source.token}
        told = told_by(tmp_path, [command], discovering=False, **address)["commands"][command]
    assert told["exit_code"] == 0
    assert "dagster" in told["heavy"]
    assert set(told["heavy"]) <= LOADING
