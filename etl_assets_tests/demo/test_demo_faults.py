"""Each fault as a client meets it on a real connection, and whom it strikes."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from etl_assets.demo.faults import Decider, Faults, days_of_window
from etl_assets_tests.demo.conftest import Api

DAY = {"from_": "2010-12-01T00:00:00Z", "to": "2010-12-02T00:00:00Z"}
ORDERS = {"updated_from": "2010-12-01T00:00:00Z", "updated_to": "2010-12-02T00:00:00Z"}


def test_errors(small: Api) -> None:
    small.source.faults.errors = 1.0
    statuses = {small.get("/v1/customers", limit=limit).status_code for limit in range(1, 40)}
    assert statuses == {500, 502, 503, 504}
    assert small.get("/v1/health").status_code == 200


def test_rate_limits_ask_to_wait_in_both_spellings(small: Api) -> None:
    small.source.faults.rate_limited = 1.0
    small.source.faults.retry_after = 30
    values = set()
    for limit in range(1, 40):
        answer = small.get("/v1/customers", limit=limit)
        assert answer.status_code == 429
        values.add(answer.headers["retry-after"])
    assert "30" in values
    dates = [parsedate_to_datetime(value) for value in values if value != "30"]
    assert dates
    assert all(0 < (moment - datetime.now(UTC)).total_seconds() <= 30 for moment in dates)


def test_cut_off_bodies(small: Api) -> None:
    whole = small.get("/v1/order-lines", **DAY)
    small.source.faults.cut_off = 1.0
    with small.client.stream("GET", whole.url) as answer:
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) == len(whole.content)
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            answer.read()
    assert small.source.stats.requests["/v1/order-lines", "cut_off"] == 1
    small.source.faults.cut_off = 0.0
    assert small.get("/v1/order-lines", **DAY).content == whole.content


def test_html_with_status_200(small: Api) -> None:
    small.source.faults.html = 1.0
    answer = small.get("/v1/customers")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_down_closes_without_an_answer_and_can_be_ended(small: Api) -> None:
    small.source.faults.down = True
    for path in ("/v1/customers", "/v1/health"):
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            small.get(path)
    assert small.client.delete("/_control/faults").status_code == 200
    assert small.get("/v1/health").status_code == 200


def test_latency(small: Api) -> None:
    small.source.faults.latency = 0.2
    begin = time.monotonic()
    small.get("/v1/customers").raise_for_status()
    assert time.monotonic() - begin >= 0.2


@pytest.mark.parametrize(
    ("path", "query", "key"),
    [
        ("/v1/order-lines", DAY, "data"),
        ("/v1/orders", ORDERS, None),
        ("/v1/customers", {}, "items"),
        ("/v1/products/changes", {}, "changes"),
    ],
)
def test_schema_drift(small: Api, path: str, query: dict[str, str | int], key: str | None) -> None:
    def records() -> list[dict[str, object]]:
        body = small.get(path, **query).raise_for_status().json()
        found: list[dict[str, object]] = body[key] if key else body
        return found

    plain = records()
    name = next(iter(plain[0]))
    small.source.faults.schema_drift = True
    assert [set(record) for record in records()] == [{*record, "api_revision"} for record in plain]
    small.source.faults.schema_drift = False
    small.source.faults.renamed_fields = {name: "key"}
    assert [record["key"] for record in records()] == [record[name] for record in plain]
    assert all(name not in record for record in records())


def test_one_day_fails_for_good(small: Api) -> None:
    small.source.faults.fail_days = ["2010-12-01"]
    assert small.get("/v1/order-lines", **DAY).status_code == 422
    assert small.get("/v1/order-lines", **DAY).status_code == 422
    assert small.get("/v1/orders", **ORDERS).status_code == 422
    assert small.get(
        "/v1/orders", updated_from="2010-12-01T23:55:00Z", updated_to="2010-12-03T00:00:00Z"
    ).is_success
    assert small.get("/v1/order-lines", from_="2010-12-02T00:00:00Z", to="2010-12-03T00:00:00Z").is_success
    assert small.get("/v1/customers").is_success
    small.source.faults.fail_status = 500
    small.source.faults.fail_path = "/v1/orders"
    assert small.get("/v1/orders", **ORDERS).status_code == 500
    assert small.get("/v1/order-lines", **DAY).is_success


def test_an_emptied_day(small: Api) -> None:
    small.source.faults.empty_days = ["2010-12-01"]
    assert small.get("/v1/order-lines", **DAY).json() == {"data": [], "next_cursor": None}
    assert small.get("/v1/orders", **ORDERS).json() == []
    assert small.get("/v1/products/changes", **DAY).json()["changes"] == []
    assert len(small.all_lines("2010-12-02T00:00:00Z", "2010-12-04T00:00:00Z")) == 2


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2025-01-02T00:00:00Z", "2025-01-03T00:00:00Z", "2025-01-02", "2025-01-02"),
        ("2025-01-01T23:55:00Z", "2025-01-03T00:05:00Z", "2025-01-02", "2025-01-02"),
        ("2025-01-02T00:00:00Z", "2025-01-05T00:00:00Z", "2025-01-02", "2025-01-04"),
        ("2025-01-02T20:00:00Z", "2025-01-02T21:00:00Z", "2025-01-02", "2025-01-02"),
        ("2025-01-02T03:00:00Z", "2025-01-02T04:00:00Z", "2025-01-02", "2025-01-02"),
        ("2025-01-02T12:00:00Z", "2025-01-02T12:00:01Z", "2025-01-02", "2025-01-02"),
    ],
)
def test_the_days_that_a_window_is_about(start: str, end: str, first: str, last: str) -> None:
    window = days_of_window({"from": start, "to": end})
    assert window is not None
    assert (window[0].isoformat(), window[1].isoformat()) == (first, last)


def test_no_window_is_about_no_day() -> None:
    assert days_of_window({}) is None
    assert days_of_window({"from": "yesterday"}) is None
    assert days_of_window({"from": "9999-12-31T23:00:00Z", "to": "9999-12-31T23:30:00Z"}) is None


def decide_all(faults: Faults, order: list[int]) -> dict[tuple[int, int], str]:
    """The fate of 2,000 requests, each asked twice, by request and attempt."""
    decider, seen, fates = Decider(faults), Counter[int](), {}
    for number in order:
        seen[number] += 1
        fates[number, seen[number]] = decider.decide("/v1/orders", f"page={number}", {}).fate.value
    return fates


def test_shares_hold_and_fates_depend_on_the_seed_only() -> None:
    faults = Faults(errors=0.05, rate_limited=0.05, cut_off=0.02, html=0.01, seed=3)
    forward = decide_all(faults, [*range(2_000), *range(2_000)])
    backward = decide_all(faults, [*reversed(range(2_000)), *range(2_000)])
    assert forward == backward
    assert forward != decide_all(
        Faults(errors=0.05, rate_limited=0.05, cut_off=0.02, html=0.01, seed=4), [*range(2_000)] * 2
    )
    counts = Counter(forward.values())
    for fate, share in (("error", 0.05), ("rate_limited", 0.05), ("cut_off", 0.02), ("html", 0.01)):
        assert 0.6 * share < counts[fate] / 4_000 < 1.4 * share
    again = [forward[number, 2] for number in range(2_000) if forward[number, 1] == "error"]
    assert again.count("answered") > len(again) / 2
