"""What people can see of a circuit breaker: its events, its state, its file, and the line in `etl-assets status`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from etl_assets.cli.main import app_for
from etl_assets.cli.status import circuit_lines
from etl_assets.failures import FailureClass, SourceError
from etl_assets.observability.logging import configure_logging
from etl_assets.resources.source import SourceResource
from etl_assets.settings import load_settings
from etl_assets.sources.circuit import Circuit
from etl_assets.sources.circuit_file import CircuitFile, read_circuits
from etl_assets.sources.circuit_state import CircuitState, CircuitStatus
from etl_assets.sources.rest_reader import RestReader
from etl_assets.streams.base import Breaker, Cursor, Rest, RestSource, RetryBudget, WindowParameters
from etl_assets_tests.sources.clients import budget, open_client
from etl_assets_tests.sources.scripted import Reply, in_turn, scripted_server

DOWN = Reply(status=503)
GOOD = Reply()


@pytest.fixture(autouse=True)
def all_logs(quiet_logs: None) -> None:
    """Let every line through to the tests that look at them."""
    configure_logging("json", "DEBUG")


def test_each_change_is_one_event_and_one_report() -> None:
    reports: list[CircuitState] = []
    circuit = Circuit("shop", Breaker(failures=2, open_seconds=0.0), on_change=reports.append)
    replies = in_turn(GOOD, DOWN, DOWN, DOWN, GOOD, GOOD)
    with (
        scripted_server(replies) as server,
        open_client(server.url, retry=budget(attempts=1), circuit=circuit) as client,
        structlog.testing.capture_logs() as lines,
    ):
        client.get("/v1/rows")
        for _ in range(3):
            with pytest.raises(SourceError):
                client.get("/v1/rows")
        failed = client.circuit_state
        client.get("/v1/rows")
        client.get("/v1/rows")
        recovered = client.circuit_state
    events = [line for line in lines if line["event"].startswith("circuit_")]
    assert [line["event"] for line in events] == [
        "circuit_opened",
        "circuit_half_open",
        "circuit_opened",
        "circuit_half_open",
        "circuit_closed",
    ]
    assert all(line["source"] == "shop" for line in events)
    assert [report.state.value for report in reports] == [
        "closed",
        "open",
        "half_open",
        "open",
        "half_open",
        "closed",
    ]
    assert (failed.state, failed.failures) == (CircuitStatus.OPEN, 3)
    assert "503" in failed.last_error
    assert (recovered.state, recovered.failures, recovered.last_error) == (CircuitStatus.CLOSED, 0, "")
    assert reports[0].since <= reports[1].since <= reports[-1].since


def test_failures_that_do_not_open_it_are_counted() -> None:
    circuit = Circuit("shop", Breaker(failures=5))
    circuit.attempt_failed(SourceError("shop\nbroke off", source="shop"), "request")
    state = circuit.state
    assert (state.state, state.failures, state.last_error) == (CircuitStatus.CLOSED, 1, "shop broke off")


def test_a_refused_token_is_told_once_and_stays() -> None:
    reports: list[CircuitState] = []
    circuit = Circuit("shop", on_change=reports.append)
    refused = SourceError("401", source="shop", affects_all=True, failure_class=FailureClass.PERMANENT)
    circuit.given_up(refused, "request")
    circuit.given_up(refused, "request")
    circuit.succeeded()
    assert [report.state for report in reports] == [CircuitStatus.OPEN]
    assert circuit.state.state is CircuitStatus.OPEN


def test_an_abandoned_trial_leaves_it_open() -> None:
    circuit = Circuit("shop", Breaker(failures=1, open_seconds=0.0))
    circuit.attempt_failed(SourceError("down", source="shop"), "request")
    circuit.check()
    states = [circuit.state.state]
    circuit.abandoned()
    states.append(circuit.state.state)
    assert states == [CircuitStatus.HALF_OPEN, CircuitStatus.OPEN]


STATE = CircuitState(CircuitStatus.OPEN, datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), 5, "shop answered 503")


def test_a_state_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    CircuitFile(folder / "shop.json").record(STATE)
    assert read_circuits(folder) == {"shop": STATE}
    assert [path.name for path in folder.iterdir()] == ["shop.json"]


def test_a_source_that_was_never_in_trouble_has_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    file = CircuitFile(folder / "shop.json")
    closed = CircuitState(CircuitStatus.CLOSED, STATE.since)
    file.record(closed)
    assert not folder.exists()
    file.record(STATE)
    file.record(closed)
    assert read_circuits(folder) == {"shop": closed}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"state": "ajar"}', b"\xff"])
def test_a_damaged_file_is_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shop.json").write_bytes(content)
    CircuitFile(tmp_path / "erp.json").record(STATE)
    assert read_circuits(tmp_path) == {"erp": STATE}


def test_a_folder_that_cannot_be_written_costs_no_request(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with structlog.testing.capture_logs() as lines:
        CircuitFile(tmp_path / "state" / "shop.json").record(STATE)
    assert [line["event"] for line in lines] == ["circuit_state_not_kept"]


def test_a_later_run_that_gets_an_answer_closes_what_an_earlier_one_left_open(tmp_path: Path) -> None:
    source = RestSource(name="crm", retry=RetryBudget(attempts=1))
    rest = Rest(path="/v1/rows", window=WindowParameters("from", "to"), paginator=Cursor(), records="data")
    with scripted_server(in_turn(Reply(status=401), Reply(b'{"data": [], "next_cursor": null}'))) as server:
        settings = load_settings({"ETL_DATA_DIR": str(tmp_path), "ETL_CRM_URL": server.url})
        with RestReader(source, settings.source("crm")) as reader, pytest.raises(SourceError):
            list(reader.pages(rest, date(2025, 1, 1)))
        assert read_circuits(settings.state_dir)["crm"].state is CircuitStatus.OPEN
        with RestReader(source, settings.source("crm")) as reader:
            list(reader.pages(rest, date(2025, 1, 1)))
    assert read_circuits(settings.state_dir)["crm"].state is CircuitStatus.CLOSED


def test_only_sources_in_trouble_get_a_line() -> None:
    closed = CircuitState(CircuitStatus.CLOSED, STATE.since)
    half = CircuitState(CircuitStatus.HALF_OPEN, STATE.since, 6, "shop answered 503")
    lines = circuit_lines({"crm": closed, "erp": STATE, "shop": half})
    assert lines == [
        "source erp: circuit open since 2025-01-02 03:04:05 UTC (failures in a row: 5), last error: shop answered 503",
        "source shop: circuit half open since 2025-01-02 03:04:05 UTC (failures in a row: 6), "
        "last error: shop answered 503",
    ]


def test_status_shows_it(
    tmp_path: Path, environment_of: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of().items():
        monkeypatch.setenv(name, value)
    CircuitFile(load_settings().state_dir / "shop.json").record(STATE)
    shown = CliRunner().invoke(app_for([]), ["status"])
    assert "source shop: circuit open since 2025-01-02 03:04:05 UTC" in shown.output
    found: dict[str, Any] = json.loads(CliRunner().invoke(app_for([]), ["status", "--json"]).stdout)
    assert found["circuits"]["shop"]["state"] == "open"


def test_an_open_circuit_tells_how_long_to_wait() -> None:
    circuit = Circuit("shop", Breaker(failures=1, open_seconds=600.0))
    assert circuit.seconds_open() == 0
    circuit.attempt_failed(SourceError("down", source="shop"), "request")
    assert 500 < circuit.seconds_open() <= 600
    refused = SourceError("401", source="shop", affects_all=True, failure_class=FailureClass.PERMANENT)
    circuit.given_up(refused, "request")
    assert circuit.seconds_open() == 0, "waiting mends no token"


def test_a_run_waits_for_the_trial_that_is_due(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each opening of the source in a run knows what the ones before have seen."""
    breaker = Breaker(failures=1, open_seconds=0.5)
    source = RestSource(name="crm", retry=RetryBudget(attempts=1), breaker=breaker)
    rest = Rest(path="/v1/rows", window=WindowParameters("from", "to"), paginator=Cursor(), records="data")
    with scripted_server(in_turn(DOWN, Reply(b'{"data": [], "next_cursor": null}'))) as server:
        monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path))
        monkeypatch.setenv("ETL_CRM_URL", server.url)
        resource = SourceResource()
        with resource.open(source) as reader, pytest.raises(SourceError):
            list(reader.pages(rest, date(2025, 1, 1)))
        with resource.open(source) as reader:
            assert len(list(reader.pages(rest, date(2025, 1, 1)))) == 1
        assert len(server.asked) == 2
