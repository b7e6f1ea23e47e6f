"""The pages about sources keep their word: each example loads as it stands there, and what they list is in the code.

What belongs here: comparing `docs/sources` with the code. What does not: testing the code itself.
"""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from etl_assets.failures import FailureClass
from etl_assets.observability.progress import SilentReporter
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams import base
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.sources.scripted import Asked, Reply, scripted_server

PAGES = Path(__file__).resolve().parent.parent / "docs" / "sources"
LONGEST_EXAMPLE = 80
TOKEN = "s3cret"
MISSING_WINDOW = "present_until" not in base.Rest.__dataclass_fields__

Serve = Callable[[date, Path], AbstractContextManager[str]]


@dataclass(frozen=True)
class Example:
    """What an example reads, and what becomes of it.

    Attributes:
        serve: Makes its source, with one day of rows, and gives the address.
        query: About its table.
        expected: What the query gives.
        quarantined: Rows that break its contract.
    """

    serve: Serve
    query: str
    expected: list[tuple[Any, ...]]
    quarantined: int = 0


@contextmanager
def billing(day: date, folder: Path) -> Iterator[str]:
    """Invoices behind a cursor and an API key, one without a readable amount."""
    rows = [
        {
            "invoice_id": f"I{number}",
            "amount": f"{number}.50",
            "issued_at": f"{day}T08:00:00Z",
            "changed_at": f"{day}T09:{number:02}:00Z",
        }
        for number in range(20)
    ]
    rows.append({**rows[0], "invoice_id": "I-odd", "amount": "much"})

    def answer(asked: Asked, number: int) -> Reply:
        if asked.headers.get("x-api-key") != TOKEN or asked.path != "/v2/invoices":
            return Reply(status=401)
        assert asked.parameters["changed_from"] == f"{day - timedelta(days=1)}T23:55:00Z"
        first = int(asked.parameters.get("cursor", "0"))
        following = str(first + 15) if first + 15 < len(rows) else None
        return Reply(json.dumps({"items": rows[first : first + 15], "paging": {"next": following}}).encode())

    with scripted_server(answer) as server:
        yield server.url


@contextmanager
def wiki(day: date, folder: Path) -> Iterator[str]:
    """Changes of two articles, one of which is deleted."""
    changes = [
        {"sequence": 1, "operation": "I", "article_id": "A", "title": "first"},
        {"sequence": 2, "operation": "I", "article_id": "B", "title": "other"},
        {"sequence": 3, "operation": "U", "article_id": "A", "title": "better"},
        {"sequence": 4, "operation": "D", "article_id": "B"},
    ]
    changes = [{**change, "changed_at": f"{day}T10:00:0{change['sequence']}Z"} for change in changes]

    def answer(asked: Asked, number: int) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}" or asked.path != "/changes":
            return Reply(status=401)
        after = int(asked.parameters.get("after", "0"))
        page = changes[after : after + 3]
        more = after + 3 < len(changes)
        return Reply(json.dumps({"changes": page, "last": after + len(page), "has_more": more}).encode())

    with scripted_server(answer) as server:
        yield server.url


@contextmanager
def hr(day: date, folder: Path) -> Iterator[str]:
    """Employees by offset, whatever day it is."""
    rows = [{"employee_id": f"E{number}", "department": "sales", "level": 3} for number in range(5)]

    def answer(asked: Asked, number: int) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}" or asked.path != "/employees":
            return Reply(status=401)
        first = int(asked.parameters["offset"])
        return Reply(json.dumps({"items": rows[first : first + 2], "total": len(rows)}).encode())

    with scripted_server(answer) as server:
        yield server.url


@contextmanager
def treasury(day: date, folder: Path) -> Iterator[str]:
    """A packed file of rates and its marker."""
    place = folder / f"{day:%Y}"
    place.mkdir()
    content = f"day;currency;rate\n{day};USD;1.039\n{day};gbp;0.836\n"
    (place / f"rates_{day}.csv.gz").write_bytes(gzip.compress(content.encode()))
    (place / f"rates_{day}.done").touch()
    yield str(folder)


@contextmanager
def stores(day: date, folder: Path) -> Iterator[str]:
    """Bookings in SQLite, one of them of another day."""
    with closing(sqlite3.connect(folder / "stores.db")) as database, database:
        database.execute(
            "CREATE TABLE bookings (booking_id INTEGER, article TEXT, quantity, booked_at TIMESTAMP)"
        )
        rows = [(number, "bolt", -number, f"{day} 10:00:00") for number in (1, 2)]
        rows.append((3, "bolt", 7, f"{day + timedelta(days=1)} 00:00:00"))
        database.executemany("INSERT INTO bookings VALUES (?, ?, ?, ?)", rows)
    yield f"sqlite:///{folder / 'stores.db'}"


