"""No secret is in anything that a whole run writes or says, however rudely the source repeats it."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_plus

import pandas as pd
import pytest

from etl_assets.build import build_definitions
from etl_assets.observability.logging import configure_logging
from etl_assets.orchestration.backfill import load_days
from etl_assets.orchestration.instance import opened_instance
from etl_assets.settings import load_settings
from etl_assets.streams import parse
from etl_assets.streams.authentication import Authentication
from etl_assets.streams.base import (
    ApiKey,
    Basic,
    BearerToken,
    Contract,
    ErrorBudget,
    Field,
    LinkHeader,
    Merge,
    OAuth2ClientCredentials,
    Rest,
    RestSource,
    RetryBudget,
    Stream,
    Timestamp,
    WindowParameters,
)
from etl_assets.streams.discovery import StreamCatalogue
from etl_assets_tests.sources.scripted import Asked, Reply, ScriptedServer, scripted_server

SECRETS = {
    "TOKEN": "tok3n-of-the-crm",
    "USER": "us3r-of-the-crm",
    "PASSWORD": "passw0rd+of/the=crm",
    "CLIENT_ID": "cli3nt-of-the-crm",
    "CLIENT_SECRET": "s3cret+of/the=crm",
}
WAYS: dict[str, Authentication] = {
    "bearer": BearerToken(),
    "header": ApiKey(header="X-Api-Key"),
    "parameter": ApiKey(parameter="api_key"),
    "basic": Basic(),
    "oauth": OAuth2ClientCredentials(token_path="/oauth/token"),
    "oauth_form": OAuth2ClientCredentials(token_path="/oauth/token", credentials_in="body"),
}
FETCHED = "f3tched-token-of-the-crm"
DAYS = [date(2025, 1, day) for day in (1, 2, 3)]


class People(Contract):
    """A person."""

    person_id: str = Field(description="Identifier")
    changed_at: Timestamp = Field(description="When the row last changed, UTC")


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields."""
    return pd.DataFrame(
        {"person_id": parse.text(raw["person_id"]), "changed_at": parse.timestamps(raw["changed_at"])}
    )


def stream_of(source: str, authentication: Authentication) -> Stream:
    """Declare a stream of a source of its own."""
    return Stream(
        source=RestSource(
            name=source, authentication=authentication, retry=RetryBudget(attempts=2, first_delay=0.01)
        ),
        name="people",
        owner="team:crm",
        extract=Rest(path="/v1/people", window=WindowParameters("from", "to"), paginator=LinkHeader()),
        contract=People,
        transform=clean,
        write=Merge(key="person_id", version="changed_at"),
        window_column="changed_at",
        business_date="changed_at",
        budget=ErrorBudget(warn=1.0, fail=1.0),
    )


def rude(asked: Asked, number: int) -> Reply:
    """Answer two pages, and repeat whatever was sent: in links, in redirects, in codes and texts of errors."""
    sent = [*asked.headers.values(), *asked.parameters.values(), *asked.form.values()]
    if asked.path == "/oauth/token":
        return Reply(json.dumps({"access_token": FETCHED, "token_type": "bearer", "echo": sent}).encode())
    day = asked.parameters.get("from", "")[:10]
    key = quote(asked.parameters.get("api_key", ""), safe="")
    echo = f"&api_key={key}" if key else ""
    if day == DAYS[1].isoformat():
        words = [word for value in sent for word in value.split()]
        error = {"code": words[-1] if words else "", "message": " ".join(sent)}
        return Reply(json.dumps({"error": error}).encode(), status=503 if number % 2 else 404)
    if day == DAYS[2].isoformat():
        return Reply(
            b"", status=302, headers={"Location": f"http://elsewhere.invalid/?x={quote(' '.join(sent))}"}
        )
    if "page" in asked.parameters:
        return Reply(b"[]")
    row = {"person_id": "p1", "changed_at": "2025-01-01T10:00:00Z"}
    link = f'</v1/people?page=2{echo}>; rel="next"'
    tag = f'"{" ".join(sent)}"'
    return Reply(json.dumps([row, {"person_id": None}]).encode(), headers={"Link": link, "ETag": tag})


def forbidden() -> Iterator[bytes]:
    """Every secret, in every way in which it may be written."""
    for secret in (*SECRETS.values(), FETCHED):
        for spelled in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret)):
            yield spelled.encode()
        yield base64.b64encode(secret.encode()).rstrip(b"=")[:-1]
    user, word = SECRETS["USER"], SECRETS["PASSWORD"]
    yield base64.b64encode(f"{user}:{word}".encode())
    name, secret = (quote_plus(SECRETS[f"CLIENT_{end}"]) for end in ("ID", "SECRET"))
    yield base64.b64encode(f"{name}:{secret}".encode())


def test_no_secret_is_in_anything_that_a_run_writes_or_says(
    environment_of: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    streams = {stream.id: stream for stream in (stream_of(*way) for way in WAYS.items())}
    with scripted_server(rude) as server:
        variables = {f"ETL_{way.upper()}_{end}": value for way in WAYS for end, value in SECRETS.items()}
        variables |= {f"ETL_{way.upper()}_URL": server.url for way in WAYS}
        variables |= {"ETL_LOG_LEVEL": "DEBUG", "ETL_LOG_FORMAT": "json", "ETL_STEP_RETRIES": "0"}
        for name, value in environment_of(**variables).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        settings = load_settings()
        monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1")
        catalogue = StreamCatalogue(streams, dict.fromkeys(streams, Path(__file__)))
        definitions = build_definitions(settings, streams=catalogue, marts=[])
        with opened_instance(settings) as instance:
            result = load_days(definitions, instance, list(streams.values()), DAYS)
    configure_logging("console", "ERROR")
    captured = capfd.readouterr()
    written = [path for path in settings.data_dir.rglob("*") if path.is_file()]
    said = "\n".join([captured.out, captured.err, caplog.text, repr(result)])

    assert len(result.failures) == len(WAYS), "each stream had days that failed"
    assert sent_to(server) >= {*SECRETS.values(), FETCHED} - {SECRETS["USER"], SECRETS["CLIENT_ID"]}
    landed = list(settings.landing_dir.rglob("manifest.json"))
    assert len(landed) == len(WAYS), "and one that was landed"
    assert any(path.suffix == ".db" for path in written), "Dagster's own records are looked at as well"
    assert '"event": "request_failed"' in said, "and so is the log"
    haystacks = {"what was said": said.encode()} | {str(path): path.read_bytes() for path in written}
    for needle in forbidden():
        assert [place for place, content in haystacks.items() if needle in content] == [], needle


def sent_to(server: ScriptedServer) -> set[str]:
    """Give the secrets that the server was sent, however they were packed."""
    texts: list[str] = []
    for asked in server.asked:
        texts += [*asked.parameters.values(), *asked.form.values(), *asked.headers.values()]
        kind, _, packed = asked.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            texts.append(unquote_plus(base64.b64decode(packed).decode().replace("+", "%2B")))
            texts.append(unquote_plus(base64.b64decode(packed).decode()))
    return {secret for secret in (*SECRETS.values(), FETCHED) if any(secret in text for text in texts)}
