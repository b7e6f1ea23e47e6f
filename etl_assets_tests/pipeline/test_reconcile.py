"""Which days are asked about, and what is made of the answers; the till's server and a real warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from etl_assets.observability.progress import SilentReporter
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.reconcile import ComparedDay, Reconciled, reconcile
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams.base import Count, Stream
from etl_assets_tests.pipeline.till import BY_WINDOW, DAY, EVENTS, PEOPLE, PRESENT, event
from etl_assets_tests.sources.scripted import Asked, Reply, ScriptedServer, scripted_server

DAYS = [DAY + timedelta(days=number) for number in range(4)]
PER_DAY = 3
COUNTED = replace(EVENTS, extract=replace(BY_WINDOW, count=Count(header="X-Total-Count")))


class Till:
    """A till with some events a day; counts them in a header if it is told to.

    Attributes:
        more: Events beyond the usual ones, by day.
        counts: Whether it tells their number.
        broken: Days that it answers with a status of its own.
    """

    def __init__(self, *, counts: bool = True) -> None:
        self.more: dict[str, int] = {}
        self.counts = counts
        self.broken: dict[str, int] = {}

    def __call__(self, asked: Asked, number: int) -> Reply:
        if asked.path == "/v1/people":
            people = [event(n) for n in range(2 + self.more.get("people", 0))]
            return Reply(json.dumps({"data": people, "total": len(people)}).encode())
        day = asked.parameters["from"][:10]
        if day in self.broken:
            return Reply(status=self.broken[day])
        count = PER_DAY + self.more.get(day, 0)
        rows = [{"event_id": f"{day}-{n}", "happened_at": f"{day}T12:00:00Z"} for n in range(count)]
        headers = {"Content-Type": "application/json"} | (
            {"X-Total-Count": str(count)} if self.counts else {}
        )
        return Reply(json.dumps({"data": rows, "next_cursor": None}).encode(), headers=headers)


def environment(server: ScriptedServer, environment_of: Callable[..., dict[str, str]]) -> Environment:
    """Everything that a pipeline of the till works with."""
    return Environment.of(
        load_settings(environment_of(ETL_TILL_URL=server.url)), {COUNTED.id: "1", PRESENT.id: "1"}
    )


def load(
    made: Environment, stream: Stream, *days: date, now: datetime = datetime(2025, 4, 1, tzinfo=UTC)
) -> None:
    """Load days, one after the other."""
    with closing(made.open_source(stream.source)) as reader:
        pipeline = PartitionPipeline(
            environment=made,
            stream=stream,
            stages=frozenset(Stage),
            run_id="run",
            client=reader,
            now=lambda: now,
        )
        outcomes = list(run_partitions(pipeline, days, reporter=SilentReporter(), threads=1))
    assert all(outcome.status.is_published for outcome in outcomes), outcomes


def asked_days(server: ScriptedServer) -> list[str]:
    """Days that the server was asked about since the last time."""
    found = sorted(request.parameters["from"][:10] for request in server.asked)
    server.asked.clear()
    return found


def test_days_that_drifted_are_found_and_no_other_is(environment_of: Callable[..., dict[str, str]]) -> None:
    till = Till()
    with scripted_server(till) as server:
        made = environment(server, environment_of)
        load(made, COUNTED, *DAYS[:3])
        asked_days(server)
        till.more = {str(DAYS[0]): -1, str(DAYS[2]): 5, str(DAYS[3]): 1}
        (found,) = reconcile(made, [COUNTED], DAYS, SilentReporter())
        assert asked_days(server) == [str(day) for day in DAYS[:3]], (
            "a day that was never loaded is not asked for"
        )
    drifted = (ComparedDay(DAYS[0], 3, 2, ""), ComparedDay(DAYS[2], 3, 8, ""))
    assert found == Reconciled(COUNTED.id, equal=1, drifted=drifted, missing=1)
    assert found.asked == 3


def test_a_stream_that_was_never_loaded_is_not_asked_about(
    environment_of: Callable[..., dict[str, str]],
) -> None:
    with scripted_server(Till()) as server:
        made = environment(server, environment_of)
        assert reconcile(made, [COUNTED], DAYS, SilentReporter()) == [Reconciled(COUNTED.id, missing=4)]
        assert server.asked == []


@pytest.mark.parametrize("declared", [True, False])
def test_a_source_that_cannot_tell_is_asked_once_at_most(
    environment_of: Callable[..., dict[str, str]], declared: bool
) -> None:
    stream = COUNTED if declared else EVENTS
    with scripted_server(Till(counts=False)) as server:
        made = environment(server, environment_of)
        load(made, stream, *DAYS)
        asked_days(server)
        (found,) = reconcile(made, [stream], DAYS, SilentReporter())
        assert len(server.asked) == declared
    reason = "the answer has no header X-Total-Count" if declared else "the stream declares no count"
    assert found == Reconciled(stream.id, unknown=4, unknown_because=(reason,))


def test_a_day_that_cannot_be_asked_about_costs_no_other(
    environment_of: Callable[..., dict[str, str]],
) -> None:
    till = Till()
    with scripted_server(till) as server:
        made = environment(server, environment_of)
        load(made, COUNTED, *DAYS)
        till.broken = {str(DAYS[1]): 422}
        (found,) = reconcile(made, [COUNTED], DAYS, SilentReporter())
    assert (found.equal, [day.partition for day in found.failed]) == (3, [DAYS[1]])
    assert "422" in found.failed[0].reason


def test_a_refused_token_is_refused_once(environment_of: Callable[..., dict[str, str]]) -> None:
    till = Till()
    with scripted_server(till) as server:
        made = environment(server, environment_of)
        load(made, COUNTED, *DAYS)
        asked_days(server)
        till.broken = {str(day): 401 for day in DAYS}
        (found,) = reconcile(made, [COUNTED], DAYS, SilentReporter())
        assert len(server.asked) == 1
    assert len(found.failed) == 4
    assert len({day.reason for day in found.failed}) == 1


def test_the_present_is_about_the_newest_day_alone(environment_of: Callable[..., dict[str, str]]) -> None:
    stream = replace(PRESENT, extract=replace(PEOPLE, present_until=timedelta(days=9)))
    days = DAYS[:2]
    till = Till()
    with scripted_server(till) as server:
        made = environment(server, environment_of)
        loaded_at = datetime.combine(days[1] + timedelta(days=1), datetime.min.time(), UTC)
        load(made, stream, *days, now=loaded_at)
        till.more = {"people": 1}
        (found,) = reconcile(made, [stream], days, SilentReporter(), now=lambda: loaded_at)
        server.asked.clear()
        (later,) = reconcile(
            made, [stream], days, SilentReporter(), now=lambda: loaded_at + timedelta(days=1)
        )
        assert server.asked == []
    assert found.drifted == (ComparedDay(days[1], 2, 3, ""),)
    assert (found.unknown, later.unknown) == (1, 2)
    assert later.unknown_because == ("the source shows only the present",)
