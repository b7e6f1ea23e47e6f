"""Fixtures for tests of what people see: loaded days of which one failed, Dagster's web server, and Chromium.

What belongs here: processes and pages. What does not: what a page must show.

Fixtures that hold a browser end with this package: while one is open, its event loop is in the way of others' tests.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import httpx
import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Response, sync_playwright

from etl_assets.demo.faults import Faults
from etl_assets.demo.server import end_process, running_source
from etl_assets_tests.conftest import NOBODY

DAYS = 12
FAILED_DAY = 4
START_SECONDS = 60.0
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOADED = """{ workspaceOrError { ... on Workspace { locationEntries {
  loadStatus locationOrLoadError { ... on PythonError { message } }
} } } }"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class LoadedDays:
    """A data folder after a backfill of all its partitions, one of which failed for good.

    Attributes:
        folder: The data folder.
        environment: The environment of the backfill, for further processes over the same data.
        days: All partitions, in order.
        failed: The one that failed.
    """

    folder: Path
    environment: dict[str, str]
    days: tuple[date, ...]
    failed: date

    @property
    def good(self) -> tuple[date, ...]:
        """The partitions that were published, in order."""
        return tuple(day for day in self.days if day != self.failed)

    def latest(self, stream: str) -> date:
        """The partition that was committed last; days that are prepared at once can change places."""
        with closing(duckdb.connect(self.folder / "warehouse.duckdb", read_only=True)) as connection:
            found = connection.execute(
                "SELECT arg_max(partition, load_id) FROM etl.loads WHERE source || '/' || stream = ?",
                [stream],
            ).fetchone()
        assert found is not None
        return date.fromisoformat(str(found[0]))

    def numbers(self, stream: str, day: date, *columns: str) -> tuple[int, ...]:
        """Look up numbers of a day's load in the warehouse, which is not what the UI reads."""
        with closing(duckdb.connect(self.folder / "warehouse.duckdb", read_only=True)) as connection:
            found = connection.execute(
                f"SELECT {', '.join(columns)} FROM etl.loads WHERE source || '/' || stream = ? AND partition = ?",
                [stream, day],
            ).fetchall()
        assert len(found) == 1
        return tuple(int(number) for number in found[0])


@dataclass
class Screen:
    """One page of the UI, and everything that the browser complained about on it."""

    page: Page
    url: str
    folders: tuple[Path, ...]
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str, *, until: str) -> Page:
        """Go to a path of the UI and wait for a text."""
        self.page.goto(f"{self.url}{path}")
        self.page.get_by_text(until, exact=True).first.wait_for()
        return self.page

    def save(self, name: str) -> Path:
        """Keep a picture; gives the first of its copies."""
        picture = self.page.screenshot()
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(picture)
        return self.folders[0] / f"{name}.png"

    def on_console(self, message: ConsoleMessage) -> None:
        """Note errors; the warnings of a release build are about its own libraries."""
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def on_error(self, error: Exception) -> None:
        """Note exceptions that no script caught."""
        self.complaints.append(f"exception: {error}")

    def on_response(self, response: Response) -> None:
        """Note answers that are errors."""
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_ui(url: str, process: subprocess.Popen[str], log: Path) -> None:
    """Wait until a UI answers and has loaded its definitions; a definition that cannot be loaded is a failure."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            answer = httpx.post(f"{url}/graphql", json={"query": LOADED}, trust_env=False, timeout=30).json()
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        for entry in answer["data"]["workspaceOrError"]["locationEntries"]:
            found = entry["locationOrLoadError"] or {}
            if "message" in found:
                pytest.fail(f"the definitions cannot be loaded: {found['message']}")
            if entry["loadStatus"] == "LOADED":
                return
        time.sleep(0.1)
    pytest.fail(f"the UI did not start; it said:\n{log.read_text()[-2000:]}")


def end(process: subprocess.Popen[str]) -> None:
    """End a process that ends its own children."""
    end_process(process, 30)


def command_environment(folder: Path, **variables: str) -> dict[str, str]:
    """Environment of a process that works in a folder of its own and inherits no setting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ETL_", "DAGSTER_"))}
    own = {"ETL_DATA_DIR": str(folder), "PYTHONUNBUFFERED": "1", "ETL_EIDC_URL": NOBODY}
    return {**kept, **own, **variables}


@pytest.fixture(scope="session")
def loaded_days(tmp_path_factory: pytest.TempPathFactory) -> LoadedDays:
    """Twelve days of order lines and orders by the command line, the fifth of which the source refuses for good."""
    folder = tmp_path_factory.mktemp("loaded")
    last = datetime.now(UTC).date() - timedelta(days=1)
    days = tuple(last - timedelta(days=DAYS - 1 - number) for number in range(DAYS))
    failed = days[FAILED_DAY]
    with running_source(faults=Faults(fail_days=[failed.isoformat()])) as source:
        environment = command_environment(
            folder,
            ETL_SHOP_URL=source.url,
            ETL_SHOP_TOKEN=source.token,
            ETL_START_DATE=days[0].isoformat(),
        )
        command = [sys.executable, "-m", "etl_assets", "backfill", "shop/order_lines", "shop/orders"]
        command += ["--from", days[0].isoformat(), "--to", days[-1].isoformat()]
        done = subprocess.run(
            command, env=environment, cwd=folder, text=True, capture_output=True, check=False
        )
    assert done.returncode == 1, done.stdout + done.stderr
    return LoadedDays(folder, environment, days, failed)


@pytest.fixture(scope="session")
def ui_url(loaded_days: LoadedDays) -> Iterator[str]:
    """Dagster's web server over the loaded days."""
    url, log = f"http://127.0.0.1:{(port := free_port())}", loaded_days.folder / "webserver.log"
    home = loaded_days.folder / "dagster_home"
    command = [sys.executable, "-m", "dagster_webserver", "-m", "etl_assets.definitions"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env={**loaded_days.environment, "DAGSTER_HOME": str(home)},
            cwd=loaded_days.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_for_ui(url, process, log)
            yield url
        finally:
            end(process)


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """The system's Chromium with a fresh profile; skips where there is none."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium here: install it, or name its program in CHROMIUM")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=program,
            headless=True,
            args=list(CHROMIUM_OPTIONS),
            viewport={"width": 1600, "height": 1000},
            timezone_id="UTC",
            locale="en-GB",
        )
        yield context
        context.close()


@pytest.fixture
def screen(chromium: BrowserContext, ui_url: str, tmp_path: Path) -> Iterator[Screen]:
    """A new page of the UI over the loaded days; the test fails if the browser complained."""
    kept = os.environ.get("ETL_SCREENSHOTS")
    page = chromium.new_page()
    screen = Screen(page, ui_url, (tmp_path, *([Path(kept)] if kept else [])))
    page.on("console", screen.on_console)
    page.on("pageerror", screen.on_error)
    page.on("response", screen.on_response)
    yield screen
    page.close()
    assert screen.complaints == []
