"""Authorisation, parameters, caching headers, compression and the control endpoints."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from etl_assets.demo.app import create_app
from etl_assets.demo.clock import Clock
from etl_assets.demo.control import SourceControl
from etl_assets.demo.faults import Faults
from etl_assets.demo.generator import GeneratedShop
from etl_assets.demo.server import running_source
from etl_assets_tests.demo.conftest import Api

DAY = {"from_": "2010-12-01T00:00:00Z", "to": "2010-12-02T00:00:00Z"}
ORDERS = {"updated_from": "2010-12-01T00:00:00Z", "updated_to": "2010-12-02T00:00:00Z"}
PATHS = ["/v1/order-lines", "/v1/orders", "/v1/customers", "/v1/products/changes", "/v1/absent"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "demo-token", "Basic demo-token"])
def test_a_token_is_asked_for(small: Api, path: str, header: str | None) -> None:
    answer = httpx.get(small.source.url + path, headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"code", "message"}


def test_health_needs_no_token(small: Api) -> None:
    answer = httpx.get(small.source.url + "/v1/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("/v1/order-lines", {}, "from is missing"),
        ("/v1/order-lines", {"from_": DAY["from_"]}, "to is missing"),
        ("/v1/order-lines", {**DAY, "from_": "yesterday"}, "from is not an RFC 3339 time"),
        ("/v1/order-lines", {**DAY, "to": "2010-12-02T00:00:00"}, "to has no zone"),
        ("/v1/order-lines", {"from_": DAY["to"], "to": DAY["from_"]}, "to is before from"),
        ("/v1/order-lines", {**DAY, "limit": 10_001}, "limit must be a whole number from 1 to 10000"),
        ("/v1/order-lines", {**DAY, "limit": 0}, "limit must be"),
        ("/v1/order-lines", {**DAY, "limit": "²"}, "limit must be"),
        ("/v1/order-lines", {**DAY, "cursor": "nonsense"}, "cursor is not one"),
        ("/v1/orders", {}, "updated_from is missing"),
        ("/v1/orders", {**ORDERS, "page": 0}, "page must be"),
        ("/v1/orders", {**ORDERS, "per_page": 1001}, "per_page must be a whole number from 1 to 1000"),
        ("/v1/customers", {"limit": 1001}, "limit must be a whole number from 1 to 1000"),
        ("/v1/customers", {"offset": -1}, "offset must be"),
        ("/v1/products/changes", {"limit": 5001}, "limit must be a whole number from 1 to 5000"),
        ("/v1/products/changes", {"after_lsn": "x"}, "after_lsn must be"),
    ],
)
def test_bad_parameters_are_named(small: Api, path: str, query: dict[str, str | int], message: str) -> None:
    answer = small.get(path, **query)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("bound", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9Z"])
def test_the_ends_of_the_calendar_are_served(small: Api, bound: str) -> None:
    window = sorted([bound, "2010-12-02T00:00:00Z"])
    small.get("/v1/order-lines", from_=window[0], to=window[1]).raise_for_status()
    small.get("/v1/orders", updated_from=window[0], updated_to=window[1]).raise_for_status()


def test_unknown_path_and_method(small: Api) -> None:
    assert small.get("/v1/absent").json()["error"]["code"] == "not_found"
    answer = small.client.post("/v1/orders")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


def test_an_unchanged_answer_is_304(small: Api) -> None:
    first = small.get("/v1/order-lines", **DAY)
    tag = first.headers["etag"]
    for value in (tag, f'"other", W/{tag}', "*"):
        again = small.client.get(first.url, headers={"If-None-Match": value})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert small.client.get(first.url, headers={"If-None-Match": '"other"'}).status_code == 200
    assert small.get("/v1/order-lines", **DAY, limit=1).headers["etag"] != tag


def test_gzip_only_when_asked(small: Api) -> None:
    plain = small.get("/v1/order-lines", **DAY)
    assert "content-encoding" not in plain.headers
    packed = small.client.get(plain.url, headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json()
    refused = small.client.get(plain.url, headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers
    tag = packed.headers["etag"]
    assert small.client.get(plain.url, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize("change", ["file", "clock", "drift", "empty"])
def test_an_answer_given_before_is_not_given_again_when_it_has_changed(small_days: Path, change: str) -> None:
    with running_source(data=small_days, clock=Clock(fixed=datetime(2011, 1, 1, tzinfo=UTC))) as source:
        api = Api(source)
        first = api.get("/v1/order-lines", **DAY)

        def ask() -> httpx.Response:
            headers = {"Accept-Encoding": "gzip", "If-None-Match": first.headers["etag"]}
            return api.client.get(first.url, headers=headers)

        packed = [api.client.get(first.url, headers={"Accept-Encoding": "gzip"}) for _ in range(2)]
        assert [one.json() for one in packed] == [first.json()] * 2
        assert [one.headers["x-total-count"] for one in packed] == [first.headers["x-total-count"]] * 2
        assert ask().status_code == 304
        if change == "file":
            file = small_days / "2010-12-01.csv"
            file.write_text(file.read_text() + "536370,A,B,1,2010-12-01 11:00:00,1,1.0,Spain\n")
        elif change == "clock":
            source.clock.set_fixed(datetime(2010, 12, 1, 8, 30, tzinfo=UTC))
        elif change == "drift":
            source.faults.schema_drift = True
        else:
            source.faults.empty_days = ["2010-12-01"]
        changed = ask()
        assert changed.status_code == 200
        assert changed.json() != first.json()
        plain = api.client.get(first.url, headers={"Accept-Encoding": "identity"})
        assert plain.json() == changed.json()
        assert plain.headers["etag"] == changed.headers["etag"].removeprefix("W/")


def test_control_sets_faults_clock_and_counts(small: Api) -> None:
    control = SourceControl(small.source.url)
    assert control.set_faults(errors=1.0)["errors"] == 1.0
    assert small.source.faults.errors == 1.0
    assert small.get("/v1/customers").status_code >= 500
    assert control.set_faults()["errors"] == 0.0
    assert small.get("/v1/customers").status_code == 200
    assert control.set_clock(fixed="2010-12-01T09:30:00+01:00")["now"] == "2010-12-01T08:30:00Z"
    assert control.set_clock(advance_seconds=60)["now"] == "2010-12-01T08:31:00Z"
    assert small.get("/v1/customers").json()["total"] == 1
    assert control.set_clock(real=True)["mode"] == "real"
    stats = control.stats()
    assert stats["total"] == 3
    assert stats["requests"]["/v1/customers"]["200"] == 2
    control.reset_stats()
    assert control.stats() == {"total": 0, "requests": {}}
    control.close()


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"erors": 1}, "unknown fault 'erors'"),
        ({"errors": 2}, "errors must be a number from 0 to 1"),
        ({"errors": True}, "errors must be a number"),
        ({"errors": 0.6, "html": 0.6}, "must not add up to more than 1"),
        ({"latency": -1}, "latency must be"),
        ({"retry_after": 0.5}, "retry_after must be a whole number"),
        ({"down": 1}, "down must be true or false"),
        ({"renamed_fields": {"a": 1}}, "renamed_fields must be text"),
        ({"fail_days": "2025-01-01"}, "fail_days must be a list"),
        ({"empty_days": ["20250101"]}, "empty_days must be a list of days YYYY-MM-DD"),
    ],
)
def test_bad_faults_are_refused_and_change_nothing(
    small: Api, switches: dict[str, object], message: str
) -> None:
    small.source.faults.latency = 0.001
    control = SourceControl(small.source.url)
    with pytest.raises(ValueError, match=message):
        control.set_faults(**switches)
    control.close()
    assert small.source.faults == Faults(latency=0.001)


@pytest.mark.parametrize(
    "command", [{}, {"fixed": 5}, {"fixed": "2025-01-01T00:00:00"}, {"real": 1}, {"speed": 2}]
)
def test_bad_clock_commands_are_refused(small: Api, command: dict[str, object]) -> None:
    before = small.source.clock.fixed
    answer = small.client.post("/_control/clock", json=command)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert small.source.clock.fixed == before


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
def test_a_control_body_must_be_an_object(small: Api, body: bytes) -> None:
    assert small.client.post("/_control/faults", content=body).status_code == 400


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("192.0.2.9", 403)]
)
def test_control_is_for_this_machine_only(host: str, status: int) -> None:
    app = create_app(GeneratedShop(), token="t", clock=Clock(), faults=Faults())

    async def ask() -> int:
        transport = httpx.ASGITransport(app=app, client=(host, 5_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return (await client.get("/_control/faults", headers={"Authorization": "Bearer t"})).status_code

    assert asyncio.run(ask()) == status
