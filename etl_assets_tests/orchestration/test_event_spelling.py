"""An event has the text that Dagster gives it, whatever it holds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.events import (
    AssetMaterializationPlannedData,
    AssetObservationData,
    DagsterEvent,
    DagsterEventType,
    EngineEventData,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.plan.handle import StepHandle
from dagster._serdes import deserialize_value, serialize_value
from dagster_shared.error import SerializableErrorInfo

from etl_assets.orchestration.event_spelling import spell_event

KEY = dg.AssetKey(["warehouse", "shop", "order_lines"])
DAYS = dg.DailyPartitionsDefinition(start_date="2025-01-01").subset_with_partition_keys(["2025-01-02"])
METADATA: dict[str, Any] = {
    "text": 'Größe \u2028 "quoted" \\ \n',
    "whole": 10**15,
    "number": 0.1,
    "not a number": float("nan"),
    "yes": True,
    "nothing": dg.MetadataValue.null(),
    "words": dg.MetadataValue.md("| a |"),
    "address": dg.MetadataValue.url("https://example.com"),
    "path": dg.MetadataValue.path("/somewhere"),
    "list": dg.MetadataValue.json({"b": [1, {"a": None}], "a": ()}),
    "asset": dg.MetadataValue.asset(KEY),
    "time": dg.MetadataValue.timestamp(1_750_000_000.5),
    "schema": dg.TableSchema(
        [dg.TableColumn("a", "int", constraints=dg.TableColumnConstraints(nullable=False))]
    ),
    "table": dg.MetadataValue.table([dg.TableRecord({"a": 1})]),
    "lineage": dg.TableColumnLineage({"a": [dg.TableColumnDep(KEY, "b")]}),
}
CONTENT: dict[str, tuple[DagsterEventType, Any]] = {
    "materialization": (
        DagsterEventType.ASSET_MATERIALIZATION,
        StepMaterializationData(
            dg.AssetMaterialization(KEY, "description", METADATA, "2025-01-02", tags={"b": "1", "a": "2"})
        ),
    ),
    "observation": (
        DagsterEventType.ASSET_OBSERVATION,
        AssetObservationData(dg.AssetObservation(KEY, metadata=METADATA)),
    ),
    "evaluation": (
        DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.AssetCheckEvaluation(
            asset_key=KEY,
            check_name="volume",
            passed=False,
            metadata=METADATA,
            severity=dg.AssetCheckSeverity.WARN,
            partition="2025-01-02",
            target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                storage_id=7, run_id="run", timestamp=1.5
            ),
        ),
    ),
    "planned": (
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        AssetMaterializationPlannedData(KEY, partition="2025-01-02"),
    ),
    "planned check": (
        DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
        AssetCheckEvaluationPlanned(
            asset_key=KEY, check_name="volume", partitions_subset=DAYS.to_serializable_subset()
        ),
    ),
    "engine": (
        DagsterEventType.ENGINE_EVENT,
        EngineEventData(METADATA, SerializableErrorInfo("broke\n", ["a", "b"], "Error", None)),
    ),
    "run start": (DagsterEventType.RUN_START, None),
}


@pytest.mark.parametrize("content", CONTENT)
def test_text_is_dagsters(content: str) -> None:
    kind, data = CONTENT[content]
    node = NodeHandle("load", None)
    entry = EventLogEntry(  # type: ignore[no-untyped-call] # Dagster leaves its constructor untyped
        error_info=SerializableErrorInfo("broke", [], None) if content == "engine" else None,
        level=10,
        user_message="said \u00e9",
        run_id="run",
        timestamp=1_750_000_000.123456,
        step_key="load",
        job_name="job",
        dagster_event=DagsterEvent(
            kind.value,
            "job",
            StepHandle(node),
            node,
            "COMPUTE",
            OrderedDict(step_key="load", run_id="run"),
            data,
            "message",
            pid=1,
        ),
    )
    for _ in range(2):
        assert spell_event(entry) == serialize_value(entry)
    # What is not a number equals nothing, itself included.
    assert serialize_value(deserialize_value(spell_event(entry), EventLogEntry)) == serialize_value(entry)


def test_text_of_what_a_user_logged_is_dagsters() -> None:
    entry = EventLogEntry(  # type: ignore[no-untyped-call] # Dagster leaves its constructor untyped
        None, 20, "plain", "run", 1.0, None, None, None
    )
    assert spell_event(entry) == serialize_value(entry)
