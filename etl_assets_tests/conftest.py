"""Fixtures for all tests: settings in a folder of their own, the real data, and a demo source.

What belongs here: what more than one room's tests need. What does not: fixtures of a single room.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from etl_assets.demo.server import RunningSource, running_source
from etl_assets.observability.logging import configure_logging
from etl_assets.settings import Settings, load_settings

PROJECT = Path(__file__).parents[1]
REAL_DATA = PROJECT.parent / "shared" / "data" / "online_retail" / "by-day.tar.gz"

NOBODY = "http://127.0.0.1:9"
"""An address of this machine at which nobody listens."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Take a process more than there are cores: each waits for servers, disks and commands a quarter of its time."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True, scope="session")
def no_strangers() -> Iterator[None]:
    """Let no test ask a server that is not on this machine, such as the public catalogue whose address is a default."""
    look_up = socket.getaddrinfo

    def look_up_own(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in (None, "", "localhost") and not _is_own(host):
            raise socket.gaierror(socket.EAI_NONAME, f"a test asks for {host}")
        return look_up(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up_own)
        yield


def _is_own(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    for spelled in (str, _whole_address):
        with suppress(ValueError, OSError):
            return ipaddress.ip_address(spelled(name)).is_loopback
    return False


def _whole_address(name: str) -> str:
    """Spell an address that is written short, such as 127.1."""
    return socket.inet_ntoa(socket.inet_aton(name))


@pytest.fixture(autouse=True)
def quiet_logs() -> None:
    """Keep log lines out of the tests' output; a test that wants them configures its own."""
    configure_logging("console", "ERROR")


@pytest.fixture(scope="session")
def retail_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the real retail day files; skips where the data is not beside the project."""
    if not REAL_DATA.is_file():
        pytest.skip(f"the real data is not there: {REAL_DATA.relative_to(PROJECT.parent)}")
    folder = tmp_path_factory.mktemp("online_retail")
    with tarfile.open(REAL_DATA) as archive:
        archive.extractall(folder, filter="data")
    return folder / "byday"


@pytest.fixture
def source() -> Iterator[RunningSource]:
    """A running demo source with generated days."""
    with running_source() as running:
        yield running


@pytest.fixture
def environment_of(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Makes environment variables for a source and a data folder of its own, for this process or another."""

    def make(source: RunningSource | None = None, folder: str = "data", **more: str) -> dict[str, str]:
        variables = {
            "ETL_DATA_DIR": str(tmp_path / folder),
            "ETL_STEP_RETRY_DELAY": "0.1",
            "ETL_LOCK_TIMEOUT": "60",
            "ETL_EIDC_RATE": "10000",
        }
        if source is not None:
            variables |= {"ETL_SHOP_URL": source.url, "ETL_SHOP_TOKEN": source.token}
        variables["ETL_EIDC_URL"] = source.url if source is not None else NOBODY
        return variables | more

    return make


@pytest.fixture
def settings(
    source: RunningSource, environment_of: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings for this test alone, also set in the process's environment, pointing at the demo source."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name, value in environment_of(source).items():
        monkeypatch.setenv(name, value)
    return load_settings()
