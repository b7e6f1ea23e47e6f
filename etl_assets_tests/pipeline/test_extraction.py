"""From the source to landing: unchanged days, cut-short days, days that show only the present, days that shift."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etl_assets.demo.server import running_source
from etl_assets.failures import FailureClass
from etl_assets.landing.store import LandedPartition
from etl_assets.observability.logging import configure_logging
from etl_assets.outcomes import PartitionOutcome, Status
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.settings import Settings, load_settings
from etl_assets.sources.rest_reader import RestReader
from etl_assets.streams.base import Cursor, LinkHeader, ReplacePartition, Rest, Stream
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.pipeline.till import (
    BY_WINDOW,
    DAY,
    EVENTS,
    PEOPLE,
    PRESENT,
    SOURCE,
    Till,
    event,
    people,
)
from etl_assets_tests.sources.scripted import Asked, Reply, Script, ScriptedServer, scripted_server

SHOWN = datetime(2025, 3, 11, 2, tzinfo=UTC)
"""When the daily run for the day comes."""

GONE = datetime(2025, 3, 12, tzinfo=UTC)
"""From when on the day cannot be asked for any more."""

Make = Callable[..., dict[str, str]]


@contextmanager
def till_of(script: Script, environment_of: Make) -> Iterator[tuple[ScriptedServer, Settings]]:
    """Serve a script as the till; gives settings that point there."""
    with scripted_server(script) as server:
        yield server, load_settings(environment_of(ETL_TILL_URL=server.url))


def run(
    settings: Settings,
    stream: Stream = EVENTS,
    *,
    code: str = "v1",
    now: datetime = SHOWN,
    load: bool = False,
) -> PartitionOutcome:
    """Land the day, and load it if that is asked for."""
    environment = Environment.of(settings, {stream.id: code})
    stages = frozenset(Stage if load else {Stage.EXTRACT})
    with closing(environment.open_source(stream.source)) as reader:
        pipeline = PartitionPipeline(environment, stream, stages, "run", reader, now=lambda: now)
        return settle(pipeline)


def settle(pipeline: PartitionPipeline) -> PartitionOutcome:
    """Take the day as far as the pipeline goes."""
    with ExitStack() as stack:
        [outcome] = pipeline.settle(
            [pipeline.prepare(DAY)],
            lambda: stack.enter_context(pipeline.environment.warehouse.session("test")),
        )
        return outcome


def landed_of(settings: Settings, stream: Stream = EVENTS) -> LandedPartition | None:
    """Give what was landed of the day."""
    return Environment.of(settings, {}).landing.latest(stream.id, DAY)


def cursors(server: ScriptedServer) -> list[str | None]:
    """Give what was asked for, and forget it."""
    asked = [request.parameters.get("cursor") for request in server.asked]
    server.asked.clear()
    return asked


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> LandedPartition:
    """What the day's landing must become."""
    folder = str(tmp_path_factory.mktemp("undisturbed"))
    with till_of(Till(), lambda **more: {"ETL_DATA_DIR": folder, **more}) as (_, settings):
        assert run(settings).status is Status.DONE
        landed = landed_of(settings)
    assert landed is not None
    return landed


def check_same(landed: LandedPartition | None, expected: LandedPartition) -> None:
    """Whatever happened on the way, the landed answers are those of an undisturbed extraction."""
    assert landed is not None
    assert (landed.sha256, landed.manifest.compressed_bytes) == (
        expected.sha256,
        expected.manifest.compressed_bytes,
    )
    assert list(landed.pages()) == list(expected.pages())
    assert [path.name for path in landed.path.parent.iterdir()] == [landed.version]


BROKEN = Reply(b"{}", status=503)
REFUSED = Reply(b"{}", status=401)


