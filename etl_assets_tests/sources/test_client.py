"""The client of a source: addresses, credentials, limits, and when it stops asking."""

from __future__ import annotations

import gzip
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import certifi
import httpx
import pytest

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.sources.circuit import Circuit
from etl_assets.sources.client import Secret, SourceClient
from etl_assets.streams.base import BearerToken, Breaker, NoAuthentication, RestSource
from etl_assets_tests.sources.clients import TOKEN, Hidden, budget, open_client
from etl_assets_tests.sources.scripted import Asked, Reply, in_turn, scripted_server

GOOD = Reply()
DOWN = Reply(status=503)
SHOP = RestSource(name="shop", authentication=BearerToken())


def test_a_request_carries_token_and_parameters() -> None:
    with scripted_server(in_turn(GOOD)) as server, open_client(server.url) as client:
        answer = client.get("/v1/orders", {"updated_from": "2025-01-01T00:00:00Z", "page": "2"})
    (asked,) = server.asked
    assert asked.path == "/v1/orders"
    assert asked.parameters == {"updated_from": "2025-01-01T00:00:00Z", "page": "2"}
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert answer.body == GOOD.body
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.url == "/v1/orders?updated_from=2025-01-01T00%3A00%3A00Z&page=2"


def test_no_token_is_sent_to_a_source_that_asks_for_none() -> None:
    source = RestSource(name="open_data", authentication=NoAuthentication())
    with scripted_server(in_turn(GOOD)) as server, SourceClient(source, server.url, Hidden(TOKEN)) as client:
        client.get("/v1/things")
    assert "authorization" not in server.asked[0].headers


def test_a_path_in_the_address_goes_before_all_paths() -> None:
    with scripted_server(in_turn(GOOD)) as server, open_client(server.url + "/api/") as client:
        client.get("/v1/orders")
    assert server.asked[0].path == "/api/v1/orders"


def test_the_body_decides_not_the_content_type() -> None:
    mislabelled = Reply(b"[1]", headers={"Content-Type": "text/html"})
    with scripted_server(in_turn(mislabelled)) as server, open_client(server.url) as client:
        assert client.get("/v1/orders").json == [1]


def test_a_compressed_body_is_unpacked() -> None:
    packed = Reply(gzip.compress(b"[1, 2]"), headers={"Content-Encoding": "gzip"})
    with scripted_server(in_turn(packed)) as server, open_client(server.url) as client:
        assert client.get("/v1/orders").body == b"[1, 2]"
    assert server.asked[0].headers["accept-encoding"] == "gzip"


def test_a_bomb_of_zeros_is_not_unpacked_to_its_end() -> None:
    bomb = Reply(
        gzip.compress(b"[" + b" " * 100_000_000 + b"]", compresslevel=1), headers={"Content-Encoding": "gzip"}
    )
    with (
        scripted_server(in_turn(bomb)) as server,
        open_client(server.url) as client,
        pytest.raises(SourceError, match="more than 1,000,000 bytes") as caught,
    ):
        client.get("/v1/orders")
    assert caught.value.failure_class is FailureClass.PERMANENT


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.com",
        "example.com",
        "http://",
        "https:///v1",
        "",
        "http://user:word@example.com",
        "http://example.com/?key=1",
        "http://[1::",
        "http://example.com:port",
        "http://example.com\n/evil",
    ],
)
def test_an_unusable_address_names_its_variable(address: str) -> None:
    with pytest.raises(ConfigurationError, match="ETL_SHOP_URL") as caught:
        SourceClient(SHOP, address, Hidden(TOKEN))
    assert "word" not in str(caught.value).replace("password", "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "token",
    [
        None,
        Hidden(""),
        Hidden("abc\n"),
        Hidden("ab c"),
        Hidden("abc\x00"),
        Hidden("schlüssel"),
        Hidden("a\r\nX: y"),
    ],
)
def test_an_unusable_token_names_its_variable_and_is_not_shown(token: Secret | None) -> None:
    with pytest.raises(ConfigurationError, match="ETL_SHOP_TOKEN") as caught:
        SourceClient(SHOP, "http://127.0.0.1:1", token)
    assert "abc" not in str(caught.value)
    assert "schl" not in str(caught.value)


def test_proxies_of_the_environment_are_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with scripted_server(in_turn(GOOD)) as server, open_client(server.url) as client:
        assert client.get("/v1/orders").status == 200


def test_an_unusable_proxy_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy.invalid:1")
    monkeypatch.setenv("HTTPS_PROXY", "gopher://proxy.invalid:1")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        SourceClient(SHOP, "https://api.example.com", Hidden(TOKEN))


