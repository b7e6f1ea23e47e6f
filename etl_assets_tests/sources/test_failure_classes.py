"""Each way in which a source can fail, against a real server: its class, its repeats, its message."""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import structlog

from etl_assets.failures import FailureClass, SourceError
from etl_assets.observability.logging import configure_logging
from etl_assets.sources.http_failures import retry_after
from etl_assets_tests.sources.clients import TOKEN, budget, open_client
from etl_assets_tests.sources.scripted import Reply, in_turn, scripted_server

GOOD = Reply()
LONG = b'{"data": [' + b'"' + b"x" * 500 + b'"]}'
HTML = Reply(b"<html><body>Bad gateway</body></html>", headers={"Content-Type": "text/html"})
TRUE_GZIP = gzip.compress(LONG)

TRANSIENT = {
    "408": Reply(status=408),
    "425": Reply(status=425),
    "429": Reply(status=429),
    "500": Reply(status=500),
    "502": Reply(status=502),
    "503": Reply(status=503),
    "504": Reply(status=504),
    "522 of a proxy": Reply(status=522),
    "html with 200": HTML,
    "html error page": Reply(b"<html>", status=503, headers={"Content-Type": "text/html"}),
    "empty body": Reply(b""),
    "cut off": Reply(LONG, cut_after=100),
    "cut off, length unknown": Reply(LONG[:100], declare_length=False),
    "stalled body": Reply(LONG, stall_after=100),
    "slow headers": Reply(delay=0.4),
    "hung up": Reply(hang_up=True),
    "cut off in gzip": Reply(TRUE_GZIP, headers={"Content-Encoding": "gzip"}, cut_after=20),
    "damaged gzip": Reply(b"\x1f\x8b" + b"\x00" * 40, headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT.keys())
def test_a_transient_failure_is_repeated_until_it_passes(reply: Reply) -> None:
    with (
        scripted_server(in_turn(reply, reply, GOOD)) as server,
        open_client(server.url, timeout=0.2) as client,
    ):
        answer = client.get("/v1/orders")
        assert answer.json == {"data": []}
        assert answer.attempts == 3
        assert len(server.asked) == 3
        counts = client.statistics.read()
        assert (counts.requests, counts.retries, counts.failures) == (3, 2, 2)
        assert counts.bytes == len(GOOD.body)


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT.keys())
def test_a_transient_failure_that_stays_ends_after_its_attempts(reply: Reply) -> None:
    with (
        scripted_server(in_turn(reply)) as server,
        open_client(server.url, timeout=0.2, retry=budget(attempts=2)) as client,
    ):
        with pytest.raises(SourceError, match=r"/v1/orders.*2 times in a row") as caught:
            client.get("/v1/orders")
        assert len(server.asked) == 2
        assert caught.value.failure_class.retryable
        assert not caught.value.affects_all
        assert "\n" not in str(caught.value)
        answered_badly = reply.status != 200
        assert not answered_badly or caught.value.status == reply.status


PERMANENT = {
    "400": Reply(status=400),
    "404": Reply(status=404),
    "409": Reply(status=409),
    "410": Reply(status=410),
    "422": Reply(status=422),
    "501": Reply(status=501),
    "204 without a body": Reply(b"", status=204),
    "206 a part": Reply(status=206),
    "304 unasked for": Reply(b"", status=304),
    "300 without an address": Reply(status=300),
    "unknown encoding": Reply(headers={"Content-Encoding": "br"}),
    "nested encoding": Reply(gzip.compress(TRUE_GZIP), headers={"Content-Encoding": "gzip, gzip"}),
    "too large": Reply(b"[" + b" " * 1_000_000 + b"]"),
    "nested too deeply": Reply(b"[" * 100_000 + b"]" * 100_000),
}


@pytest.mark.parametrize("reply", PERMANENT.values(), ids=PERMANENT.keys())
def test_a_permanent_failure_is_never_repeated(reply: Reply) -> None:
    with scripted_server(in_turn(reply, GOOD)) as server, open_client(server.url) as client:
        with pytest.raises(SourceError) as caught:
            client.get("/v1/orders")
        assert caught.value.failure_class is FailureClass.PERMANENT
        assert not caught.value.affects_all
        assert len(server.asked) == 1
        assert client.get("/v1/orders").json == {"data": []}, "one bad path must not end all others"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_ends_all_requests_and_names_the_variable(status: int) -> None:
    with scripted_server(in_turn(Reply(status=status))) as server, open_client(server.url) as client:
        for path in ("/v1/orders", "/v1/order-lines"):
            with pytest.raises(SourceError, match="ETL_SHOP_TOKEN") as caught:
                client.get(path)
            assert caught.value.failure_class is FailureClass.PERMANENT
            assert caught.value.affects_all
            assert caught.value.status == status
            assert TOKEN not in str(caught.value)
        assert len(server.asked) == 1


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_no_server_is_said_soon_and_once(host: str) -> None:
    url = f"http://{host}:{unused_port()}"
    with open_client(url, retry=budget(attempts=2)) as client:
        for _ in range(2):
            with pytest.raises(
                SourceError, match=r"cannot be reached.*is the server running\? check ETL_SHOP_URL"
            ) as caught:
                client.get("/v1/orders")
            assert caught.value.failure_class is FailureClass.TRANSIENT
            assert caught.value.affects_all
        assert client.statistics.read().requests == 2, "the second call must not have tried again"


def test_a_refused_connection_is_given_up_before_the_budget_is_used_up() -> None:
    patient = budget(attempts=1000, first_delay=2.0, maximum_delay=60.0, total=600.0)
    with open_client(f"http://127.0.0.1:{unused_port()}", retry=patient) as client:
        with pytest.raises(SourceError, match="the connection was refused"):
            client.get("/v1/orders")
        assert client.statistics.read().seconds_waited <= 3.0