@pytest.mark.parametrize("reply", [BROKEN, REFUSED, Reply(b"{}", status=404)], ids=lambda reply: reply.status)
def test_an_extraction_that_failed_goes_on_at_the_page_where_it_stopped(
    environment_of: Make, undisturbed: LandedPartition, reply: Reply
) -> None:
    till = Till(failing={"4": reply})
    with till_of(till, environment_of) as (server, settings):
        assert run(settings).status is Status.FAILED
        assert landed_of(settings) is None
        assert set(cursors(server)) == {None, "1", "2", "3", "4"}
        till.failing = {}
        assert run(settings).status is Status.DONE
        assert cursors(server) == ["4", "5"]
        check_same(landed_of(settings), undisturbed)


@pytest.mark.parametrize("change", ["code", "declaration", "address"])
def test_another_question_is_asked_from_the_beginning(
    environment_of: Make, undisturbed: LandedPartition, change: str
) -> None:
    till = Till(failing={"4": BROKEN})
    with till_of(till, environment_of) as (server, settings):
        run(settings)
        cursors(server)
        till.failing = {}
        stream, code, there = EVENTS, "v1", server
        if change == "code":
            code = "v2"
        elif change == "declaration":
            stream = replace(EVENTS, extract=replace(BY_WINDOW, parameters={"expand": "all"}))
        with scripted_server(Till()) as elsewhere:
            if change == "address":
                settings = load_settings(environment_of(ETL_TILL_URL=elsewhere.url))
                there = elsewhere
            assert run(settings, stream, code=code).status is Status.DONE
        assert cursors(there) == [None, "1", "2", "3", "4", "5"]
        check_same(landed_of(settings), undisturbed)


def test_a_day_that_still_goes_on_is_asked_from_the_beginning(
    environment_of: Make, undisturbed: LandedPartition
) -> None:
    till = Till(failing={"4": BROKEN})
    with till_of(till, environment_of) as (server, settings):
        run(settings, now=datetime(2025, 3, 10, 12, tzinfo=UTC))
        cursors(server)
        till.failing = {}
        assert run(settings).status is Status.DONE
        assert cursors(server) == [None, "1", "2", "3", "4", "5"]
        check_same(landed_of(settings), undisturbed)


def test_a_cursor_that_the_source_has_forgotten_costs_only_another_start(
    environment_of: Make, undisturbed: LandedPartition
) -> None:
    till = Till(failing={"4": BROKEN})
    with till_of(till, environment_of) as (server, settings):
        run(settings)
        cursors(server)
        forgotten = Reply(b'{"error": {"code": "expired_cursor"}}', status=400)

        def script(asked: Asked, number: int) -> Reply:
            return forgotten if number == 0 else Till()(asked, number)

        server.script = script
        assert run(settings).status is Status.DONE
        assert cursors(server) == ["4", None, "1", "2", "3", "4", "5"]
        check_same(landed_of(settings), undisturbed)


def test_a_forgotten_cursor_in_a_landed_answer_costs_only_another_start(environment_of: Make) -> None:
    """The first page has not changed in meaning, but the cursor in the landed one has run out since."""
    valid: list[str] = []

    def script(asked: Asked, number: int) -> Reply:
        cursor = asked.parameters.get("cursor")
        if cursor is None:
            valid.append(f"c{len(valid)}")
            if "if-none-match" in asked.headers:
                return Reply(b"", status=304)
            body = {"data": [event(1)], "next_cursor": valid[-1]}
            return Reply(json.dumps(body).encode(), headers={"ETag": 'W/"1"'})
        if cursor != valid[-1]:
            return Reply(b"{}", status=410)
        return Reply(json.dumps({"data": [event(2)], "next_cursor": None}).encode())

    with till_of(script, environment_of) as (server, settings):
        run(settings)
        assert cursors(server) == [None, "c0"]
        outcome = run(settings)
        assert (outcome.status, outcome.counts.extracted) == (Status.DONE, 2)
        assert cursors(server) == [None, "c0", None, "c2"]


