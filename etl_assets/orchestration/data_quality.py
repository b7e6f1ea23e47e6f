"""The daily look at the data: freshness of each stream, and the report `reports/data_quality`.

They come by a schedule of their own, some hours after the daily load: what failed or never ran leaves no event that
could start them. What belongs here: the check and the asset. What does not: their job (`jobs`), finding out
(`etl_assets.warehouse.data_quality`), and the page that goes with it (`etl_assets.report`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from etl_assets.failures import EtlError, classify
from etl_assets.marts.catalogue import Mart
from etl_assets.orchestration.keys import REPORTS_GROUP, Layer, asset_key, stream_key
from etl_assets.resources.warehouse import WAREHOUSE
from etl_assets.settings import Settings
from etl_assets.streams.audits_of_tables import Freshness
from etl_assets.streams.base import Stream
from etl_assets.warehouse.data_quality import DataQuality, data_quality_of, expected_day, freshness

REPORT_KEY = dg.AssetKey(["reports", "data_quality"])


def freshness_of(stream: Stream) -> Freshness | None:
    """Give what a stream declares of its freshness."""
    return next((audit for audit in stream.audits if isinstance(audit, Freshness)), None)


def build_freshness_checks(
    streams: Mapping[str, Stream], start: date, retry_policy: dg.RetryPolicy
) -> dg.AssetChecksDefinition | None:
    """Make the check of all streams that declare their freshness; None if none does.

    Args:
        streams: The streams.
        start: First partition.
        retry_policy: For a busy warehouse.
    """
    declared = {stream_id: audit for stream_id, stream in streams.items() if (audit := freshness_of(stream))}
    if not declared:
        return None

    @dg.multi_asset_check(
        name="freshness",
        specs=[
            dg.AssetCheckSpec(
                audit.check_name, asset=stream_key(Layer.WAREHOUSE, stream_id), description=audit.description
            )
            for stream_id, audit in declared.items()
        ],
        can_subset=True,
        retry_policy=retry_policy,
        required_resource_keys={WAREHOUSE},
    )
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        resources: Any = context.resources
        now = datetime.now(UTC)
        for stream_id, audit in declared.items():
            key = stream_key(Layer.WAREHOUSE, stream_id)
            if dg.AssetCheckKey(key, audit.check_name) not in context.selected_asset_check_keys:
                continue
            stream = streams[stream_id]
            with _told(), resources.warehouse.open().session(f"freshness of {stream_id}") as session:
                result = freshness(session.connection, stream, audit, now, start)
                session.record_check(stream, expected_day(audit, now), result, context.run.run_id, now)
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=audit.check_name,
                passed=result.passed,
                severity=dg.AssetCheckSeverity.WARN,
                description=result.message,
                metadata={
                    "expected_day": dg.TextMetadataValue(expected_day(audit, now).isoformat()),
                    **{name: dg.IntMetadataValue(int(number)) for name, number in result.numbers.items()},
                },
            )

    return check


def build_report_asset(
    settings: Settings,
    streams: Sequence[Stream],
    marts: Sequence[Mart],
    partitions: dg.DailyPartitionsDefinition,
    partitions_per_run: int,
    retry_policy: dg.RetryPolicy,
) -> dg.AssetsDefinition:
    """Make the asset of the daily summary.

    Args:
        settings: Where everything is.
        streams: The streams that it tells of.
        marts: The marts, for the page.
        partitions: Those of the streams.
        partitions_per_run: Most days of a run.
        retry_policy: For a busy warehouse.
    """

    @dg.asset(
        key=REPORT_KEY,
        deps=[asset_key(Layer.WAREHOUSE, stream) for stream in streams],
        description="How a day's data is: tables with issues, checks, quarantined rows, against the days before. "
        "Writes the page of `etl-assets report` as well.",
        group_name=REPORTS_GROUP,
        owners=["team:data"],
        kinds={"duckdb", "markdown"},
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(partitions_per_run),
        retry_policy=retry_policy,
        required_resource_keys={WAREHOUSE},
    )
    def data_quality(context: dg.AssetExecutionContext) -> None:
        # Drawing brings libraries that no load needs.
        from etl_assets.report.making import FILE_NAME, make_report

        resources: Any = context.resources
        with _told(), resources.warehouse.open().session("data quality") as session:
            summaries = [
                data_quality_of(session.connection, streams, date.fromisoformat(day))
                for day in context.partition_keys
            ]
        page = settings.data_dir / FILE_NAME
        with _told():
            # The page ends with yesterday, whichever days were asked for: there is one, and it is the newest.
            make_report(settings, streams, marts, page, warehouse=resources.warehouse.open())
        for summary in summaries:
            context.add_asset_metadata(_metadata(summary, page), partition_key=summary.day.isoformat())
            context.log.info(summary.text)

    return data_quality


def _metadata(summary: DataQuality, page: Path) -> dict[str, Any]:
    return {
        # A browser follows no link from a web page to a file; the UI shows a path with a button that copies it.
        "report": dg.PathMetadataValue(str(page)),
        "summary": dg.MarkdownMetadataValue(f"```\n{summary.text}\n```"),
        **{name: dg.IntMetadataValue(number) for name, number in summary.numbers.items()},
    }


@contextmanager
def _told() -> Iterator[None]:
    """Turn our own errors into Dagster's, in one line and retried only if they may pass."""
    try:
        yield
    except EtlError as error:
        raise dg.Failure(str(error), allow_retries=classify(error).retryable) from error
