"""How fast a source is asked. Nothing here fails because a machine is slow: only waits that were too short are seen."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import structlog

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.observability.logging import configure_logging
from etl_assets.sources.client import SourceClient
from etl_assets.sources.pace import Pace, pace_of
from etl_assets.sources.rest import ensure_over, extract_pages
from etl_assets.streams.base import Cursor, Rest, RestSource, Window, WindowParameters
from etl_assets_tests.sources.clients import budget, open_client
from etl_assets_tests.sources.scripted import Asked, Reply, Script, in_turn, scripted_server

CLOCK_TOLERANCE = 0.02


@pytest.fixture(autouse=True)
def all_logs(quiet_logs: None) -> None:
    """Let every line through to the tests that look at them."""
    configure_logging("json", "DEBUG")


class Arrivals:
    """Notes when each request arrives."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.times: list[float] = []
        self._lock = threading.Lock()

    def __call__(self, asked: Asked, number: int) -> Reply:
        with self._lock:
            self.times.append(time.monotonic())
        return self.script(asked, number)


@pytest.mark.parametrize(("rate", "burst", "requests"), [(20.0, 1, 6), (20.0, 4, 9), (2.5, 3, 4)])
def test_requests_of_all_threads_keep_to_the_rate(rate: float, burst: int, requests: int) -> None:
    arrivals = Arrivals(in_turn(Reply()))
    source = RestSource(name="slow", requests_per_second=rate, burst=burst, concurrency=8)
    with (
        scripted_server(arrivals) as server,
        SourceClient(source, server.url, None) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        # From before the first request: when a request arrives says little about when it was let through.
        started = time.monotonic()
        list(pool.map(lambda _: client.get("/v1/rows"), range(requests)))
    assert len(arrivals.times) == requests
    assert max(arrivals.times) - started >= (requests - burst) / rate - CLOCK_TOLERANCE


def test_two_clients_of_one_source_share_its_rate() -> None:
    arrivals = Arrivals(in_turn(Reply()))
    source = RestSource(name="slow", requests_per_second=10.0)
    with scripted_server(arrivals) as server:
        started = time.monotonic()
        for _ in range(3):
            with SourceClient(source, server.url, None) as client:
                client.get("/v1/rows")
    assert arrivals.times[-1] - started >= 2 / 10 - CLOCK_TOLERANCE


def test_repeats_keep_to_the_rate_as_well() -> None:
    arrivals = Arrivals(in_turn(Reply(status=503), Reply(status=503), Reply()))
    source = RestSource(name="slow", requests_per_second=10.0, retry=budget())
    with scripted_server(arrivals) as server, SourceClient(source, server.url, None) as client:
        started = time.monotonic()
        client.get("/v1/rows")
    assert len(arrivals.times) == 3
    assert arrivals.times[-1] - started >= 2 / 10 - CLOCK_TOLERANCE


def test_other_sources_and_other_limits_have_a_pace_of_their_own() -> None:
    slow = RestSource(name="slow", requests_per_second=1.0)
    assert pace_of(slow, "http://a") is pace_of(RestSource(name="slow", requests_per_second=1.0), "http://a")
    assert pace_of(slow, "http://a") is not pace_of(slow, "http://b")
    assert pace_of(slow, "http://a") is not pace_of(RestSource(name="slow"), "http://a")


@pytest.mark.parametrize(
    "limits",
    [{"requests_per_second": 0}, {"requests_per_second": -1.0}, {"burst": 0}, {"concurrency": 0}],
)
def test_a_limit_that_cannot_be_kept_is_refused_when_it_is_declared(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="source slow"):
        RestSource(name="slow", **limits)


def test_429_with_retry_after_pauses_the_whole_source() -> None:
    refused = threading.Event()

    def script(asked: Asked, number: int) -> Reply:
        if asked.path == "/first" and number == 0:
            refused.set()
            return Reply(status=429, headers={"Retry-After": "0.4"})
        return Reply()

    arrivals = Arrivals(script)
    patient = budget(maximum_delay=5.0)
    with (
        scripted_server(arrivals) as server,
        open_client(server.url, retry=patient) as client,
        open_client(server.url, retry=patient) as other_client,
        ThreadPoolExecutor(2) as pool,
        structlog.testing.capture_logs() as lines,
    ):
        first = pool.submit(client.get, "/first")
        refused.wait(10)
        # The answer is on its way; what is asked once it has been read must wait.
        for _ in range(2000):
            if any(line["event"] == "source_paused" for line in lines):
                break
            time.sleep(0.005)
        second = pool.submit(other_client.get, "/second")
        assert (first.result(10).status, second.result(10).status) == (200, 200)
    assert [asked.path for asked in server.asked].count("/first") == 2
    assert all(later - arrivals.times[0] >= 0.4 - CLOCK_TOLERANCE for later in arrivals.times[1:])


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=429),
        Reply(status=503, headers={"Retry-After": "0.2"}),
        Reply(status=429, headers={"Retry-After": "soon"}),
    ],
    ids=["429 without", "503 with", "429 with nonsense"],
)
def test_nothing_else_pauses_the_source(reply: Reply) -> None:
    with (
        scripted_server(in_turn(reply, Reply())) as server,
        open_client(server.url) as client,
        structlog.testing.capture_logs() as lines,
    ):
        client.get("/v1/rows")
    assert [line["event"] for line in lines] == ["request_failed"]


def test_a_pause_is_capped_like_the_wait_itself() -> None:
    with (
        scripted_server(in_turn(Reply(status=429, headers={"Retry-After": "86400"}), Reply())) as server,
        open_client(server.url) as client,
        structlog.testing.capture_logs() as lines,
    ):
        client.get("/v1/rows")
    assert [line["seconds"] for line in lines if line["event"] == "source_paused"] == [0.01]


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    pace = Pace("slow", None, 1)
    started = time.monotonic()
    pace.pause(0.3)
    pace.pause(0.01)
    pace.wait()
    assert time.monotonic() - started >= 0.3


DAY = Window.of_day(date(2025, 1, 1))
LATE = Rest(
    path="/v1/rows",
    window=WindowParameters("from", "to"),
    paginator=Cursor(),
    records="data",
    lag=timedelta(hours=2),
)


@pytest.mark.parametrize(
    ("now", "over"),
    [
        (datetime(2025, 1, 1, 12, tzinfo=UTC), False),
        (datetime(2025, 1, 2, tzinfo=UTC), False),
        (datetime(2025, 1, 2, 1, 59, 59, tzinfo=UTC), False),
        (datetime(2025, 1, 2, 2, tzinfo=UTC), True),
        (datetime(2025, 1, 2, 3, 30, tzinfo=UTC), True),
    ],
)
def test_a_window_is_over_only_after_the_sources_lag(now: datetime, over: bool) -> None:
    if over:
        ensure_over("shop", LATE, DAY, now)
        return
    with pytest.raises(
        SourceError, match=r"read from 2025-01-02T02:00:00Z on.*2:00:00 late.*run again"
    ) as caught:
        ensure_over("shop", LATE, DAY, now)
    assert caught.value.failure_class is FailureClass.TRANSIENT
    assert not caught.value.affects_all


def test_a_day_within_the_lag_is_not_asked_for() -> None:
    today = Window.of_day(datetime.now(UTC).date())
    with scripted_server(in_turn(Reply())) as server, open_client(server.url) as client:
        with pytest.raises(SourceError, match="may still add to the window"):
            list(extract_pages(client, LATE, today))
        assert server.asked == []