@pytest.mark.parametrize("reply", [BROKEN, REFUSED], ids=["down", "refused"])
def test_what_is_no_fault_of_the_cursor_keeps_the_pages(
    environment_of: Make, undisturbed: LandedPartition, reply: Reply
) -> None:
    till = Till(failing={"2": BROKEN})
    with till_of(till, environment_of) as (server, settings):
        run(settings)
        till.failing = {"2": reply}
        cursors(server)
        run(settings)
        assert set(cursors(server)) == {"2"}
        till.failing = {}
        assert run(settings).status is Status.DONE
        assert cursors(server) == ["2", "3", "4", "5"]
        check_same(landed_of(settings), undisturbed)


def _run_in_a_process(variables: dict[str, str]) -> None:
    configure_logging("console", "CRITICAL")
    run(load_settings(variables))


def test_a_killed_extraction_goes_on_at_the_page_where_it_stopped(
    environment_of: Make, undisturbed: LandedPartition
) -> None:
    till = Till(failing={"3": Reply(b"{" * 100, stall_after=10)})
    with till_of(till, environment_of) as (server, settings):
        process = multiprocessing.get_context("spawn").Process(
            target=_run_in_a_process, args=(environment_of(ETL_TILL_URL=server.url),)
        )
        process.start()
        assert till.stalled.wait(60)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert list(dict.fromkeys(cursors(server))) == [None, "1", "2", "3"]
        assert landed_of(settings) is None
        till.failing = {}
        assert run(settings).status is Status.DONE
        assert cursors(server) == ["3", "4", "5"]
        check_same(landed_of(settings), undisturbed)


@pytest.mark.parametrize("stream_id", ["shop/order_lines", "shop/orders"])
def test_a_rerun_of_an_unchanged_day_transfers_nothing(environment_of: Make, stream_id: str) -> None:
    catalogue = discover_streams()
    extract = catalogue[stream_id].extract
    assert isinstance(extract, Rest)
    paginator = Cursor(page_size=25) if stream_id == "shop/order_lines" else LinkHeader(page_size=4)
    stream = replace(catalogue[stream_id], extract=replace(extract, paginator=paginator))
    with running_source(lines_per_day=60) as source:
        environment = Environment.of(load_settings(environment_of(source)), catalogue.code_versions)
        with closing(environment.open_source(stream.source)) as reader:
            assert isinstance(reader, RestReader)
            outcomes, counts = [], []
            for _ in range(2):
                pipeline = PartitionPipeline(environment, stream, frozenset(Stage), "run", reader)
                outcomes.append(settle(pipeline))
                counts.append(reader.client.statistics.read())
    first, second = outcomes
    pages = counts[0].requests
    assert pages > 1
    assert (counts[1].requests, counts[1].not_modified) == (2 * pages, pages)
    assert counts[1].bytes == counts[0].bytes
    assert sum(count for (_, how), count in source.stats.requests.items() if how == "304") == pages
    assert second.landing_version == first.landing_version
    assert second.status is first.status
    assert (second.counts.loaded, second.counts.unchanged) == (0, first.counts.loaded)
    assert first.counts.loaded > 0


@pytest.mark.parametrize(
    "now", [datetime(2025, 3, 10, tzinfo=UTC), SHOWN, GONE - timedelta(seconds=1)], ids=str
)
def test_the_present_is_asked_for_while_it_lasts(environment_of: Make, now: datetime) -> None:
    with till_of(people(6), environment_of) as (server, settings):
        outcome = run(settings, PRESENT, now=now)
        assert (outcome.status, outcome.counts.extracted) == (Status.DONE, 6)
        assert [asked.parameters for asked in server.asked] == [
            {"offset": "0", "limit": "4"},
            {"offset": "4", "limit": "4"},
        ]