def test_certificates_are_read_once_and_again_when_others_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read: list[bool] = []

    def create(*, trust_env: bool) -> ssl.SSLContext:
        read.append(trust_env)
        return real(trust_env=trust_env)

    real = httpx.create_ssl_context
    monkeypatch.setattr(httpx, "create_ssl_context", create)
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    for _ in range(3):
        SourceClient(SHOP, "https://api.example.com", Hidden(TOKEN)).close()
    assert read in ([True], [])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        SourceClient(SHOP, "https://api.example.com", Hidden(TOKEN))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_not_followed(status: int) -> None:
    with scripted_server(in_turn(GOOD)) as elsewhere:
        moved = Reply(b"", status=status, headers={"Location": f"{elsewhere.url}/v1/orders"})
        with (
            scripted_server(in_turn(moved)) as server,
            open_client(server.url) as client,
            pytest.raises(SourceError, match=r"another address.*ETL_SHOP_URL") as caught,
        ):
            client.get("/v1/orders")
    assert caught.value.failure_class is FailureClass.PERMANENT
    assert elsewhere.asked == []


def test_a_redirect_within_the_source_is_followed() -> None:
    with (
        scripted_server(
            in_turn(Reply(b"", status=307, headers={"Location": "orders/?page=1"}), GOOD)
        ) as server,
        open_client(server.url) as client,
    ):
        assert client.get("/v1/orders").status == 200
    assert [asked.path for asked in server.asked] == ["/v1/orders", "/v1/orders/"]


def test_redirects_in_circles_end() -> None:
    with (
        scripted_server(in_turn(Reply(b"", status=302, headers={"Location": "/v1/orders"}))) as server,
        open_client(server.url) as client,
        pytest.raises(SourceError, match="in circles"),
    ):
        client.get("/v1/orders")
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "address",
    [
        "https://{host}/x",
        "http://{host}.evil.example/x",
        "//evil.example/x",
        "http://me:you@{host}/x",
        "http://[",
        "file:///etc/passwd",
    ],
)
def test_no_address_outside_the_source_is_asked(address: str) -> None:
    with scripted_server(in_turn(GOOD)) as server, open_client(server.url) as client:
        host = server.url.removeprefix("http://")
        with pytest.raises(SourceError) as caught:
            client.get(address.format(host=host))
    assert caught.value.failure_class is FailureClass.PERMANENT
    assert "you" not in str(caught.value)
    assert server.asked == []


def test_the_token_is_masked_where_an_address_repeats_it() -> None:
    with scripted_server(in_turn(GOOD)) as server, open_client(server.url) as client:
        assert client.get(f"{server.url}/v1/orders?key={TOKEN}").url == "/v1/orders?key=***"


def test_requests_at_once_are_bounded() -> None:
    both_there = threading.Barrier(2)

    def script(asked: Asked, number: int) -> Reply:
        if number < 2:
            both_there.wait(timeout=10)
        return Reply(delay=0.01)

    with (
        scripted_server(script) as server,
        open_client(server.url, concurrency=2) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda _: client.get("/v1/orders"), range(12)))
    assert len(answers) == 12
    assert server.most_at_once == 2


