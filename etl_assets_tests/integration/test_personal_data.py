"""Two streams with personal fields, from a server into the warehouse: no clear value is anywhere but in landing."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest

from etl_assets.cli.backfill import run_backfill
from etl_assets.cli.results import print_result
from etl_assets.cli.terminal import make_console
from etl_assets.landing.store import Landing
from etl_assets.report.making import FILE_NAME, make_report
from etl_assets.report.reading import Period
from etl_assets.settings import Settings
from etl_assets.streams import parse
from etl_assets.streams.base import (
    Contract,
    Cursor,
    Field,
    ReplacePartition,
    Rest,
    Stream,
    Timestamp,
    WindowParameters,
)
from etl_assets.streams.discovery import StreamCatalogue
from etl_assets_tests.integration.conftest import Use
from etl_assets_tests.quality.people import DAY, KEY, PEOPLE, clean, hashed, person
from etl_assets_tests.sources.scripted import Asked, Reply, scripted_server

GOOD_DAY, STUMBLING_DAY, REFUSED_DAY = DAYS = [DAY + timedelta(days=number) for number in range(3)]
NICKNAME = "Enchantress of Number"


class Visits(Contract):
    """A visit."""

    email: str = Field(personal="hash", description="Who came")
    came_at: Timestamp = Field(description="When, UTC")


def clean_visits(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields."""
    return pd.DataFrame({"email": parse.text(raw["email"]), "came_at": parse.timestamps(raw["came_at"])})


