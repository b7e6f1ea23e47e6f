"""Ways of authentication against a real server: what is sent, what is shown, and what happens when it is refused."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.observability.logging import configure_logging
from etl_assets.settings import load_settings
from etl_assets.sources.client import SourceClient
from etl_assets.streams.authentication import Authentication
from etl_assets.streams.base import (
    ApiKey,
    Basic,
    BearerToken,
    NoAuthentication,
    OAuth2ClientCredentials,
    RestSource,
)
from etl_assets_tests.sources.clients import budget
from etl_assets_tests.sources.scripted import Asked, Reply, ScriptedServer, in_turn, scripted_server

KEY = "k3y+with/odd=signs"
PASSWORD = "pass:wörd 7"
CLIENT_SECRET = "cl13nt&s3cret"
VARIABLES = {
    "ETL_CRM_TOKEN": KEY,
    "ETL_CRM_USER": "reader",
    "ETL_CRM_PASSWORD": PASSWORD,
    "ETL_CRM_CLIENT_ID": "etl client",
    "ETL_CRM_CLIENT_SECRET": CLIENT_SECRET,
}
OAUTH = OAuth2ClientCredentials(token_path="/oauth/token", scope="read:all")


def open_crm(
    server: ScriptedServer, authentication: Authentication, variables: Mapping[str, str] = VARIABLES
) -> SourceClient:
    """Open a client the way the platform does, by way of the settings."""
    found = load_settings({**variables, "ETL_CRM_URL": server.url}).source("crm")
    source = RestSource(name="crm", authentication=authentication, retry=budget())
    # A demo's token is for loopback only, and the scripted server is on it.
    token = found.token if variables.get("ETL_CRM_TOKEN") else None
    return SourceClient(source, found.url, token, secret_of=found.secret)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


SENT: dict[str, tuple[Authentication, dict[str, str], dict[str, str]]] = {
    "none": (NoAuthentication(), {}, {}),
    "bearer": (BearerToken(), {"authorization": f"Bearer {KEY}"}, {}),
    "key in a header": (ApiKey(header="X-Api-Key"), {"x-api-key": KEY}, {}),
    "key in a parameter": (ApiKey(parameter="api_key"), {}, {"api_key": KEY}),
    "basic": (Basic(), {"authorization": basic("reader", PASSWORD)}, {}),
}


@pytest.mark.parametrize(("authentication", "headers", "parameters"), SENT.values(), ids=SENT.keys())
def test_credentials_are_sent_where_they_belong_and_nowhere_else(
    authentication: Authentication, headers: dict[str, str], parameters: dict[str, str]
) -> None:
    with scripted_server(in_turn(Reply())) as server, open_crm(server, authentication) as client:
        client.get("/v1/people", {"page": "1"})
    (asked,) = server.asked
    assert asked.parameters == {"page": "1"} | parameters
    seen = {name: asked.headers[name] for name in ("authorization", "x-api-key") if name in asked.headers}
    assert seen == headers


MISSING: list[tuple[Authentication, str]] = [
    (BearerToken(), "ETL_CRM_TOKEN"),
    (ApiKey(header="X-Api-Key"), "ETL_CRM_TOKEN"),
    (ApiKey(parameter="key"), "ETL_CRM_TOKEN"),
    (Basic(), "ETL_CRM_USER"),
    (Basic(), "ETL_CRM_PASSWORD"),
    (OAUTH, "ETL_CRM_CLIENT_ID"),
    (OAUTH, "ETL_CRM_CLIENT_SECRET"),
]


@pytest.mark.parametrize(("authentication", "name"), MISSING)
@pytest.mark.parametrize("value", [None, "", "s3cret\nx"], ids=["unset", "empty", "line break inside"])
def test_a_missing_or_unusable_secret_names_its_variable(
    authentication: Authentication, name: str, value: str | None
) -> None:
    variables = {key: text for key, text in VARIABLES.items() if key != name}
    if value is not None:
        variables[name] = value
    with (
        scripted_server(in_turn(Reply())) as server,
        pytest.raises(ConfigurationError, match=name) as caught,
    ):
        open_crm(server, authentication, variables)
    assert "s3cret" not in str(caught.value)
    assert server.asked == []


def test_a_colon_in_a_user_name_is_refused() -> None:
    with (
        scripted_server(in_turn(Reply())) as server,
        pytest.raises(ConfigurationError, match="ETL_CRM_USER must not hold a colon"),
    ):
        open_crm(server, Basic(), VARIABLES | {"ETL_CRM_USER": "a:b"})


@pytest.mark.parametrize(
    "arguments",
    [{}, {"header": "X-Key", "parameter": "key"}, {"header": ""}, {"header": "X Key"}, {"parameter": "a&b"}],
)
def test_a_key_goes_to_exactly_one_place(arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="either a header or a parameter"):
        ApiKey(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"token_path": "/t", "token_url": "http://h/t"}, {"token_path": "t"}, {"token_path": "//h"}],
)
def test_tokens_come_from_exactly_one_address(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="token_path"):
        OAuth2ClientCredentials(**arguments)


def test_a_key_in_a_parameter_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Not in the address that is given back, not by way of the source's own links, not in failures, not in logs."""
    caplog.set_level(logging.INFO)
    configure_logging("json", "DEBUG")

    def script(asked: Asked, number: int) -> Reply:
        if asked.path == "/moved":
            return Reply(b"", status=302, headers={"Location": f"/v1/people?api_key={KEY}&page=3"})
        return Reply(status=404) if asked.path == "/gone" else Reply()

    with (
        scripted_server(script) as server,
        open_crm(server, ApiKey(parameter="api_key")) as client,
        structlog.testing.capture_logs() as lines,
    ):
        answer = client.get("/v1/people", {"page": "1"})
        following = client.resolve(answer, "?page=2&api_key=k3y%2Bwith%2Fodd%3Dsigns")
        texts = [answer.url, following, client.get(following).url, client.get("/moved").url]
        with pytest.raises(SourceError) as caught:
            client.get("/gone")
    texts += [str(caught.value), repr(caught.value), repr(lines), caplog.text]
    for text in texts:
        assert "k3y" not in text
    assert texts[:2] == ["/v1/people?page=1", f"{server.url}/v1/people?page=2"]
    assert [asked.parameters.get("api_key") for asked in server.asked] == [KEY] * 5, "sent each time, once"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("authentication", "hint"),
    [
        (NoAuthentication(), "declare the source's authentication"),
        (ApiKey(header="X-Api-Key"), "check the token in ETL_CRM_TOKEN"),
        (Basic(), "check ETL_CRM_USER and ETL_CRM_PASSWORD"),
    ],
    ids=["none", "key", "basic"],
)
def test_refused_credentials_end_all_requests_and_say_what_to_check(
    authentication: Authentication, hint: str, status: int
) -> None:
    body = json.dumps({"error": {"code": KEY}}).encode()
    with (
        scripted_server(in_turn(Reply(body, status=status))) as server,
        open_crm(server, authentication) as client,
    ):
        for _ in range(2):
            with pytest.raises(SourceError, match=hint) as caught:
                client.get("/v1/people")
            assert caught.value.affects_all
        assert len(server.asked) == 1


