"""What people can see of a source's requests: one event, one file and one line in `etl-assets status`."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
import structlog

from etl_assets.cli.status import request_lines
from etl_assets.failures import FailureClass
from etl_assets.observability.logging import configure_logging
from etl_assets.settings import load_settings
from etl_assets.sources.registry import open_reader, open_watch
from etl_assets.sources.statistics import RequestCounts, RequestStatistics
from etl_assets.sources.statistics_file import read_counts, write_counts
from etl_assets.streams.base import (
    Cursor,
    FileSource,
    Rest,
    RestSource,
    RetryBudget,
    SqlSource,
    WindowParameters,
)
from etl_assets_tests.sources.scripted import Reply, in_turn, scripted_server

CRM = RestSource(name="crm", retry=RetryBudget(first_delay=0.001, maximum_delay=0.01))
REST = Rest(path="/v1/rows", window=WindowParameters("from", "to"), paginator=Cursor(), records="data")
GOOD = Reply(b'{"data": [], "next_cursor": null}')
COUNTS = RequestCounts(
    requests=1_234,
    retries=34,
    failures=35,
    failures_by_class={"transient": 30, "rate_limited": 5},
    bytes=10,
    seconds_waited=2.25,
)


@pytest.fixture(autouse=True)
def all_logs(quiet_logs: None) -> None:
    """Let every line through to the tests that look at them."""
    configure_logging("json", "DEBUG")


def test_failures_are_counted_by_class() -> None:
    statistics = RequestStatistics()
    statistics.failure(FailureClass.TRANSIENT, 0.5)
    statistics.failure(FailureClass.RATE_LIMITED, 1.0)
    statistics.failure(FailureClass.TRANSIENT, None)
    counts = statistics.read()
    assert (counts.failures, counts.seconds_waited) == (3, 1.5)
    assert counts.failures_by_class == {"transient": 2, "rate_limited": 1}


def test_readers_of_one_run_are_counted_together(tmp_path: Path) -> None:
    replies = in_turn(Reply(status=503), GOOD, Reply(status=429, headers={"Retry-After": "0"}), GOOD)
    with scripted_server(replies) as server:
        settings = load_settings({"ETL_DATA_DIR": str(tmp_path), "ETL_CRM_URL": server.url})
        found = settings.source("crm")
        watch = open_watch(CRM, found)
        with structlog.testing.capture_logs() as lines:
            for _ in range(2):
                with open_reader(CRM, found, watch) as reader:
                    list(reader.pages(REST, date(2025, 1, 1)))
    counted = [line for line in lines if line["event"] == "requests_counted"]
    assert [(line["requests"], line["retries"], line["failures"]) for line in counted] == [
        (2, 1, 1),
        (4, 2, 2),
    ]
    assert (counted[-1]["failures_transient"], counted[-1]["failures_rate_limited"]) == (1, 1)
    kept = read_counts(settings.state_dir)["crm"]
    assert (kept.requests, kept.retries, kept.bytes) == (4, 2, 2 * len(GOOD.body))


def test_a_source_that_was_not_asked_leaves_no_trace(tmp_path: Path) -> None:
    settings = load_settings({"ETL_DATA_DIR": str(tmp_path), "ETL_CRM_URL": "http://127.0.0.1:9"})
    open_reader(CRM, settings.source("crm")).close()
    assert read_counts(settings.state_dir) == {}


@pytest.mark.parametrize("source", [FileSource(name="drops"), SqlSource(name="erp")])
def test_other_kinds_share_nothing(source: FileSource | SqlSource) -> None:
    settings = load_settings({"ETL_DROPS_URL": "/nowhere", "ETL_ERP_URL": "sqlite:///nowhere.db"})
    assert open_watch(source, settings.source(source.name)) is None


def test_counters_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    write_counts(tmp_path, "crm", COUNTS)
    assert read_counts(tmp_path) == {"crm": COUNTS}
    assert [path.name for path in (tmp_path / "requests").iterdir()] == ["crm.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"requests": "many"})])
def test_a_damaged_file_is_left_out(tmp_path: Path, content: str) -> None:
    write_counts(tmp_path, "crm", COUNTS)
    (tmp_path / "requests" / "erp.json").write_text(content)
    assert read_counts(tmp_path) == {"crm": COUNTS}


def test_a_folder_that_cannot_be_written_costs_no_load(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("a file where the folder should be")
    with structlog.testing.capture_logs() as lines:
        write_counts(tmp_path, "crm", COUNTS)
    assert [line["event"] for line in lines] == ["request_counts_not_kept"]


def test_only_sources_that_were_asked_again_get_a_line() -> None:
    assert request_lines({"crm": COUNTS, "shop": RequestCounts(requests=9)}) == [
        "source crm: 1,234 requests in the last run, 34 of them repeats, 2.2 s waited; "
        "failed attempts: 5 rate limited, 30 transient"
    ]
