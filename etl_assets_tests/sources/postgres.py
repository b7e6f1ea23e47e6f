"""A real PostgreSQL server for tests, in a folder of its own, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SYSTEM_USER = "postgres"
PASSWORD = "pa55-w0rd-0123456789"


@dataclass(frozen=True)
class PostgresServer:
    """A running server.

    Attributes:
        url: SQLAlchemy URL of a user that owns its database.
        data: Its folder.
        port: Where it listens, on 127.0.0.1.
    """

    url: str
    data: Path
    port: int
    _programs: Path

    def stop(self) -> None:
        """Stop at once, as a crash would."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-p {self.port} -k {self.data} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("start", "-w", "-l", str(self.data / "log"), "-o", options)

    def _control(self, *arguments: str) -> None:
        as_server([str(self._programs / "pg_ctl"), "-D", str(self.data), *arguments])


def as_server(command: list[str]) -> None:
    """Run a program of PostgreSQL's as a user that it accepts: it refuses to run as root."""
    prefix = ["runuser", "-u", SYSTEM_USER, "--"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *command], check=True, capture_output=True, cwd="/", timeout=120)


def programs() -> Path:
    """Find the folder of the server's programs; skips where there is none, or no driver."""
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve()] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL's server programs are not installed (on Debian: apt-get install postgresql)")
    return found[-1].parent


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server for the time of a ``with`` block."""
    folder = programs()
    # Not below pytest's own folders: those are closed to the server's user.
    data = Path(tempfile.mkdtemp(prefix="etl-assets-postgres-"))
    secret = data.with_suffix(".secret")
    try:
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(data, SYSTEM_USER)
            shutil.chown(secret, SYSTEM_USER)
        as_server(
            [
                *(str(folder / "initdb"), "-D", str(data), "-U", "reader", "--pwfile", str(secret)),
                *("--auth=scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C"),
            ]
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = f"postgresql+psycopg://reader:{PASSWORD}@127.0.0.1:{port}/postgres"
        server = PostgresServer(url, data, port, folder)
        server.start()
        try:
            yield server
        finally:
            if (data / "postmaster.pid").exists():
                server.stop()
    finally:
        secret.unlink(missing_ok=True)
        shutil.rmtree(data, ignore_errors=True)
