"""`etl-assets retry-failed`, with the documentation's own stream: asks for what failed, and for nothing else."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

import etl_assets.streams
from etl_assets.cli.retry_failed import SHOWN_ITEMS, RetryResult, print_result, run_retry
from etl_assets.cli.terminal import make_console
from etl_assets.failures import FailureClass
from etl_assets.outcomes import FailedItem
from etl_assets.settings import Settings
from etl_assets.streams.base import Snapshot
from etl_assets.streams.discovery import StreamCatalogue
from etl_assets.warehouse.failed_items import FailedItems, KnownItem, record_failed_items
from etl_assets.warehouse.opening import open_warehouse
from etl_assets_tests.integration.commands import PROJECT
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.instances import MATERIALIZED, partition_statuses
from etl_assets_tests.integration.warehouses import select
from etl_assets_tests.sources.library import NOT_FOUND, Library, papers, running_library
from etl_assets_tests.sources.scripted import Reply

PAGE = (PROJECT / "docs" / "sources" / "documents.md").read_text(encoding="utf-8")
FILE = "etl_assets/streams/library/papers.py"
STREAM = "library/papers"
# The source's patience is its usual one; being asked to come back at once, it has not long to wait.
DOWN = Reply(status=503, headers={"Retry-After": "0"})


def yesterday() -> date:
    """The day whose present can be had, and that is over."""
    return datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture
def library() -> Iterator[Library]:
    """The library of the example."""
    with running_library() as running:
        yield running


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The documentation's stream among the project's own; gives its folder."""
    (code,) = re.findall(rf"```python\n# {re.escape(FILE)}\n(.*?)```", PAGE, re.DOTALL)
    assert len(code.splitlines()) < 80
    folder = tmp_path / "streams" / "library"
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        (place / "__init__.py").touch()
    (folder / "papers.py").write_text(code, encoding="utf-8")
    (folder / "identifiers.txt").write_text("# Papers\na\nb/1\nc\nd\n\ne\na\nf\ng\n", encoding="utf-8")
    monkeypatch.setattr(etl_assets.streams, "__path__", [*etl_assets.streams.__path__, str(folder.parent)])
    yield folder
    for name in [name for name in sys.modules if name.startswith("etl_assets.streams.library")]:
        del sys.modules[name]


@pytest.fixture
def settings(library: Library, use: Use) -> Settings:
    """Settings that point at the library."""
    return use(ETL_LIBRARY_URL=library.server.url, ETL_LIBRARY_TOKEN="secret")


@pytest.mark.usefixtures("example")
def test_only_what_failed_is_asked_for_again(library: Library, settings: Settings, etl: Etl) -> None:
    day = yesterday().isoformat()
    library.tell({"b/1": DOWN, "c": NOT_FOUND})
    done = etl("backfill", STREAM, "--from", day, "--to", day, "--json")
    assert done.exit_code == 0
    assert done.published(STREAM) == 1
    assert (done.rows(STREAM)["loaded"], done.rows(STREAM)["failed_items"]) == (5, 2)

    library.forget()
    still = etl("retry-failed", STREAM, "--json")
    assert still.exit_code == 1
    assert set(library.asked) == {"b/1"}
    found = still.json()
    assert (found["retried"], found["resolved"], found["still_failed"]) == (1, 0, 1)
    (item,) = found["items"]
    assert (item["identifier"], item["partition"], item["state"]) == ("b/1", day, "pending")
    assert (item["attempts"], item["failure_class"]) == (2, "transient")
    assert found["notes"] == ["library/papers: 1 failed for good, left out; --all asks for them as well"]
    assert (found["problems"], found["exit_code"], len(found["run_ids"])) == ([], 1, 1)

    told = etl("status", STREAM)
    assert "warning: library/papers: 2 documents could not be had" in told.out
    assert etl("status", STREAM, "--json").json()["failed_items"] == {STREAM: 2}

    library.tell({})
    mended = etl("retry-failed", "library", "--all", "--from", day, "--to", day)
    assert mended.exit_code == 0
    assert sorted(library.asked) == ["b/1", "c"]
    assert "2 retried, 2 resolved, 0 still failed" in mended.out
    lines = [line.split() for line in mended.out.splitlines() if line.startswith(STREAM)]
    assert lines == [[STREAM, day, "b/1", "2", "resolved"], [STREAM, day, "c", "1", "resolved"]]
    rows = select(settings.warehouse_path, "SELECT paper_id FROM library.papers ORDER BY 1")
    assert [name for (name,) in rows] == ["a", "b/1", "c", "d", "e", "f", "g"]
    assert {state for layer in partition_statuses(settings, STREAM).values() for state in layer.values()} == {
        MATERIALIZED
    }

    library.forget()
    nothing = etl("retry-failed", STREAM)
    assert (nothing.exit_code, nothing.out) == (0, "nothing to retry\n")
    assert library.asked == []


@pytest.mark.usefixtures("example", "settings")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "2025-02-30"), "--from '2025-02-30' is not a day"),
        (("--from", "2025-02-02", "--to", "2025-02-01"), "is after --to"),
        (("library/books",), "unknown stream 'library/books'"),
    ],
)
def test_wrong_usage(etl: Etl, arguments: tuple[str, ...], words: str) -> None:
    done = etl("retry-failed", *arguments)
    assert done.exit_code == 2
    assert words in done.err


def test_nothing_to_do_without_a_warehouse(settings: Settings, etl: Etl) -> None:
    done = etl("retry-failed")
    assert (done.exit_code, done.out, done.err) == (0, "nothing to retry\n", "")
    assert not settings.warehouse_path.exists()


def test_a_past_day_of_a_snapshot_is_left_alone(library: Library, settings: Settings) -> None:
    stream = papers(write=Snapshot(key="paper_id"))
    past = date(2025, 1, 31)
    at = datetime(2025, 2, 1, tzinfo=UTC)
    item = FailedItem("a", "extract", FailureClass.TRANSIENT, "SourceError", "down", at, 0)
    with open_warehouse(settings).session("test") as session:
        record_failed_items(
            session.connection, FailedItems("library", "papers", past, [item], "run", published=True)
        )
    catalogue = StreamCatalogue({stream.id: stream}, {stream.id: Path(__file__)})
    result = run_retry(settings, catalogue, [stream], (date.min, date.max), quiet=True)
    assert (result.items, result.exit_code, library.asked) == ([], 0, [])
    assert result.notes == [
        "library/papers: 1 left out: the source shows only the present, and their days are over"
    ]


def test_what_is_still_missing_is_shown_first(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2025, 2, 1)
    items = [
        KnownItem(STREAM, at.date(), f"n{n}", "extract", "SourceError", "transient", "down", 1, at, at, state)
        for n, state in enumerate([*["resolved"] * SHOWN_ITEMS, "pending"])
    ]
    print_result(make_console(), RetryResult(items, problems=["library/papers 2025-02-01 failed: down"]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [STREAM, "2025-02-01", f"n{SHOWN_ITEMS}", "1", "failed:", "down"]
    assert lines[-3:] == [
        "and 1 more; see --json",
        "library/papers 2025-02-01 failed: down",
        f"{SHOWN_ITEMS + 1} retried, {SHOWN_ITEMS} resolved, 1 still failed",
    ]
