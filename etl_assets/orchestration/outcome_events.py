"""An outcome, as Dagster metadata and check evaluations.

What belongs here: which numbers the UI shows, and under which keys. What does not: when they are recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from etl_assets.orchestration.check_targets import Targets
from etl_assets.orchestration.keys import (
    CHECKED_LAYERS,
    CONSERVATION_CHECK,
    CONTRACT_CHECK,
    Layer,
    asset_key,
)
from etl_assets.outcomes import CheckResult, PartitionOutcome, Status
from etl_assets.streams.audits import Audit
from etl_assets.streams.audits_of_tables import audits_at_commit
from etl_assets.streams.base import Stream

Metadata = dict[str, Any]
Evaluation = tuple[bool, dg.AssetCheckSeverity, str, Mapping[str, Any]]

_CHECKS = {
    CONTRACT_CHECK: "Share of rows that broke the contract, against the stream's error budget.",
    CONSERVATION_CHECK: "Every extracted row is loaded, unchanged, deduplicated or quarantined.",
}


def materialization_metadata(layer: Layer, outcome: PartitionOutcome) -> Metadata:
    """Give the numbers of one asset's partition; numeric ones are plotted by the UI."""
    counts = outcome.counts
    seconds = dg.FloatMetadataValue(float(outcome.seconds.get(layer.stage, 0.0)))
    if layer is Layer.RAW:
        known_size = {"bytes": dg.IntMetadataValue(outcome.bytes)} if outcome.bytes else {}
        return {
            "dagster/partition_row_count": dg.IntMetadataValue(counts.extracted),
            **known_size,
            **({"failed_items": dg.IntMetadataValue(counts.failed_items)} if counts.failed_items else {}),
            **_harvest(outcome),
            "landing_version": dg.TextMetadataValue(outcome.landing_version or ""),
            "seconds": seconds,
        }
    if layer is Layer.STAGED:
        metadata: Metadata = {
            "dagster/partition_row_count": dg.IntMetadataValue(counts.staged),
            **_numbers(outcome, "extracted", "quarantined", "warned"),
            "seconds": seconds,
        }
        if outcome.preview:
            metadata["preview"] = dg.MarkdownMetadataValue(outcome.preview)
        return metadata
    return {
        "dagster/partition_row_count": dg.IntMetadataValue(counts.loaded + counts.unchanged),
        **_numbers(outcome, "loaded", "updated", "unchanged", "deduplicated", "removed", "quarantined"),
        **_harvest(outcome),
        "verdict": dg.TextMetadataValue(outcome.status.value),
        **({"schema_changes": dg.TextMetadataValue(told)} if (told := _told(outcome)) else {}),
        "seconds": seconds,
    }


def _harvest(outcome: PartitionOutcome) -> Metadata:
    """Give what became of the day's documents, if it has any."""
    harvest = outcome.harvest
    if harvest is None:
        return {}
    numbers = {f"documents_{name}": dg.IntMetadataValue(number) for name, number in asdict(harvest).items()}
    return {**numbers, "success_rate": dg.FloatMetadataValue(harvest.success_rate)}


def failure_observation(stream: Stream, layer: Layer, outcome: PartitionOutcome) -> dg.AssetObservation:
    """Tell on a day's own page why it is red; Dagster itself says only that the run failed."""
    failure = outcome.failure
    return dg.AssetObservation(
        asset_key(layer, stream),
        partition=outcome.partition.isoformat(),
        description=outcome.message,
        metadata={
            "status": dg.TextMetadataValue(outcome.status.value),
            "stage": dg.TextMetadataValue(failure.stage if failure else ""),
            "failure_class": dg.TextMetadataValue(failure.failure_class.value if failure else ""),
            "message": dg.TextMetadataValue(outcome.message),
        },
    )


def check_specs(stream: Stream, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """Give the checks that every stream has, on its staged and warehouse assets, and its audits on the latter."""
    named = [(layer, name, text) for layer in CHECKED_LAYERS for name, text in _CHECKS.items()]
    named += [
        (Layer.WAREHOUSE, audit.check_name, _audit_description(audit))
        for audit in audits_at_commit(stream.audits)
    ]
    return [
        dg.AssetCheckSpec(name, asset=asset_key(layer, stream), description=text, partitions_def=partitions)
        for layer, name, text in named
    ]


def _audit_description(audit: Audit) -> str:
    consequence = "the day is withheld" if audit.withholds else "the day is published with warnings"
    return f"{audit.description} Otherwise {consequence}."


def check_evaluations(
    stream: Stream, outcome: PartitionOutcome, selected: set[dg.AssetCheckKey], targets: Targets
) -> Iterator[dg.AssetCheckEvaluation]:
    """Give the evaluations of one partition's checks, as far as it got and they were selected."""
    partition = outcome.partition.isoformat()
    for layer in CHECKED_LAYERS:
        withheld = layer is Layer.WAREHOUSE and outcome.status is Status.WITHHELD
        if not (withheld or layer.stage in outcome.completed):
            continue
        key = asset_key(layer, stream)
        for name, evaluate in ((CONTRACT_CHECK, _contract), (CONSERVATION_CHECK, _conservation)):
            if dg.AssetCheckKey(key, name) in selected:
                passed, severity, description, metadata = evaluate(stream, layer, outcome)
                yield dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=name,
                    passed=passed,
                    severity=severity,
                    description=description,
                    metadata=metadata,
                    partition=partition,
                    target_materialization_data=targets.get((key, partition)),
                )
    yield from audit_evaluations(stream, outcome, selected, targets)