def clean_people(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields, and stumble over one value, telling it."""
    for email in raw["email"]:
        if email == "stumble@example.com":
            raise ValueError(f"no use for {email}")
    return clean(raw)


STUMBLING = replace(PEOPLE, transform=clean_people)
VISITS = replace(
    PEOPLE,
    name="visits",
    extract=Rest(
        path="/v1/visits", window=WindowParameters("from", "to"), paginator=Cursor(), records="data"
    ),
    contract=Visits,
    transform=clean_visits,
    write=ReplacePartition(),
    window_column="came_at",
    business_date="came_at",
)

EVERYONE: list[Any] = [
    person("p-1", nickname=NICKNAME),
    person("p-2", name="Grace Hopper", email="grace@example.com", telephone=15550101234567, nickname=None),
    person("too-young", name="Alan Turing", age=-1, nickname=NICKNAME),
    person("no-address", email="nobody at home", name="Emmy Noether"),
    person("premium", telephone="0900 666 666", work_mail="emmy@example.com"),
    person("named-so", name="kurt@example.com", email="kurt@example.com"),
    person("p-1", name="Mary Somerville", contact={"mail": ["mary@example.com"]}),
    person("yesterday", name="Sofja Kowalewskaja", changed_at="2020-01-01T00:00:00Z"),
    ["p-9", "Hypatia of Alexandria"],
]
CLEAR = {
    "Ada Lovelace", "ada@example.com", "+44 7700 900123", "Grace Hopper", "grace@example.com", "15550101234567",
    "Alan Turing", "nobody at home", "Emmy Noether", "0900 666 666", "emmy@example.com", "kurt@example.com",
    "Mary Somerville", "mary@example.com", "Sofja Kowalewskaja", "Hypatia of Alexandria",
}  # fmt: skip
ONLY_SAID = {"stumble@example.com", "refused@example.com"}


def answer(asked: Asked, number: int) -> Reply:
    """Answer with good and bad rows, with one that the transform stumbles over, or refuse by name."""
    day = asked.parameters["from"][:10]
    if day == REFUSED_DAY.isoformat():
        error = {"code": "gone", "message": "refused@example.com is no customer"}
        return Reply(json.dumps({"error": error}).encode(), status=404)
    records = EVERYONE
    if asked.path == "/v1/visits":
        emails = ["grace@example.com", "ada@example.com", "grace@example.com", None]
        records = [{"email": email, "came_at": f"{day}T12:00:00Z"} for email in emails]
    elif day == STUMBLING_DAY.isoformat():
        records = [person(email="stumble@example.com")]
    return Reply(json.dumps({"data": records, "next_cursor": None}).encode())


def contents(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Give all that was written but landing: every file as it is, and what those that are compressed hold."""
    for folder, _, names in os.walk(settings.data_dir):
        for path in (Path(folder) / name for name in names):
            if settings.landing_dir in path.parents:
                continue
            yield str(path), path.read_bytes()
            if path.suffix == ".parquet":
                yield f"rows of {path}", repr(pq.read_table(path).to_pylist()).encode()
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        tables = warehouse.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
        for schema, table in tables:
            rows = warehouse.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall()
            yield f"{schema}.{table}", repr(rows).encode()


def landed(settings: Settings, stream: Stream) -> bytes:
    """Give a stream's landed answers."""
    found = [Landing(settings.landing_dir).latest(stream.id, day) for day in DAYS]
    return b"".join(page for partition in found if partition for page in partition.pages())


def spelled(value: str) -> set[bytes]:
    """Give a value as it is and as JSON may write it."""
    return {value.encode(), orjson.dumps(value)[1:-1], json.dumps(value)[1:-1].encode()}


def test_no_clear_value_leaves_landing(
    use: Use, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    catalogue = StreamCatalogue(
        {stream.id: stream for stream in (STUMBLING, VISITS)},
        dict.fromkeys((STUMBLING.id, VISITS.id), Path(__file__)),
    )
    with scripted_server(answer) as server:
        settings = use(
            ETL_CRM_URL=server.url,
            ETL_PSEUDONYM_KEY=KEY.get_secret_value(),
            ETL_LOG_LEVEL="DEBUG",
            ETL_LOG_FORMAT="json",
            ETL_STEP_RETRIES="0",
        )
        os.environ["DAGSTER_EVENT_BATCH_SIZE"] = "1"
        result = run_backfill(settings, catalogue, [STUMBLING, VISITS], DAYS)
        print_result(make_console(), result)
        make_report(
            settings, [STUMBLING, VISITS], [], settings.data_dir / FILE_NAME, Period(DAYS[0], DAYS[-1])
        )
    captured = capfd.readouterr()
    said = "\n".join([captured.out, captured.err, caplog.text, repr(result), json.dumps(result.as_json())])

    haystacks = dict(contents(settings)) | {"what was said": said.encode()}
    for value in CLEAR | ONLY_SAID | {KEY.get_secret_value()}:
        found = [place for place, text in haystacks.items() if any(way in text for way in spelled(value))]
        assert found == [], value
    for place, text in haystacks.items():
        if NICKNAME.encode() in text:
            assert place.endswith((".parquet", "warehouse.duckdb", "crm.people", "etl.quarantine")), place

    report = haystacks[str(settings.data_dir / FILE_NAME)].decode()
    assert "age must be at least" in report, "the reasons are there, and no values"
    assert all(value.encode() in landed(settings, STUMBLING) for value in CLEAR), "it was all there"
    assert "ValueError at test_personal_data.py" in said
    assert any(place.endswith(".db") for place in haystacks), "Dagster's own records are looked at as well"
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        people = warehouse.execute(
            "SELECT * EXCLUDE (_run_id, _loaded_at) FROM crm.people ORDER BY 1"
        ).fetchall()
        bad = warehouse.execute("SELECT rule, raw_payload FROM etl.quarantine ORDER BY row_number").fetchall()
        joined = warehouse.execute(
            "SELECT person_id, count(*) FROM crm.people JOIN crm.visits USING (email) GROUP BY ALL ORDER BY 1"
        ).fetchall()
    assert [row[:5] for row in people] == [
        ("p-1", "A***", hashed("ada@example.com"), None, NICKNAME),
        ("p-2", "G***", hashed("grace@example.com"), None, None),
    ]
    assert joined == [("p-1", 2), ("p-2", 4)], "visits of both good days"
    payloads = {rule: json.loads(payload) for rule, payload in bad}
    assert payloads["age.greater_than_or_equal_to"]["age"] == -1
    assert payloads["age.greater_than_or_equal_to"]["nickname"] == NICKNAME
    assert payloads["phone.no_premium_number"]["work_mail"] == "***"
    assert payloads["person_id.unique"]["contact"] == "***"
    assert payloads["record.object"] == "***"
