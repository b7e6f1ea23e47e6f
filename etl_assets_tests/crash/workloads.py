"""Small loads, one for each write disposition and kind of source, that get killed on their way.

Each has a source in two states, as it was when the first days were loaded and as it is when the process is struck, so
that there are rows to replace, to update and to remove. What belongs here: streams, their sources' content, loading
them. What does not: striking (`etl_assets_tests.crash.nursery`), and what must hold afterwards
(`etl_assets_tests.crash.aftermath`).
"""

from __future__ import annotations

import codecs
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from etl_assets.marts.catalogue import Mart
from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import PartitionOutcome
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.quality.rules import compile_contract
from etl_assets.settings import load_settings
from etl_assets.streams import parse
from etl_assets.streams.base import (
    Append,
    Cdc,
    Children,
    Contract,
    Documents,
    ErrorBudget,
    Extract,
    Field,
    Files,
    FileSource,
    Merge,
    ReplacePartition,
    RestSource,
    RetryBudget,
    Snapshot,
    Source,
    Sql,
    SqlSource,
    Stream,
    Timestamp,
)
from etl_assets.streams.write import WriteDisposition
from etl_assets_tests.sources.scripted import Asked, Reply

FIRST = date(2025, 1, 6)
NOW = datetime(2025, 1, 10, 12, tzinfo=UTC)
LOADED, WANTED = (0, 1), (1, 2)
"""Days that are loaded before, and days that the struck process loads: one anew, one for the first time."""

NAMES = ("a", "b", "c", "d", "e")
BOTTOMLESS = ErrorBudget(warn=0.9, fail=1.0)

Rows = Callable[[int, int], list[dict[str, Any]]]
"""Gives a day's rows at one of the source's two states, 0 and 1."""


class Things(Contract):
    """Things with an amount."""

    thing_id: str = Field()
    amount: int = Field(ge=0)
    seen_at: Timestamp = Field()


class Parts(Contract):
    """Parts of a thing."""

    part: str = Field()


class Changes(Contract):
    """Changes to things; a delete brings no amount."""

    lsn: int = Field()
    op: str = Field(isin=["I", "U", "D"])
    thing_id: str = Field()
    amount: int = Field(missing="allow", ge=0)
    seen_at: Timestamp = Field()