def audit_evaluations(
    stream: Stream, outcome: PartitionOutcome, selected: set[dg.AssetCheckKey], targets: Targets
) -> Iterator[dg.AssetCheckEvaluation]:
    """Give the evaluations of one partition's audits, as far as they were made and selected."""
    key = asset_key(Layer.WAREHOUSE, stream)
    partition = outcome.partition.isoformat()
    for result in outcome.checks:
        if result.kind in _CHECKS or dg.AssetCheckKey(key, result.check) not in selected:
            continue
        yield dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=result.check,
            passed=result.passed,
            severity=dg.AssetCheckSeverity.ERROR if result.withholds else dg.AssetCheckSeverity.WARN,
            description=result.message,
            metadata=_audit_metadata(result),
            partition=partition,
            target_materialization_data=targets.get((key, partition)),
        )


def _audit_metadata(result: CheckResult) -> Metadata:
    """Give numbers as numbers, so that the UI draws them day by day."""
    metadata: Metadata = {
        name: dg.IntMetadataValue(value) if isinstance(value, int) else dg.FloatMetadataValue(float(value))
        for name, value in result.numbers.items()
    }
    if result.sample:
        metadata["worst_rows"] = dg.MarkdownMetadataValue(result.sample)
    return metadata


def _contract(stream: Stream, layer: Layer, outcome: PartitionOutcome) -> Evaluation:
    counts, budget = outcome.counts, stream.budget
    share = counts.quarantined / counts.extracted if counts.extracted else 0.0
    severity = dg.AssetCheckSeverity.ERROR if share > budget.fail else dg.AssetCheckSeverity.WARN
    description = (
        f"{counts.quarantined} of {counts.extracted} rows quarantined ({share:.2%}), {counts.warned} warned"
    )
    metadata: Metadata = {
        **_numbers(outcome, "extracted", "quarantined", "warned"),
        "quarantined_share": dg.FloatMetadataValue(round(share, 6)),
        "budget": dg.TextMetadataValue(f"warn above {budget.warn:.0%}, withhold above {budget.fail:.0%}"),
    }
    if outcome.violations or outcome.warnings:
        metadata["rules"] = dg.MarkdownMetadataValue(_rules_table(outcome))
    changed = layer is Layer.WAREHOUSE and any(change.is_warning for change in outcome.schema_changes)
    if changed:
        description = f"{description}; {_told(outcome)}"
    return share <= budget.warn and not changed, severity, description, metadata


def _conservation(stream: Stream, layer: Layer, outcome: PartitionOutcome) -> Evaluation:
    counts = outcome.counts
    if layer is Layer.STAGED or outcome.status is Status.WITHHELD:
        passed = counts.extracted == counts.staged + counts.quarantined
        parts: tuple[str, ...] = ("staged", "quarantined")
    else:
        passed = counts.conserved
        parts = ("loaded", "unchanged", "deduplicated", "quarantined")
    terms = " + ".join(f"{getattr(counts, part)} {part}" for part in parts)
    description = f"{counts.extracted} extracted {'=' if passed else 'is not'} {terms}"
    if layer is Layer.WAREHOUSE and outcome.status is Status.WITHHELD:
        description = f"withheld, nothing was published: {description}"
    return passed, dg.AssetCheckSeverity.ERROR, description, _numbers(outcome, "extracted", *parts)


def _numbers(outcome: PartitionOutcome, *names: str) -> Metadata:
    return {name: dg.IntMetadataValue(getattr(outcome.counts, name)) for name in names}


def _told(outcome: PartitionOutcome) -> str:
    return "; ".join(change.sentence for change in outcome.schema_changes)


def _rules_table(outcome: PartitionOutcome) -> str:
    rows = [("quarantine", rule, count) for rule, count in outcome.violations.items()]
    rows += [("warn", rule, count) for rule, count in outcome.warnings.items()]
    lines = ["| severity | rule | rows |", "| --- | --- | ---: |"]
    return "\n".join(lines + [f"| {severity} | `{rule}` | {count} |" for severity, rule, count in rows])
