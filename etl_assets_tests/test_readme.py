"""The README keeps its word: its example stream loads, its tables agree with the code, what it points at exists.

What belongs here: comparing the documents with the code. What does not: testing the code itself.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import duckdb
import pytest

from etl_assets.cli.backfill import run_backfill
from etl_assets.cli.main import app_for
from etl_assets.failures import ConfigurationError
from etl_assets.settings import VARIABLES, load_settings
from etl_assets.streams.discovery import discover_streams

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    ["README.md", "CHANGELOG.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
)
EXAMPLE = "etl_assets/streams/support/tickets.py"
PAGE_SIZE = 10
DAY = date(2025, 1, 31)


def example() -> str:
    """The Python block of the README that begins with the file's name."""
    (found,) = re.findall(rf"```python\n# {re.escape(EXAMPLE)}\n(.*?)```", README, re.DOTALL)
    return str(found)


def tickets() -> list[dict[str, Any]]:
    """A day of tickets: 24 good ones, of which one has no subject, and one of priority 9."""
    found = [
        {
            "ticket_id": f"T{number}",
            "subject": f"subject {number}" if number else None,
            "priority": 1 + number % 4,
            "email": f"Someone{number}@Example.com",
            "opened_at": "2025-01-30T09:00:00Z",
            "changed_at": f"2025-01-31T10:{number:02}:00Z",
        }
        for number in range(24)
    ]
    return [*found, {**found[-1], "ticket_id": "T-urgent", "priority": 9}]


class HelpDesk(BaseHTTPRequestHandler):
    """Serves the tickets as the example stream expects them."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        wanted = address.path == "/api/tickets" and self.headers["Authorization"] == "Bearer secret"
        if not wanted:
            self._answer(401, [])
            return
        page, size = int(query.get("page", "1")), min(int(query["per_page"]), PAGE_SIZE)
        inside = [
            ticket
            for ticket in tickets()
            if query["changed_from"] <= ticket["changed_at"] < query["changed_to"]
        ]
        rest = inside[page * size :]
        link = f'<{address.path}?{urlencode({**query, "page": page + 1})}>; rel="next"' if rest else ""
        self._answer(200, inside[(page - 1) * size : page * size], link)

    def _answer(self, status: int, body: list[dict[str, Any]], link: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if link:
            self.send_header("Link", link)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def help_desk() -> Iterator[str]:
    """Run the help desk; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), HelpDesk)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A package of streams that holds the README's example alone."""
    folder = tmp_path / "code" / "readme_streams" / "support"
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        (place / "__init__.py").touch()
    (folder / "tickets.py").write_text(example(), encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder.parent.parent))
    yield SimpleNamespace(name="readme_streams", folder=folder)
    for name in [name for name in sys.modules if name.startswith("readme_streams")]:
        del sys.modules[name]


def test_the_example_stream_loads(
    package: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ETL_SUPPORT_TOKEN", "secret")
    catalogue = discover_streams(package.name)
    assert list(catalogue) == ["support/tickets"]
    with help_desk() as url:
        monkeypatch.setenv("ETL_SUPPORT_URL", url)
        settings = load_settings()
        result = run_backfill(settings, catalogue, list(catalogue.values()), [DAY], quiet=True)
    (stream,) = result.streams
    assert result.exit_code == 0, result.as_json()
    assert (stream.rows["extracted"], stream.rows["loaded"], stream.rows["quarantined"]) == (25, 24, 1)
    assert stream.rows["warned"] == 1
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        rows = warehouse.execute(
            "SELECT ticket_id, priority, email, _partition FROM support.tickets WHERE ticket_id = 'T5'"
        ).fetchall()
        bad = warehouse.execute("SELECT rule, raw_payload FROM etl.quarantine").fetchall()
    assert rows == [("T5", 2, "s***@***", DAY)]
    assert [rule for rule, _ in bad] == ["priority.less_than_or_equal_to"]
    assert json.loads(bad[0][1])["ticket_id"] == "T-urgent"


def test_a_file_without_a_stream_is_named(package: SimpleNamespace) -> None:
    (package.folder / "notes.py").write_text('"""Nothing."""\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"notes\.py declares no STREAM"):
        discover_streams(package.name)


def settings_table() -> str:
    """The README's table of settings, as the code has them."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    lines += [
        f"| `{variable.name}` | {f'`{variable.default}`' if variable.default else ''} | {variable.description} |"
        for variable in VARIABLES
    ]
    return "\n".join(lines)


def test_the_settings_are_those_of_the_code() -> None:
    assert settings_table() in README


def test_every_command_is_described() -> None:
    app = app_for([])
    registered = {command.callback.__name__ for command in app.registered_commands if command.callback}
    registered |= {
        str(group.name or group.typer_instance.info.name)
        for group in app.registered_groups
        if group.typer_instance
    }
    described = re.findall(r"^\| `etl-assets ([\w-]+)", README, re.MULTILINE)
    assert {name.replace("-", "_") for name in described} == registered


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE))
    assert named >= {"demo", "test", "ui", "bench", "check"}
    assert named <= targets


def test_every_promise_names_a_test_that_exists() -> None:
    named = re.findall(
        r"`([a-z_/]+\.py)(?:::(\w+))?`", README.partition("## Promises")[2].partition("\n## ")[0]
    )
    assert len(named) >= 9
    missing = [
        f"{path}::{name}"
        for path, name in named
        if name not in functions_of(ROOT / "etl_assets_tests" / path)
    ]
    assert missing == []


def functions_of(path: Path) -> set[str]:
    """The functions that a file defines; the empty name stands for the file itself."""
    if not path.is_file():
        return set()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {"", *(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_within_the_project_leads_somewhere(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    broken = [
        target for target in targets if "://" not in target and not (path.parent / target).resolve().exists()
    ]
    assert broken == []


def test_benchmark_figures_are_those_that_were_measured() -> None:
    """Each row of the README's table of figures stands in the results just so."""
    table = README.partition("## Speed")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if re.match(r"^\| (?!case|-)", line)]
    assert rows
    measured = (ROOT / "benchmarks" / "results" / "latest.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows if row not in measured] == []