def test_a_server_without_tls_behind_an_https_address_is_permanent() -> None:
    with (
        scripted_server(in_turn(GOOD)) as server,
        open_client(server.url.replace("http:", "https:")) as client,
    ):
        with pytest.raises(SourceError, match=r"TLS.*check ETL_SHOP_URL") as caught:
            client.get("/v1/orders")
        assert caught.value.failure_class is FailureClass.PERMANENT
        assert caught.value.affects_all
        assert client.statistics.read().requests == 1


def test_a_certificate_that_nobody_vouches_for_is_permanent(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl, which makes the certificate, is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=shop"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with (
        scripted_server(in_turn(GOOD), tls=context) as server,
        open_client(server.url) as client,
    ):
        with pytest.raises(SourceError, match=r"certificate cannot be trusted.*check ETL_SHOP_URL") as caught:
            client.get("/v1/orders")
        assert caught.value.failure_class is FailureClass.PERMANENT
        assert caught.value.affects_all
        assert client.statistics.read().requests == 1
    assert server.asked == [], "it was not shown the token"


def test_rate_limiting_has_its_own_class() -> None:
    slow_down = Reply(status=429, headers={"Retry-After": "7"})
    with (
        scripted_server(in_turn(slow_down)) as server,
        open_client(server.url) as client,
        pytest.raises(SourceError, match="fewer requests") as caught,
    ):
        client.get("/v1/orders")
    assert caught.value.failure_class is FailureClass.RATE_LIMITED
    assert caught.value.retry_after == 7.0


def test_retry_after_in_seconds_is_waited_for() -> None:
    slow_down = Reply(status=429, headers={"Retry-After": "0.3"})
    patient = budget(maximum_delay=5.0)
    with (
        scripted_server(in_turn(slow_down, GOOD)) as server,
        open_client(server.url, retry=patient) as client,
    ):
        client.get("/v1/orders")
        assert 0.3 <= client.statistics.read().seconds_waited < 0.4


def test_retry_after_is_capped() -> None:
    for_ever = Reply(status=503, headers={"Retry-After": "86400"})
    with scripted_server(in_turn(for_ever, GOOD)) as server, open_client(server.url) as client:
        client.get("/v1/orders")
        assert client.statistics.read().seconds_waited == pytest.approx(0.01)


NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("12", 12.0),
        (" 3 ", 3.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("Wednesday, 01-Jan-25 12:00:05 GMT", 5.0),
        ("-5", None),
        ("soon", None),
        ("Wed, 99 Foo 2025 99:99:99 GMT", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_both_forms_of_retry_after_are_read(value: str, seconds: float | None) -> None:
    headers = {"retry-after": value, "date": format_datetime(NOW, usegmt=True)}
    assert retry_after(headers) == seconds


def test_a_date_without_the_sources_own_clock_counts_from_ours() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    seconds = retry_after({"retry-after": until})
    assert seconds is not None
    assert 3500 < seconds <= 3600


def test_the_total_time_is_bounded_however_many_attempts_are_allowed() -> None:
    slow_down = Reply(status=503, headers={"Retry-After": "2"})
    hasty = budget(attempts=100, maximum_delay=10.0, total=1.0)
    with scripted_server(in_turn(slow_down)) as server, open_client(server.url, retry=hasty) as client:
        with pytest.raises(SourceError):
            client.get("/v1/orders")
        assert len(server.asked) == 1


def test_a_body_that_trickles_for_ever_ends_with_the_total_time() -> None:
    trickle = Reply(b"[" + b" " * 200 + b"]", trickle=0.1)
    hasty = budget(attempts=1, total=0.5)
    with (
        scripted_server(in_turn(trickle)) as server,
        open_client(server.url, retry=hasty, timeout=1.0) as client,
        pytest.raises(SourceError, match=r"took more than 0.5 s") as caught,
    ):
        client.get("/v1/orders")
    assert caught.value.failure_class is FailureClass.TRANSIENT


def test_every_failed_attempt_is_one_line_in_the_log() -> None:
    configure_logging("json", "DEBUG")
    with (
        scripted_server(in_turn(Reply(status=503), Reply(LONG, cut_after=9), GOOD)) as server,
        open_client(server.url) as client,
        structlog.testing.capture_logs() as lines,
    ):
        client.get("/v1/orders", {"cursor": "abc"})
    assert [line["event"] for line in lines] == ["request_failed", "request_failed"]
    first, second = lines
    assert (first["source"], first["path"], first["status"], first["attempt"]) == (
        "shop",
        "/v1/orders",
        503,
        1,
    )
    assert (second["status"], second["attempt"]) == (None, 2)
    assert first["failure_class"] == second["failure_class"] == "transient"
    assert first["wait"] > 0


def test_the_sources_own_error_code_is_shown_but_not_its_message() -> None:
    body = b'{"error": {"code": "invalid_window", "message": "jane.doe@example.com may not"}}'
    with (
        scripted_server(in_turn(Reply(body, status=400))) as server,
        open_client(server.url) as client,
        pytest.raises(SourceError, match="invalid_window") as caught,
    ):
        client.get("/v1/orders")
    assert "jane" not in str(caught.value)


@pytest.mark.parametrize("code", [f'"{TOKEN}"', '"two words"', "7", "{}"])
def test_an_error_code_that_is_none_is_left_out(code: str) -> None:
    body = b'{"error": {"code": %s}}' % code.encode()
    with (
        scripted_server(in_turn(Reply(body, status=400))) as server,
        open_client(server.url) as client,
        pytest.raises(SourceError, match=r"answered 400 Bad Request to GET /v1/orders$"),
    ):
        client.get("/v1/orders")