class TokenServer:
    """Gives tokens `t1`, `t2`, ... and takes only the newest."""

    def __init__(self, *, expires_in: Any = 3600, **more: Any) -> None:
        self.answer = {"token_type": "bearer", "expires_in": expires_in} | more
        self.given = 0
        self.withdrawn = False
        self.lock = threading.Lock()

    def __call__(self, asked: Asked, number: int) -> Reply:
        with self.lock:
            if asked.path == "/oauth/token":
                self.given += 1
                self.withdrawn = False
                return Reply(json.dumps({"access_token": f"t0ken-{self.given}"} | self.answer).encode())
            good = asked.headers.get("authorization") == f"Bearer t0ken-{self.given}" and not self.withdrawn
            return Reply() if good else Reply(status=401)


def test_a_token_is_fetched_once_with_the_clients_credentials() -> None:
    tokens = TokenServer()
    with scripted_server(tokens) as server, open_crm(server, OAUTH) as client:
        for _ in range(3):
            assert client.get("/v1/people").status == 200
    fetch, *rest = server.asked
    assert (fetch.method, fetch.path, fetch.parameters) == ("POST", "/oauth/token", {})
    assert fetch.form == {"grant_type": "client_credentials", "scope": "read:all"}
    assert fetch.headers["authorization"] == basic("etl+client", "cl13nt%26s3cret"), "RFC 6749, 2.3.1"
    assert [asked.headers["authorization"] for asked in rest] == ["Bearer t0ken-1"] * 3


def test_credentials_can_go_into_the_form_and_then_into_no_other_request() -> None:
    declared = OAuth2ClientCredentials(token_path="/oauth/token", credentials_in="body")
    with scripted_server(TokenServer()) as server, open_crm(server, declared) as client:
        client.get("/v1/people")
    fetch, asked = server.asked
    assert fetch.form == {
        "grant_type": "client_credentials",
        "client_id": "etl client",
        "client_secret": CLIENT_SECRET,
    }
    assert "authorization" not in fetch.headers
    assert asked.parameters == {}


