"""The public surface: names that users' bookmarks, scripts and alerts rely on, and what importing the project costs.

A change here is a change for users: it belongs in the changelog.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from etl_assets.build import build_definitions
from etl_assets.settings import load_settings

PROJECT = Path(__file__).resolve().parents[1]
RAW, CSV, STAGED, TABLE = ["json"], ["csv"], ["pandas", "parquet"], ["duckdb", "table"]
CHECKS = ["conservation", "contract"]

STREAMS = {
    "eidc/datasets": "team:research",
    "erp/stock_levels": "team:logistics",
    "finance/fx_rates": "team:finance",
    "shop/customers": "team:sales",
    "shop/order_lines": "team:sales",
    "shop/orders": "team:sales",
    "shop/products": "team:sales",
}
"""Streams and their owners."""

AUDITS = {
    "eidc/datasets": ["foreign_key__relationships__target_id"],
    "shop/order_lines": [
        "agreement__orders",
        "categories__country",
        "foreign_key__customer_id",
        "freshness",
        "mean_drift__quantity",
        "mean_drift__unit_price",
        "null_share__customer_id",
        "null_share__description",
        "outliers__unit_price",
        "unique_in_table__line_id",
        "volume",
    ],
    "shop/orders": [
        "agreement__order_lines",
        "categories__currency",
        "freshness",
        "mean_drift__total_amount",
        "null_share__customer_id",
        "volume",
    ],
}
"""Audits of streams, as checks of their tables."""

MART, EMBEDDINGS = "marts/daily_sales", "embeddings/eidc/datasets"
REPORT = "reports/data_quality"
ASSETS = {
    f"{layer}/{stream}": (stream.partition("/")[0], kinds, checks)
    for stream in STREAMS
    for layer, kinds, checks in (
        ("raw", CSV if stream == "finance/fx_rates" else RAW, []),
        ("staged", STAGED, CHECKS),
        ("warehouse", TABLE, sorted([*CHECKS, *AUDITS.get(stream, [])])),
    )
} | {
    MART: ("marts", ["duckdb", "sql"], []),
    EMBEDDINGS: ("embeddings", ["duckdb", "huggingface"], []),
    REPORT: ("reports", ["duckdb", "markdown"], []),
}
OWNERS = {
    f"{layer}/{stream}": owner
    for stream, owner in STREAMS.items()
    for layer in ("raw", "staged", "warehouse")
} | {MART: "team:sales", EMBEDDINGS: "team:research", REPORT: "team:data"}
TABLES = {
    **{f"warehouse/{stream}": f"warehouse.{stream.replace('/', '.')}" for stream in STREAMS},
    MART: "warehouse.marts.daily_sales",
    EMBEDDINGS: "warehouse.eidc.datasets_embeddings",
}

LOAD_DEFINITIONS = """
import json
from etl_assets.definitions import defs
graph = defs.resolve_asset_graph()
print(json.dumps(sorted(key.to_user_string() for key in graph.get_all_asset_keys())))
"""
IMPORT_COMMAND = """
import json, sys
from etl_assets.cli.main import app_for
app_for([])
heavy = ("dagster", "pandas", "pandera", "pyarrow", "duckdb", "httpx", "starlette", "uvicorn", "numpy")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """The definitions as they are with no setting but the data folder."""
    return build_definitions(load_settings({"ETL_DATA_DIR": str(tmp_path_factory.mktemp("surface"))}))


def test_assets(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    checks: dict[str, list[str]] = {name: [] for name in ASSETS}
    for key in sorted(graph.asset_check_keys, key=lambda key: key.name):
        checks[key.asset_key.to_user_string()].append(key.name)
    found = {
        key.to_user_string(): (
            graph.get(key).group_name,
            sorted(graph.get(key).kinds),
            checks[key.to_user_string()],
        )
        for key in graph.get_all_asset_keys()
    }
    assert found == ASSETS
    owners = {key.to_user_string(): list(graph.get(key).owners) for key in graph.get_all_asset_keys()}
    assert owners == {name: [owner] for name, owner in OWNERS.items()}
    assert all(graph.get(key).description for key in graph.get_all_asset_keys())


def test_lineage(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    parents = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    chains: dict[str, list[str]] = {}
    for stream in STREAMS:
        chains[f"raw/{stream}"] = []
        chains[f"staged/{stream}"] = [f"raw/{stream}"]
        chains[f"warehouse/{stream}"] = [f"staged/{stream}"]
    tables = [f"warehouse/{stream}" for stream in STREAMS]
    derived = {MART: ["warehouse/shop/order_lines"], EMBEDDINGS: ["warehouse/eidc/datasets"], REPORT: tables}
    assert parents == chains | derived


def test_partitions_and_backfill_policy(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        if key.path[0] in ("marts", "embeddings"):
            assert node.partitions_def is None
            continue
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
        assert node.partitions_def.timezone == "UTC"
        assert node.partitions_def.get_first_partition_key() == "2025-01-01"
        assert node.backfill_policy is not None
        assert node.backfill_policy.max_partitions_per_run is not None


def test_tables_are_named(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    named = {
        key.to_user_string(): graph.get(key).metadata["dagster/table_name"]
        for key in graph.get_all_asset_keys()
        if "dagster/table_name" in graph.get(key).metadata
    }
    assert {name: named.get(name) for name in TABLES} == TABLES


def test_jobs_schedules_and_sensors(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    jobs = {name for name in repository.job_names if not name.startswith("__")}
    assert jobs == {"daily", "data_quality", "replay_quarantine"}
    job = definitions.resolve_job_def("daily")
    assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == set(ASSETS) - {REPORT}
    report = definitions.resolve_job_def("data_quality")
    assert {key.to_user_string() for key in report.asset_layer.selected_asset_keys} == {REPORT}
    assert [
        (schedule.name, schedule.cron_schedule, schedule.execution_timezone, schedule.default_status.value)
        for schedule in repository.schedule_defs
    ] == [
        ("daily_at_0200_utc", "0 2 * * *", "UTC", "RUNNING"),
        ("data_quality_at_0600_utc", "0 6 * * *", "UTC", "RUNNING"),
    ]
    assert [(sensor.name, sensor.default_status.value) for sensor in repository.sensor_defs] == [
        ("alerts", "STOPPED"),
        ("mart_automation", "RUNNING"),
    ]


def test_definitions_load_with_an_empty_environment_and_leave_the_disk_alone(tmp_path: Path) -> None:
    found = _python(LOAD_DEFINITIONS, tmp_path)
    assert found == sorted(ASSETS)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_command_imports_nothing_heavy(tmp_path: Path) -> None:
    assert _python(IMPORT_COMMAND, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def _python(script: str, folder: Path) -> Any:
    """Run a script in a fresh interpreter, in an empty folder and with hardly any environment."""
    # Writing no byte code keeps this test's own interpreter from touching the disk.
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
