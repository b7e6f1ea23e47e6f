"""Documents all the way into the warehouse: failed ones are on record, and nothing else suffers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from etl_assets.failures import FailureClass
from etl_assets.landing.store import LandedPartition, Landing
from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import Counts, PartitionOutcome, Status
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams.base import DocumentFormat, Documents, ErrorBudget, Merge, Snapshot, Stream
from etl_assets.warehouse.failed_items import KnownItem, known_items
from etl_assets_tests.sources.library import (
    ARRAY,
    DOWN,
    NAMES,
    NOT_FOUND,
    Library,
    good,
    papers,
    running_library,
)
from etl_assets_tests.sources.scripted import Reply

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
REPLAY = frozenset({Stage.STAGE, Stage.COMMIT})
PERMANENT, TRANSIENT = FailureClass.PERMANENT.value, FailureClass.TRANSIENT.value


@pytest.fixture(scope="module")
def shared() -> Iterator[Library]:
    """One library for all tests."""
    with running_library() as running:
        yield running


@pytest.fixture
def library(shared: Library) -> Library:
    """The library, all of whose papers can be had at first."""
    shared.tell({})
    return shared


class Loading:
    """Loads papers into a warehouse of its own, and looks at it."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.settings = load_settings(variables)
        self.code_version = "1"

    def load(self, stream: Stream, day: date = YESTERDAY, **options: Any) -> PartitionOutcome:
        """Take a day to the warehouse, or through the given stages."""
        environment = Environment.of(self.settings, {stream.id: self.code_version})
        with closing(environment.open_source(stream.source)) as reader:
            usual: dict[str, Any] = {"stages": frozenset(Stage), "run_id": "run", "client": reader}
            pipeline = PartitionPipeline(environment, stream, **(usual | options))
            (outcome,) = run_partitions(pipeline, [day], reporter=SilentReporter(), threads=1)
        return outcome

    def retry(self, stream: Stream, *identifiers: str, day: date = YESTERDAY) -> PartitionOutcome:
        """Ask again for some papers of a day."""
        return self.load(stream, day, retry={day: set(identifiers)}, run_id="retry")

    def landed(self, day: date = YESTERDAY) -> LandedPartition:
        """Give what was landed last."""
        found = Landing(self.settings.landing_dir).latest("library/papers", day)
        assert found is not None
        return found

    def select(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse."""
        with Environment.of(self.settings, {}).warehouse.read("test") as connection:
            return connection.execute(query).fetchall()

    def items(self, state: str | None = "pending") -> list[KnownItem]:
        """Give the failed items."""
        with Environment.of(self.settings, {}).warehouse.read("test") as connection:
            return known_items(connection, "library/papers", state=state)

    def rows(self) -> list[str]:
        """Give the papers that the warehouse shows."""
        return [name for (name,) in self.select("SELECT paper_id FROM library.papers ORDER BY 1")]


@pytest.fixture
def loading(library: Library, environment_of: Callable[..., dict[str, str]]) -> Loading:
    """A warehouse of its own, fed from the library."""
    return Loading(environment_of(ETL_LIBRARY_URL=library.server.url))


def names(landed: LandedPartition) -> list[str | None]:
    """Give the identifiers of the landed documents, in order."""
    return [page.identifier for page in landed.manifest.pages]


def test_all_documents_are_loaded(loading: Loading) -> None:
    outcome = loading.load(papers())
    assert (outcome.status, outcome.message) == (Status.PUBLISHED, "")
    assert outcome.counts == Counts(extracted=5, staged=5, loaded=5)
    assert loading.select(
        "SELECT paper_id, pages, published, changed, _partition FROM library.papers WHERE paper_id = 'b'"
    ) == [("b", 7, date(2024, 5, 6), datetime(2025, 1, 2, 3, 4, 5), date(2024, 5, 6))]
    assert names(loading.landed()) == list(NAMES)
    assert {page.format for page in loading.landed().manifest.pages} == {"json"}
    assert loading.items(state=None) == []
    # Unchanged documents take no space and change no row.
    version = loading.landed().version
    assert loading.load(papers()).counts == Counts(extracted=5, staged=5, unchanged=5)
    assert loading.landed().version == version


def test_failed_documents_are_on_record_with_the_rows(loading: Loading, library: Library) -> None:
    library.tell({"b": NOT_FOUND, "d": DOWN})
    before = datetime.now(UTC).replace(tzinfo=None)
    outcome = loading.load(papers())
    assert outcome.status is Status.PUBLISHED_WITH_WARNINGS
    assert outcome.message == "2 of 5 items (40.0%) failed; see etl.failed_items"
    assert outcome.counts == Counts(extracted=3, staged=3, loaded=3, failed_items=2)
    assert outcome.counts.conserved
    assert loading.rows() == ["a", "c", "e"]
    b, d = loading.items()
    assert (b.identifier, b.stage, b.error_type, b.failure_class) == (
        "b",
        "extract",
        "SourceError",
        PERMANENT,
    )
    assert b.message == "there is no such document: library answered 404 Not Found to GET /papers/b"
    assert (d.identifier, d.failure_class, d.partition) == ("d", TRANSIENT, YESTERDAY)
    assert "503" in d.message
    for item in (b, d):
        assert item.attempts == 1
        assert before <= item.first_attempt_at == item.last_attempt_at
    for table in ("loads", "partitions"):
        assert loading.select(f"SELECT failed_items, run_id FROM etl.{table}") == [(2, "run")]


def test_a_repeat_counts_an_attempt_and_a_replay_does_not(loading: Loading, library: Library) -> None:
    library.tell({"b": NOT_FOUND})
    loading.load(papers())
    (first,) = loading.items()
    loading.load(papers(), stages=REPLAY)
    assert loading.items() == [first]
    assert loading.load(papers()).counts == Counts(extracted=4, staged=4, unchanged=4, failed_items=1)
    (again,) = loading.items()
    assert (again.attempts, again.first_attempt_at) == (2, first.first_attempt_at)
    assert again.last_attempt_at > first.last_attempt_at
    library.tell({})
    assert loading.load(papers()).counts == Counts(extracted=5, staged=5, loaded=1, unchanged=4)
    assert loading.items() == []
    assert [(item.identifier, item.state) for item in loading.items(state=None)] == [("b", "resolved")]
    library.tell({"b": DOWN})
    loading.load(papers())
    (third,) = loading.items()
    assert (third.attempts, third.failure_class) == (3, TRANSIENT)


def test_each_day_has_its_own_account(loading: Loading, library: Library) -> None:
    library.tell({"b": NOT_FOUND})
    loading.load(papers())
    library.tell({"b": NOT_FOUND, "c": NOT_FOUND})
    loading.load(papers(), TODAY)
    library.tell({})
    loading.load(papers(), TODAY)
    assert [(item.partition, item.identifier) for item in loading.items()] == [(YESTERDAY, "b")]
    assert {(item.partition, item.identifier) for item in loading.items("resolved")} == {
        (TODAY, "b"),
        (TODAY, "c"),
    }


def test_too_many_failures_withhold_the_day(loading: Loading, library: Library) -> None:
    stream = papers(budget=ErrorBudget(warn=0.1, fail=0.2))
    library.tell({"b": NOT_FOUND, "d": DOWN})
    outcome = loading.load(stream)
    assert outcome.status is Status.WITHHELD
    assert outcome.message == (
        "2 of 5 items (40.0%) failed, more than the budget of 20%; see etl.failed_items"
    )
    assert loading.rows() == []
    assert [item.identifier for item in loading.items()] == ["b", "d"]
    # A withheld attempt that has an item resolves nothing: its row is not there.
    library.tell({"b": DOWN, "c": DOWN})
    assert loading.load(stream).status is Status.WITHHELD
    assert [item.identifier for item in loading.items()] == ["b", "c", "d"]
    library.tell({})
    assert loading.retry(stream, "b", "c").status is Status.PUBLISHED
    assert loading.items() == []
    assert loading.rows() == list(NAMES)


def test_what_every_document_would_share_fails_the_day(loading: Loading, library: Library) -> None:
    loading.load(papers())
    library.tell({"b": NOT_FOUND, "c": Reply(status=401)})
    outcome = loading.load(papers())
    assert outcome.status is Status.FAILED
    assert outcome.failure is not None
    assert outcome.failure.affects_all
    assert "401 Unauthorized" in outcome.message
    assert loading.rows() == list(NAMES)
    assert loading.items(state=None) == []


UNREADABLE = {"b": ARRAY, "c": Reply(b'{"title": "no fields"}')}


def test_a_document_that_cannot_be_read_is_a_failed_item(loading: Loading, library: Library) -> None:
    library.tell(UNREADABLE)
    outcome = loading.load(papers())
    # "c" can be read, but breaks the contract: that is for the quarantine.
    assert outcome.counts == Counts(extracted=4, staged=3, loaded=3, quarantined=1, failed_items=1)
    assert outcome.counts.conserved
    (item,) = loading.items()
    assert (item.identifier, item.stage, item.error_type) == ("b", "stage", "UnreadableDocumentError")
    assert (item.failure_class, item.message) == (PERMANENT, "the document in json is not an object")
    assert names(loading.landed()) == list(NAMES), "it is kept for a mended parser"
    loading.load(papers(), stages=REPLAY)
    assert loading.items() == [item]


def first_of_list(body: bytes) -> dict[str, Any]:
    """Read what the first version of a parser did not understand."""
    value = json.loads(body)
    return {"title": value[0], "pages": 1} if isinstance(value, list) else value


def test_a_mended_parser_reads_it_from_landing(loading: Loading, library: Library) -> None:
    library.tell({"b": ARRAY})
    loading.load(papers())
    library.forget()
    loading.code_version = "2"
    mended = papers(
        formats=(DocumentFormat(name="json", parse=first_of_list),), budget=ErrorBudget(warn=1, fail=1)
    )
    outcome = loading.load(mended, stages=REPLAY)
    assert outcome.counts.failed_items == 0
    assert outcome.counts.extracted == 5
    assert loading.items() == []
    assert library.asked == []


@pytest.mark.parametrize("failing", [("a", "c", "d"), NAMES])
def test_a_retry_lands_what_an_undisturbed_extraction_would(
    loading: Loading, library: Library, failing: Sequence[str]
) -> None:
    stream = papers(budget=ErrorBudget(warn=1, fail=1), identifiers=(*NAMES, "f"))
    loading.load(stream, TODAY)
    library.tell(dict.fromkeys(failing, DOWN))
    loading.load(stream)
    broken = loading.landed()
    library.tell({})
    outcome = loading.retry(stream, *failing, "never heard of")
    assert sorted(library.asked) == sorted(failing)
    assert outcome.status is Status.PUBLISHED
    mended, undisturbed = loading.landed(), loading.landed(TODAY)
    assert mended.sha256 == undisturbed.sha256
    assert mended.version > broken.version
    assert mended.manifest.failed_items == ()
    assert list(mended.pages()) == list(undisturbed.pages())
    assert names(mended) == names(undisturbed)


def test_a_retry_keeps_what_it_was_not_asked_for(loading: Loading, library: Library) -> None:
    library.tell({"a": NOT_FOUND, "c": DOWN, "d": ARRAY})
    loading.load(papers(budget=ErrorBudget(warn=1, fail=1)))
    before = {item.identifier: item for item in loading.items()}
    library.tell({"c": DOWN, "d": DOWN, "b": good("b", title="changed meanwhile")})
    outcome = loading.retry(papers(budget=ErrorBudget(warn=1, fail=1)), "c", "d")
    assert sorted(set(library.asked)) == ["c", "d"]
    assert outcome.counts == Counts(extracted=2, staged=2, unchanged=2, failed_items=3)
    after = {item.identifier: item for item in loading.items()}
    assert after["a"] == before["a"]
    assert after["c"].attempts == 2
    # What was there, but could not be read, is not lost because the source is down.
    assert (after["d"].stage, after["d"].attempts) == ("stage", 2)
    assert loading.select("SELECT title FROM library.papers WHERE paper_id = 'b'") == [("On b",)]
    version = loading.landed().version
    library.forget()
    loading.retry(papers(budget=ErrorBudget(warn=1, fail=1)), "never heard of")
    assert (loading.landed().version, library.asked) == (version, [])


def test_a_retry_that_is_refused_leaves_all_as_it_was(loading: Loading, library: Library) -> None:
    library.tell({"b": DOWN, "d": DOWN})
    loading.load(papers())
    before, version = loading.items(), loading.landed().version
    library.tell({"d": Reply(status=401)})
    outcome = loading.retry(papers(), "b", "d")
    assert (outcome.status, outcome.counts.extracted) == (Status.FAILED, 0)
    assert loading.items() == before
    assert loading.landed().version == version
    assert loading.rows() == ["a", "c", "e"]
    assert loading.select("SELECT status, loaded_rows FROM etl.partitions") == [("failed", 3)]


def test_a_retry_needs_a_landed_day(loading: Loading) -> None:
    outcome = loading.retry(papers(), "a")
    assert outcome.status is Status.FAILED
    assert "nothing has been landed" in outcome.message


BROKEN = good("e", pages=0)
SNAPSHOT = Snapshot(key="paper_id", removed="mark", guard=1.0)


@pytest.mark.parametrize(("removed", "history"), [("mark", True), ("delete", False)])
def test_a_snapshot_takes_no_failed_document_for_removed(
    loading: Loading, library: Library, removed: Any, history: bool
) -> None:
    write = Snapshot(key="paper_id", removed=removed, history=history, guard=1.0)
    loading.load(papers(write=write))
    library.tell({"b": DOWN, "c": NOT_FOUND, "e": BROKEN})
    there = papers([name for name in NAMES if name != "d"], write=write)
    outcome = loading.load(there, TODAY)
    assert outcome.counts == Counts(
        extracted=2, staged=1, unchanged=1, quarantined=1, removed=1, failed_items=2
    )
    present = "WHERE _removed_on IS NULL" if removed == "mark" else ""
    shown = f"SELECT paper_id FROM library.papers {present} ORDER BY 1"
    assert [name for (name,) in loading.select(shown)] == ["a", "b", "c", "e"]
    # It changed meanwhile, as one knows now.
    library.tell({"b": good("b", pages=8)})
    outcome = loading.retry(there, "b", day=TODAY)
    assert outcome.counts == Counts(
        extracted=3, staged=2, loaded=1, updated=1, unchanged=1, quarantined=1, failed_items=1
    )
    found = loading.select(
        "SELECT paper_id, pages, _partition FROM library.papers WHERE paper_id IN ('b', 'c')"
    )
    assert sorted(found) == [("b", 8, TODAY), ("c", 7, YESTERDAY)]
    # No longer on the list is something else than failed, although the same documents came.
    gone = papers(["a", "b", "e"], write=write)
    assert loading.load(gone, TODAY).counts.removed == 1
    assert [name for (name,) in loading.select(shown)] == ["a", "b", "e"]
    assert loading.items() == []


def test_a_snapshot_must_be_known_by_identifier(loading: Loading) -> None:
    stream = papers(write=SNAPSHOT)

    def clean(raw: pd.DataFrame) -> pd.DataFrame:
        cleaned = stream.transform(raw)
        cleaned["paper_id"] = cleaned["paper_id"].str.upper()
        return cleaned

    outcome = loading.load(replace(stream, transform=clean))
    assert outcome.status is Status.FAILED
    assert "the snapshot's key 'paper_id' does not hold the identifiers" in outcome.message


def test_a_list_that_cannot_be_read_fails_the_day(loading: Loading, tmp_path: Path) -> None:
    stream = papers()
    assert isinstance(stream.extract, Documents)
    listed = replace(stream, extract=replace(stream.extract, identifiers=("a", "b c")))
    outcome = loading.load(listed)
    assert outcome.status is Status.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error_type == "ConfigurationError"


def test_a_newer_version_of_a_document_wins_in_any_order(loading: Loading, library: Library) -> None:
    stream = papers(["a"], write=Merge(key="paper_id", version="changed"))
    library.tell({"a": good("a", title="new", changed="2025-02-01T00:00:00Z")})
    loading.load(stream, TODAY)
    library.tell({"a": good("a", title="old")})
    loading.load(stream)
    assert loading.select("SELECT title, _partition FROM library.papers") == [("new", date(2024, 5, 6))]