def test_waiting_for_a_repeat_holds_no_slot() -> None:
    other_done = threading.Event()

    def script(asked: Asked, number: int) -> Reply:
        if asked.path == "/first" and not other_done.is_set():
            return Reply(status=503, headers={"Retry-After": "0.05"})
        return GOOD

    patient = budget(attempts=1000, maximum_delay=1.0)
    with (
        scripted_server(script) as server,
        open_client(server.url, concurrency=1, retry=patient) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(client.get, "/first")
        client.get("/second")
        other_done.set()
        assert first.result(timeout=10).status == 200


def test_the_circuit_opens_after_failed_attempts_in_a_row() -> None:
    retry = budget(attempts=2)
    with (
        scripted_server(in_turn(DOWN)) as server,
        open_client(server.url, retry=retry, circuit=Circuit("shop", Breaker(failures=3))) as client,
    ):
        with pytest.raises(SourceError, match="503 Service Unavailable to GET /v1/orders, 2 times in a row"):
            client.get("/v1/orders")
        for _ in range(2):
            with pytest.raises(SourceError, match=r"did not answer 3 times in a row.*503") as caught:
                client.get("/v1/orders")
            assert caught.value.affects_all
            assert caught.value.failure_class is FailureClass.TRANSIENT
            assert len(server.asked) == 3, "neither a repeat nor another request was sent"
        assert client.statistics.read().requests == 3


def test_one_request_alone_does_not_open_the_circuit() -> None:
    """What is wrong with one day must not cost the others, however often it is tried."""

    def script(asked: Asked, number: int) -> Reply:
        return DOWN if asked.path == "/bad" else GOOD

    with (
        scripted_server(script) as server,
        open_client(
            server.url, retry=budget(attempts=6), circuit=Circuit("shop", Breaker(failures=3))
        ) as client,
    ):
        with pytest.raises(
            SourceError, match="503 Service Unavailable to GET /bad, 6 times in a row"
        ) as caught:
            client.get("/bad")
        assert not caught.value.affects_all
        assert client.get("/good").status == 200


def test_being_asked_for_patience_opens_the_circuit_only_when_it_is_of_no_use() -> None:
    slow_down = Reply(status=429, headers={"Retry-After": "0"})
    circuit = Circuit("shop", Breaker(failures=2))
    with (
        scripted_server(in_turn(slow_down)) as server,
        open_client(server.url, retry=budget(attempts=3), circuit=circuit) as client,
    ):
        for _ in range(2):
            with pytest.raises(SourceError, match=r"429.*3 times in a row"):
                client.get("/v1/orders")
        with pytest.raises(SourceError, match="not asking any further") as caught:
            client.get("/v1/orders")
        assert caught.value.failure_class is FailureClass.RATE_LIMITED
        assert len(server.asked) == 6


@pytest.mark.parametrize("between", [GOOD, Reply(status=404)], ids=["good", "not found"])
def test_any_answer_in_between_keeps_the_circuit_closed(between: Reply) -> None:
    replies = in_turn(DOWN, between, DOWN, between, DOWN, GOOD)
    with (
        scripted_server(replies) as server,
        open_client(
            server.url, retry=budget(attempts=1), circuit=Circuit("shop", Breaker(failures=2))
        ) as client,
    ):
        for _ in range(5):
            if between is not GOOD or len(server.asked) % 2 == 0:
                with pytest.raises(SourceError, match="answered"):
                    client.get("/v1/orders")
            else:
                client.get("/v1/orders")
        assert client.get("/v1/orders").status == 200


def test_an_open_circuit_lets_a_trial_pass_after_a_while() -> None:
    replies = in_turn(DOWN, DOWN, DOWN, GOOD)
    circuit = Circuit("shop", Breaker(failures=2, open_seconds=0.0))
    with (
        scripted_server(replies) as server,
        open_client(server.url, retry=budget(attempts=1), circuit=circuit) as client,
    ):
        for _ in range(3):
            with pytest.raises(SourceError):
                client.get("/v1/orders")
        assert len(server.asked) == 3, "the third was the trial, which failed"
        assert client.get("/v1/orders").status == 200
        assert client.get("/v1/orders").status == 200


def test_only_one_trial_at_a_time() -> None:
    circuit = Circuit("shop", Breaker(failures=1, open_seconds=0.0))
    circuit.attempt_failed(SourceError("down", source="shop"), "request")
    circuit.check()
    with pytest.raises(SourceError, match="in a row"):
        circuit.check()
    circuit.abandoned()
    circuit.check()
    circuit.succeeded()
    circuit.check()
    circuit.check()


def test_other_requests_wait_for_the_trial() -> None:
    at_trial, may_answer = threading.Event(), threading.Event()

    def script(asked: Asked, number: int) -> Reply:
        if number == 2:
            at_trial.set()
            may_answer.wait(timeout=20)
        return DOWN if number < 2 else GOOD

    circuit = Circuit("shop", Breaker(failures=2, open_seconds=0.0), patience=20.0)
    with (
        scripted_server(script) as server,
        open_client(server.url, retry=budget(attempts=1), circuit=circuit) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        for _ in range(2):
            with pytest.raises(SourceError):
                client.get("/v1/orders")
        trial = pool.submit(client.get, "/v1/orders")
        assert at_trial.wait(timeout=20)
        others = [pool.submit(client.get, "/v1/orders") for _ in range(3)]
        assert len(server.asked) == 3, "they were not sent yet"
        may_answer.set()
        assert [future.result(timeout=20).status for future in (trial, *others)] == [200] * 4


def test_a_refused_token_stays_refused_whatever_else_is_said() -> None:
    circuit = Circuit("shop", Breaker(failures=1, open_seconds=0.0))
    refused = SourceError(
        "refused", source="shop", affects_all=True, failure_class=FailureClass.PERMANENT, hint="check"
    )
    circuit.given_up(refused, "one")
    circuit.given_up(SourceError("unreachable", source="shop", affects_all=True), "another")
    circuit.succeeded()
    for _ in range(2):
        with pytest.raises(SourceError, match="refused") as caught:
            circuit.check()
        assert caught.value is not refused, "threads must not share one exception and its traceback"