def clean_things(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields."""
    return pd.DataFrame(
        {
            "thing_id": parse.text(raw["thing_id"]),
            "amount": parse.integers(raw["amount"]),
            "seen_at": parse.timestamps(raw["seen_at"]),
        }
    )


def clean_changes(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields."""
    return clean_things(raw).assign(lsn=parse.integers(raw["lsn"]), op=parse.text(raw["op"]))


def clean_documents(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields; a document's identifier is not in it."""
    return clean_things(raw.assign(thing_id=raw["_identifier"]))


@dataclass(frozen=True)
class Workload:
    """Days of one stream, loaded with its mart.

    Attributes:
        stream: The stream.
        rows: What its source holds.
        loaded: Days that are loaded before.
        mart: What is built of it.
    """

    stream: Stream
    rows: Rows
    loaded: Sequence[int] = LOADED
    mart: Mart | None = None

    @property
    def days(self) -> list[date]:
        """The days that the struck process loads."""
        return [day(number) for number in WANTED]

    def warm_up(self, variables: dict[str, str]) -> None:
        """Import and compile what the first load of a process does; opens no connection and starts no thread."""
        environment = Environment.of(load_settings(variables), {self.stream.id: "1"})
        with closing(environment.open_source(self.stream.source)):
            compile_contract(self.stream.contract)
            codecs.lookup("utf-8-sig")

    def make_source(self, folder: Path, state: int, library: str) -> dict[str, str]:
        """Write what the source holds in one of its states; gives the setting that points there."""
        source = self.stream.source
        variable = f"ETL_{source.name.upper()}_URL"
        if isinstance(source, RestSource):
            return {variable: f"{library}/{state}"}
        place = folder / f"source-{state}"
        place.mkdir(parents=True)
        everything = [self.rows(number, state) for number in range(max(WANTED) + 1)]
        if isinstance(source, FileSource):
            for number, rows in enumerate(everything):
                (place / f"{day(number)}.ndjson").write_bytes(b"".join(_line(row) for row in rows))
            return {variable: str(place)}
        _write_table(place / "source.db", [row for rows in everything for row in rows])
        return {variable: f"sqlite:///{place / 'source.db'}"}

    def load(
        self, variables: dict[str, str], days: Sequence[date], *, threads: int = 1
    ) -> list[PartitionOutcome]:
        """Load days, and rebuild the mart."""
        environment = Environment.of(load_settings(variables), {self.stream.id: "1"})
        with closing(environment.open_source(self.stream.source)) as reader:
            pipeline = PartitionPipeline(
                environment=environment,
                stream=self.stream,
                stages=frozenset(Stage),
                run_id="run",
                client=reader,
                confirm_empty=True,
                now=lambda: NOW,
            )
            outcomes = list(run_partitions(pipeline, days, reporter=SilentReporter(), threads=threads))
        if self.mart is not None and all(outcome.status.is_published for outcome in outcomes):
            with environment.warehouse.session("rebuild marts") as session:
                session.rebuild_mart(self.mart, run_id="run", at=NOW)
        return outcomes


@dataclass(frozen=True)
class Careless(Workload):
    """A load with one step more, as somebody may add it some day, who forgot to clear away after a kill."""

    def load(
        self, variables: dict[str, str], days: Sequence[date], *, threads: int = 1
    ) -> list[PartitionOutcome]:
        """See `Workload`; a report is written at the end."""
        outcomes = super().load(variables, days, threads=threads)
        draft = Path(variables["ETL_DATA_DIR"]) / f"report.{os.getpid()}.tmp"
        draft.write_text("all is well")
        draft.rename(draft.with_name("report"))
        return outcomes


def day(number: int) -> date:
    """Give a day, counted from the first."""
    return FIRST + timedelta(days=number)


def answer(asked: Asked, number: int) -> Reply:
    """Answer as the library of documents, whose state is the first part of the path; one document is not there."""
    _, state, _, name = asked.path.split("/")
    if name == "e":
        return Reply(status=404)
    found = next(row for row in _things(0, int(state)) if row["thing_id"] == name)
    return Reply(json.dumps(found).encode())


def _things(number: int, state: int) -> list[dict[str, Any]]:
    """Each day brings things of its own and things of the day before, one of them broken."""
    hour = datetime.combine(day(number), datetime.min.time())
    return [
        {
            "thing_id": f"{name}" if name < "c" else f"{name}{number}" if number else name,
            "amount": -1 if name == "d" else number * 10 + position + (5 if state and name in "ac" else 0),
            "seen_at": str(hour + timedelta(hours=1 + position + state)),
        }
        for position, name in enumerate(NAMES)
    ]


def _things_with_parts(number: int, state: int) -> list[dict[str, Any]]:
    """Each thing has parts, as many as its amount says, which change with it."""
    return [
        thing | {"parts": [{"part": f"{thing['amount']}-{place}"} for place in range(thing["amount"] % 3)]}
        for thing in _things(number, state)
    ]


def _changes(number: int, state: int) -> list[dict[str, Any]]:
    """A day brings changes to things of all days; the second state has told more of the loaded day."""
    things = _things(number, 0)
    told = things if state else things[:4]
    return [
        {
            "lsn": number * 10 + position,
            "op": "D" if thing["thing_id"] == "b" and number % 2 else "U" if number else "I",
            **thing,
        }
        for position, thing in enumerate(told)
    ]


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        columns = list(rows[0])
        database.execute(f"CREATE TABLE rows ({', '.join(columns)})")
        marks = ", ".join("?" * len(columns))
        database.executemany(f"INSERT INTO rows VALUES ({marks})", [tuple(row.values()) for row in rows])


def _stream(name: str, source: Source, write: WriteDisposition, **more: Any) -> Stream:
    changes = isinstance(write, Cdc)
    key = ("lsn",) if changes else ("seen_at", "thing_id")
    columns = (*(("lsn", "op") if changes else ()), "thing_id", "amount", "seen_at")
    extract: Extract = (
        Sql(table="rows", columns=columns, key=key, window_column="seen_at", page_size=2)
        if isinstance(source, SqlSource)
        else Files(path="{day}.ndjson", format="ndjson", settle=timedelta(0))
    )
    declared: dict[str, Any] = {
        "extract": extract,
        "contract": Changes if changes else Things,
        "transform": clean_changes if changes else clean_things,
        "window_column": "seen_at",
        "business_date": "seen_at",
        **more,
    }
    return Stream(source=source, name=name, owner="team:tests", write=write, budget=BOTTOMLESS, **declared)


def _with_mart(stream: Stream, rows: Rows) -> Workload:
    table = stream.id.replace("/", ".")
    sql = f"SELECT CAST(seen_at AS DATE) AS day, count(*) AS rows, sum(amount) AS amount FROM {table} GROUP BY ALL"
    mart = Mart(f"by_day_of_{stream.name}", "team:tests", "day", (stream.id,), "Things a day.", sql)
    return Workload(stream, rows, LOADED, mart)


_FILES, _TABLE = FileSource(name="drops"), SqlSource(name="books")
_LIBRARY = RestSource(
    name="library", retry=RetryBudget(attempts=1, first_delay=0.001, maximum_delay=0.01, total=20.0)
)
_CHANGES: dict[str, Any] = {
    "key": "thing_id",
    "sequence": "lsn",
    "operation": "op",
    "contiguous": False,
}

WORKLOADS: dict[str, Workload] = {
    "append": _with_mart(_stream("events", _FILES, Append()), _things),
    "replace": _with_mart(_stream("lines", _TABLE, ReplacePartition()), _things),
    "replace_nothing": Workload(_stream("lines", _TABLE, ReplacePartition()), _things, ()),
    "merge": Workload(_stream("orders", _TABLE, Merge(key="thing_id", version="seen_at")), _things),
    "soft_changes": Workload(_stream("changes", _TABLE, Cdc(**_CHANGES, delete="soft")), _changes),
    "hard_changes": Workload(_stream("changes", _FILES, Cdc(**_CHANGES, delete="hard")), _changes),
    "history": Workload(
        _stream(
            "customers",
            _FILES,
            Snapshot(key="thing_id", history=True, guard=1.0),
            window_column=None,
            children=(Children(name="parts", contract=Parts),),
        ),
        _things_with_parts,
    ),
    "snapshot": Workload(
        _stream(
            "customers", _FILES, Snapshot(key="thing_id", removed="delete", guard=1.0), window_column=None
        ),
        _things,
    ),
    "documents": Workload(
        _stream(
            "papers",
            _LIBRARY,
            Merge(key="thing_id", version="seen_at"),
            extract=Documents(
                path="/papers/{identifier}", identifiers=NAMES, present_until=timedelta(days=7)
            ),
            transform=clean_documents,
            window_column=None,
        ),
        _things,
    ),
}
"""Every write disposition, over every kind of source; and the very first load of a data folder."""

CARELESS = {"careless": Careless(_stream("events", _FILES, Append()), _things)}