def test_a_token_is_fetched_anew_before_it_expires() -> None:
    # With a life of a millionth of a second, every request finds its token at its end.
    tokens = TokenServer(expires_in=0.000001)
    with scripted_server(tokens) as server, open_crm(server, OAUTH) as client:
        for _ in range(3):
            client.get("/v1/people")
    assert tokens.given == 3
    assert len(server.asked) == 6, "no request was refused"


@pytest.mark.parametrize("expires_in", [None, "3600", "soon", -1, True, 10**400])
def test_a_life_that_cannot_be_read_lasts_until_the_token_is_refused(expires_in: Any) -> None:
    tokens = TokenServer(expires_in=expires_in)
    with scripted_server(tokens) as server, open_crm(server, OAUTH) as client:
        client.get("/v1/people")
        client.get("/v1/people")
        assert tokens.given == 1
        tokens.withdrawn = True
        assert client.get("/v1/people").status == 200
    assert tokens.given == 2


def test_a_withdrawn_token_is_replaced_once_and_costs_no_attempt() -> None:
    tokens = TokenServer()
    with scripted_server(tokens) as server, open_crm(server, OAUTH) as client:
        client.get("/v1/people")
        tokens.withdrawn = True
        assert client.get("/v1/people").attempts == 1
    assert [asked.path for asked in server.asked] == [
        "/oauth/token",
        "/v1/people",
        "/v1/people",
        "/oauth/token",
        "/v1/people",
    ]


def test_a_fresh_token_that_is_refused_as_well_is_final() -> None:
    def script(asked: Asked, number: int) -> Reply:
        if asked.path == "/oauth/token":
            return Reply(b'{"access_token": "t", "token_type": "Bearer"}')
        return Reply(status=401)

    with scripted_server(script) as server, open_crm(server, OAUTH) as client:
        with pytest.raises(SourceError, match="ETL_CRM_CLIENT_ID and ETL_CRM_CLIENT_SECRET") as caught:
            client.get("/v1/people")
        assert caught.value.affects_all
        assert caught.value.failure_class is FailureClass.PERMANENT
        assert len(server.asked) == 4


def test_many_threads_share_one_token() -> None:
    tokens = TokenServer()
    with (
        scripted_server(tokens) as server,
        open_crm(server, OAUTH) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        answers = list(pool.map(lambda _: client.get("/v1/people").status, range(12)))
    assert answers == [200] * 12
    assert tokens.given == 1


BAD_TOKENS = {
    "refused": Reply(b'{"error": "invalid_client"}', status=401),
    "bad request": Reply(b'{"error": "invalid_scope"}', status=400),
    "moved": Reply(b"", status=302, headers={"Location": "/elsewhere"}),
    "no token": Reply(b"{}"),
    "an array": Reply(b"[]"),
    "a token with a line break": Reply(b'{"access_token": "a\\nb", "token_type": "bearer"}'),
    "another kind": Reply(b'{"access_token": "ab", "token_type": "mac"}'),
}


@pytest.mark.parametrize("reply", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_a_token_that_cannot_be_had_ends_all_requests(reply: Reply) -> None:
    with scripted_server(in_turn(reply)) as server, open_crm(server, OAUTH) as client:
        for _ in range(2):
            with pytest.raises(SourceError, match="ETL_CRM_CLIENT_SECRET") as caught:
                client.get("/v1/people")
            assert caught.value.affects_all
            assert caught.value.failure_class is FailureClass.PERMANENT
            assert CLIENT_SECRET not in str(caught.value)
    assert [asked.path for asked in server.asked] == ["/oauth/token"]


@pytest.mark.parametrize("reply", [Reply(status=503), Reply(hang_up=True), Reply(b"<html>")])
def test_a_token_address_in_trouble_is_asked_again(reply: Reply) -> None:
    tokens = TokenServer()

    def script(asked: Asked, number: int) -> Reply:
        return reply if number == 0 else tokens(asked, number)

    with scripted_server(script) as server, open_crm(server, OAUTH) as client:
        assert client.get("/v1/people").attempts == 2
    assert [asked.path for asked in server.asked] == ["/oauth/token", "/oauth/token", "/v1/people"]


def test_tokens_from_another_host_are_refused_before_anything_is_asked() -> None:
    with scripted_server(in_turn(Reply())) as elsewhere, scripted_server(in_turn(Reply())) as server:
        with pytest.raises(SourceError, match="another address"):
            open_crm(server, OAuth2ClientCredentials(token_url=f"{elsewhere.url}/oauth/token"))
        with open_crm(server, OAuth2ClientCredentials(token_url=f"{server.url}/t")) as client:
            assert client.source.name == "crm"
    assert elsewhere.asked == []
