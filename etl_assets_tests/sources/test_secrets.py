"""No secret is in anything that a whole run writes or says, however rudely the source repeats it."""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_plus

import pandas as pd
import pytest
from sqlalchemy import create_engine

from etl_assets.build import build_definitions
from etl_assets.observability.logging import configure_logging
from etl_assets.orchestration.backfill import RunResult, load_days
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
    Files,
    FileSource,
    LinkHeader,
    Merge,
    OAuth2ClientCredentials,
    ReplacePartition,
    Rest,
    RestSource,
    RetryBudget,
    Sql,
    SqlSource,
    Stream,
    Timestamp,
    WindowParameters,
)
from etl_assets.streams.discovery import StreamCatalogue
from etl_assets_tests.sources.postgres import PASSWORD as DATABASE_PASSWORD
from etl_assets_tests.sources.postgres import PostgresServer, postgres_server
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


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    """A database with a password."""
    with postgres_server() as running:
        yield running


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


def drops_of(name: str) -> Stream:
    """Declare a stream of files."""
    return Stream(
        source=FileSource(name=name),
        name="people",
        owner="team:crm",
        extract=Files(path="people_{day}.csv", format="csv", settle=timedelta(0)),
        contract=People,
        transform=clean,
        write=ReplacePartition(),
        window_column="changed_at",
        business_date="changed_at",
    )


def table_of(name: str) -> Stream:
    """Declare a stream of a database's table."""
    extract = Sql(
        table="people", columns=("person_id", "changed_at"), key=("person_id",), window_column="changed_at"
    )
    return replace(drops_of(name), source=SqlSource(name=name), extract=extract)


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
    streams = [stream_of(*way) for way in WAYS.items()]
    with scripted_server(rude) as server:
        variables = {f"ETL_{way.upper()}_{end}": value for way in WAYS for end, value in SECRETS.items()}
        variables |= {f"ETL_{way.upper()}_URL": server.url for way in WAYS}
        result, haystacks = run_and_collect(streams, variables, environment_of, monkeypatch, capfd, caplog)
    assert len(result.failures) == len(WAYS), "each stream had days that failed"
    assert sent_to(server) >= {*SECRETS.values(), FETCHED} - {SECRETS["USER"], SECRETS["CLIENT_ID"]}
    landed = [place for place in haystacks if "/landing/" in place and place.endswith("manifest.json")]
    assert len(landed) == len(WAYS), "and one that was landed"
    assert b'"event": "request_failed"' in haystacks["what was said"], "the log is looked at"
    assert any("/state/" in place for place in haystacks), "what people are told of a source is looked at"
    for needle in forbidden():
        assert [place for place, content in haystacks.items() if needle in content] == [], needle


def run_and_collect(
    streams: Sequence[Stream],
    variables: Mapping[str, str],
    environment_of: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> tuple[RunResult, dict[str, bytes]]:
    """Load the days of some streams, and give all that was written and said, by place."""
    caplog.set_level(logging.DEBUG)
    quiet = {"ETL_LOG_LEVEL": "DEBUG", "ETL_LOG_FORMAT": "json", "ETL_STEP_RETRIES": "0"}
    for name, value in environment_of(**variables, **quiet).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    settings = load_settings()
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1")
    by_id = {stream.id: stream for stream in streams}
    catalogue = StreamCatalogue(by_id, dict.fromkeys(by_id, Path(__file__)))
    definitions = build_definitions(settings, streams=catalogue, marts=[])
    with opened_instance(settings) as instance:
        result = load_days(definitions, instance, streams, DAYS)
    configure_logging("console", "ERROR")
    captured = capfd.readouterr()
    said = "\n".join([captured.out, captured.err, caplog.text, repr(result)])
    assert '"event": "partition_failed"' in said, "the log is looked at"
    written = [path for path in settings.data_dir.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in written), "and so are Dagster's own records"
    assert settings.warehouse_path in written
    return result, {"what was said": said.encode()} | {str(path): path.read_bytes() for path in written}


def test_no_password_of_an_address_is_in_anything_that_a_run_writes_or_says(
    database: PostgresServer,
    unused_port: int,
    environment_of: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Folders and databases that are read, that refuse the password, and that are not there."""
    with closing(create_engine(database.url).raw_connection()) as connection:
        connection.cursor().execute("CREATE TABLE people (person_id text, changed_at timestamptz)")
        connection.cursor().execute(f"INSERT INTO people VALUES ('p1', '{DAYS[0]} 10:00:00Z')")
        connection.commit()
    word = SECRETS["PASSWORD"]
    streams = [table_of("read"), table_of("refused"), table_of("gone"), drops_of("far_folder")]
    addresses = {
        "READ": database.url,
        "REFUSED": database.url.replace(DATABASE_PASSWORD, quote(word, safe="")),
        "GONE": f"postgresql+psycopg://reader:{quote(word, safe='')}@127.0.0.1:{unused_port}/crm",
        "FAR_FOLDER": f"ftp://us3r:{quote(word, safe='')}@127.0.0.1:{unused_port}/drops",
    }
    variables = {f"ETL_{name}_URL": address for name, address in addresses.items()}
    result, haystacks = run_and_collect(streams, variables, environment_of, monkeypatch, capfd, caplog)
    assert len(result.failures) == 3, "all but the one that is read"
    assert b"cannot be reached" in haystacks["what was said"]
    for needle in (*forbidden(), DATABASE_PASSWORD.encode()):
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