@pytest.mark.parametrize(
    ("now", "failure_class", "message"),
    [
        (
            GONE,
            FailureClass.PERMANENT,
            "till shows only the present: people of 2025-03-10 cannot be had any more (such a day can be loaded "
            "while it lasts and shortly after, later only from landing)",
        ),
        (
            datetime(2025, 3, 9, 23, tzinfo=UTC),
            FailureClass.TRANSIENT,
            "till shows only the present: people of 2025-03-10 cannot be had yet (run it again on that day)",
        ),
    ],
    ids=["later", "before"],
)
def test_a_day_that_cannot_be_had_says_so(
    environment_of: Make, now: datetime, failure_class: FailureClass, message: str
) -> None:
    with till_of(people(6), environment_of) as (server, settings):
        outcome = run(settings, PRESENT, now=now)
        assert server.asked == []
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.failure_class) == (Status.FAILED, failure_class)
    assert (outcome.message, outcome.failure.affects_all) == (message, False)


def test_later_the_day_replays_from_landing(environment_of: Make, capfd: pytest.CaptureFixture[str]) -> None:
    with till_of(people(6), environment_of) as (server, settings):
        first = run(settings, PRESENT, load=True)
        server.asked.clear()
        server.script = people(9)
        configure_logging("json", "INFO")
        again = run(settings, PRESENT, now=GONE, load=True)
        configure_logging("console", "ERROR")
        assert server.asked == []
    assert (again.status, again.landing_version) == (Status.PUBLISHED, first.landing_version)
    assert again.counts.unchanged == 6
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    (told,) = [event for event in events if event["event"] == "replayed_from_landing"]
    assert (told["version"], told["stream"], told["partition"]) == (
        first.landing_version,
        "till/people",
        str(DAY),
    )


def test_a_longer_time_may_be_declared(environment_of: Make) -> None:
    longer = replace(PRESENT, extract=replace(PEOPLE, present_until=timedelta(days=3)))
    with till_of(people(6), environment_of) as (_, settings):
        assert run(settings, longer, now=GONE).status is Status.DONE


def test_a_copy_of_the_present_per_day(environment_of: Make) -> None:
    with till_of(people(6), environment_of) as (_, settings):
        outcome = run(settings, replace(PRESENT, write=ReplacePartition()), load=True)
        assert (outcome.status, outcome.counts.loaded) == (Status.PUBLISHED, 6)


def test_a_shift_while_pages_are_read_has_the_day_read_again(environment_of: Make) -> None:
    """One record goes while the second page is under way, and another slips between the two."""

    def script(asked: Asked, number: int) -> Reply:
        return people(6 if number == 0 else 5)(asked, number)

    with till_of(script, environment_of) as (server, settings):
        shifted = run(settings, PRESENT)
        assert shifted.failure is not None
        assert shifted.failure.failure_class is FailureClass.TRANSIENT
        assert "total went from 6 to 5 between two pages" in shifted.message
        assert "the day is read again from its start" in shifted.message
        assert landed_of(settings, PRESENT) is None
        again = run(settings, PRESENT, load=True)
        assert (again.status, again.counts.loaded) == (Status.PUBLISHED, 5)
        assert [asked.parameters["offset"] for asked in server.asked] == ["0", "4", "0", "4"]


def test_what_was_landed_of_another_day_is_not_asked_with(environment_of: Make) -> None:
    with till_of(people(6), environment_of) as (server, settings):
        run(settings, PRESENT)
        environment = Environment.of(settings, {PRESENT.id: "v1"})
        with closing(environment.open_source(SOURCE)) as reader:
            pipeline = PartitionPipeline(
                environment,
                PRESENT,
                frozenset({Stage.EXTRACT}),
                "run",
                reader,
                now=lambda: GONE,
            )
            assert pipeline.prepare(DAY + timedelta(days=1)).failure is None
        assert [asked.headers.get("if-none-match") for asked in server.asked] == [None] * 4
        run(settings, PRESENT)
        assert [asked.headers.get("if-none-match") for asked in server.asked[4:]] == ['"6 0"', '"6 4"']