EXAMPLES = {
    "rest": Example(billing, "SELECT count(*), sum(amount)::INT FROM billing.invoices", [(20, 200)], 1),
    "change_feed": Example(
        wiki,
        "SELECT article_id, title, _deleted_at IS NULL FROM wiki.articles ORDER BY 1",
        [("A", "better", True), ("B", "other", False)],
    ),
    "snapshot": Example(
        hr, "SELECT (SELECT count(*) FROM hr.employees), count(*) FROM hr.employees_history", [(5, 5)]
    ),
    "files": Example(
        treasury,
        "SELECT currency, rate::VARCHAR FROM treasury.rates ORDER BY 1",
        [("GBP", "0.836"), ("USD", "1.039")],
    ),
    "sql": Example(
        stores, "SELECT booking_id, quantity FROM warehouse_system.bookings ORDER BY 1", [(1, -1), (2, -2)]
    ),
}


def text_of(page: str) -> str:
    """Read a page."""
    return (PAGES / f"{page}.md").read_text(encoding="utf-8")


def example_of(page: str) -> tuple[str, str, str]:
    """Give source, stream and content of the Python block of a page that begins with the file's name."""
    pattern = r"```python\n# etl_assets/streams/(\w+)/(\w+)\.py\n(.*?)```"
    [(source, stream, content)] = re.findall(pattern, text_of(page), re.DOTALL)
    return source, stream, content


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page, marks=pytest.mark.skipif(page == "snapshot" and MISSING_WINDOW, reason="needs a window")
        )
        for page in EXAMPLES
    ],
)
def test_the_example_loads(
    page: str, tmp_path: Path, environment_of: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = EXAMPLES[page]
    source, name, content = example_of(page)
    package = f"{page}_page_streams"
    folder = tmp_path / "code" / package / source
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        (place / "__init__.py").touch()
    (folder / f"{name}.py").write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder.parent.parent))
    catalogue = discover_streams(package)
    assert list(catalogue) == [f"{source}/{name}"]
    stream = catalogue[f"{source}/{name}"]
    # Yesterday: the window is over, and the present may still be asked for.
    day = datetime.now(UTC).date() - timedelta(days=1)
    drops = tmp_path / "drops"
    drops.mkdir()
    with example.serve(day, drops) as address:
        variables = {f"ETL_{source.upper()}_URL": address, f"ETL_{source.upper()}_TOKEN": TOKEN}
        settings = load_settings(environment_of(**variables))
        environment = Environment.of(settings, catalogue.code_versions)
        with closing(environment.open_source(stream.source)) as reader:
            pipeline = PartitionPipeline(
                environment=environment, stream=stream, stages=frozenset(Stage), run_id="run", client=reader
            )
            for _ in range(2):
                [outcome] = run_partitions(pipeline, [day], reporter=SilentReporter(), threads=1)
    for module in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[module]
    assert outcome.status.is_published, outcome
    assert outcome.counts.quarantined == example.quarantined
    assert outcome.counts.conserved
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        assert warehouse.execute(example.query).fetchall() == example.expected


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_example_is_short(page: str) -> None:
    assert len(example_of(page)[2].splitlines()) < LONGEST_EXAMPLE


@pytest.mark.parametrize("page", ["README", *EXAMPLES])
def test_links_and_classes_of_failure_exist(page: str) -> None:
    text = text_of(page)
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    assert [target for target in targets if not (PAGES / target).resolve().exists()] == []
    named = set(re.findall(r"\| `(transient|rate_limited|permanent|\w+_class)`", text))
    assert named <= {kind.value for kind in FailureClass}


def test_every_kind_has_a_page() -> None:
    index = text_of("README")
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) >= set(EXAMPLES)


@pytest.mark.parametrize(
    ("declared", "page"),
    [
        *(
            (kind, "rest")
            for kind in ("Cursor", "AfterSequence", "LinkHeader", "NextUrl", "PageNumber", "OffsetLimit")
        ),
        *(
            (kind, "rest")
            for kind in ("NoAuthentication", "BearerToken", "ApiKey", "Basic", "OAuth2ClientCredentials")
        ),
    ],
)
def test_ways_of_paging_and_authentication_are_described(declared: str, page: str) -> None:
    row = re.search(rf"^\| `{declared}[(`].*\|$", text_of(page), re.MULTILINE)
    assert row is not None
    resumable = getattr(getattr(base, declared), "resumable", None)
    if resumable is not None:
        assert row[0].endswith("| yes |" if resumable else "| no |")
