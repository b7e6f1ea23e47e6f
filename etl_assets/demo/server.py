"""Running the demo source: blocking, in a thread, or as a process of its own.

What belongs here: listening, starting, stopping. What does not: what is served.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from asyncio import BaseTransport, Transport
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from etl_assets.demo.app import create_app
from etl_assets.demo.clock import Clock
from etl_assets.demo.control import SourceControl
from etl_assets.demo.datasets import DatasetCatalogue
from etl_assets.demo.faults import Faults
from etl_assets.demo.generator import GeneratedShop
from etl_assets.demo.middleware import CONNECTION, Stats
from etl_assets.demo.retail import RetailShop
from etl_assets.demo.shop import Shop
from etl_assets.failures import ConfigurationError

DEFAULT_TOKEN = "demo-token"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
ADDRESS = re.compile(r"http://\S+:\d+")


@dataclass(frozen=True, slots=True)
class RunningSource:
    """A source in a thread of this process; faults, clock and counts may be used directly."""

    url: str
    token: str
    faults: Faults
    clock: Clock
    stats: Stats


@dataclass(frozen=True, slots=True)
class SpawnedSource:
    """A source in a process of its own; `control` switches faults, sets the clock and reads counts."""

    url: str
    token: str
    pid: int
    control: SourceControl


def make_shop(data: Path | None = None, *, seed: int = 0, lines_per_day: int | None = None) -> Shop:
    """The shop of a folder of retail day files, or a generated one if no folder is given.

    Raises:
        ConfigurationError: If the folder or the number of lines cannot be used.
    """
    if data is not None:
        return RetailShop(data)
    return GeneratedShop(seed, lines_per_day)


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Args:
        host: Name or address to listen on.
        port: Port; 0 takes any free one.

    Raises:
        ConfigurationError: If the port is taken or may not be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}: {error.strerror}", hint="use --host 127.0.0.1"
        ) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise ConfigurationError(
            f"port {port} on {host} {reason}", hint="choose another one with --port"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: Starlette, listener: socket.socket, *, stop_with: IO[bytes] | None = None) -> None:
    """Serve until interrupted or terminated.

    Args:
        app: From `create_app`.
        listener: From `listen`.
        stop_with: Stop also when this stream ends; it ends with the process that holds its other side.
    """
    server = _make_server(app)
    if stop_with is not None:
        threading.Thread(target=_stop_at_end, args=(stop_with, server), daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        # The server hands the signal on after its orderly stop; for a person's Ctrl-C that is the expected
        # end.
        pass
    finally:
        listener.close()


@contextmanager
def running_source(
    shop: Shop | None = None,
    *,
    data: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = DEFAULT_TOKEN,
    clock: Clock | None = None,
    faults: Faults | None = None,
    seed: int = 0,
    lines_per_day: int | None = None,
    datasets: DatasetCatalogue | None = None,
) -> Iterator[RunningSource]:
    """Run a source in a thread for the time of a ``with`` block.

    Args:
        shop: What to serve; if not given, `data` or a generated shop is.
        data: Folder of retail day files.
        host: Where to listen.
        port: Port; 0 takes any free one.
        token: The bearer token to ask for.
        clock: The shop's clock; real time if not given.
        faults: The faults; none if not given.
        seed: Of the generated shop.
        lines_per_day: Of the generated shop.
        datasets: The catalogue of datasets; made-up ones if not given.

    Raises:
        ConfigurationError: If the port is taken or the data cannot be used.
    """
    shop = shop if shop is not None else make_shop(data, seed=seed, lines_per_day=lines_per_day)
    source_clock, source_faults, stats = clock or Clock(), faults or Faults(), Stats()
    listener = listen(host, port)
    server = _make_server(
        create_app(
            shop, token=token, clock=source_clock, faults=source_faults, stats=stats, datasets=datasets
        )
    )
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="demo-source", daemon=True
    )
    url = address_of(listener)
    thread.start()
    try:
        _wait_until(lambda: server.started, thread.is_alive, lambda: "its thread ended")
        yield RunningSource(url, token, source_faults, source_clock, stats)
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)
        listener.close()


@contextmanager
def spawn_source(
    *,
    data: Path | None = None,
    port: int = 0,
    token: str = DEFAULT_TOKEN,
    now: str | None = None,
    seed: int = 0,
    lines_per_day: int | None = None,
    deliver: bool = False,
    options: Sequence[str] = (),
) -> Iterator[SpawnedSource]:
    """Run a source as a process of its own for a ``with`` block; it also ends when this process dies.

    Args:
        data: Folder of retail day files; a generated shop if not given.
        port: Port on 127.0.0.1; 0 takes any free one.
        token: The bearer token to ask for.
        now: RFC 3339 time at which the shop's clock stands still.
        seed: Of the generated shop.
        lines_per_day: Of the generated shop.
        deliver: Deliver finance files and ERP postings as well, to where the environment says.
        options: Further options of ``etl-assets source``, such as ``["--errors", "0.05"]``.

    Raises:
        ConfigurationError: If the source does not start; the message is what it said last.
    """
    command = [sys.executable, "-m", "etl_assets", "source", "--stop-with-input", "--port", str(port)]
    command += ["--deliver" if deliver else "--no-deliver", "--seed", str(seed), *options]
    for option, value in (("--data", data), ("--now", now), ("--lines-per-day", lines_per_day)):
        if value is not None:
            command += [option, str(value)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(token),
        text=True,
        errors="replace",
        start_new_session=True,
    )
    said: deque[str] = deque(maxlen=20)
    address: list[str] = []
    reader = threading.Thread(target=_read_output, args=(process.stdout, said, address), daemon=True)
    reader.start()
    try:
        _wait_until(lambda: bool(address), reader.is_alive, lambda: _message(said))
        control = SourceControl(address[0])
        try:
            yield SpawnedSource(address[0], token, process.pid, control)
        finally:
            control.close()
    finally:
        _end(process, reader)


class _ClosableProtocol(HttpToolsProtocol):
    """Hands the connection to the application, so that a fault can close it without an answer."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(cast(Transport, transport))
        inner = cast(ASGIApp, self.app)

        async def with_connection(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[CONNECTION] = transport
            await inner(scope, receive, send)

        self.app = with_connection


def _make_server(app: Starlette) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=_ClosableProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level=logging.WARNING,
            timeout_graceful_shutdown=1,
            # Close to what a slow, single-threaded client may need between two pages of a large day.
            timeout_keep_alive=75,
            server_header=False,
        )
    )


def _stop_at_end(stream: IO[bytes], server: uvicorn.Server) -> None:
    while stream.read(1):
        pass
    server.should_exit = True


def _environment(token: str) -> dict[str, str]:
    # The token goes by the environment, where other users of the machine cannot read it as they can a command
    # line.
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "ETL_SHOP_TOKEN": token,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }


def _read_output(stream: IO[str], said: deque[str], address: list[str]) -> None:
    # Reading on to the end keeps the pipe from filling up and stopping the source.
    for line in stream:
        if line.strip():
            said.append(line.strip())
        found = ADDRESS.search(line)
        if found and not address:
            address.append(found.group())


def _message(said: Iterable[str]) -> str:
    # The command line may draw a frame around an error, and wrap it; of a traceback the last line says what
    # happened.
    lines = [line.strip("│╭╮╰╯─ ") for line in said]
    if any(line.startswith("Traceback") for line in lines):
        return lines[-1]
    return " ".join(
        line for line in lines if line and line != "Error" and not line.startswith(("Usage:", "Try "))
    )


def _wait_until(done: Callable[[], bool], alive: Callable[[], bool], last_words: Callable[[], str]) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not done():
        if not alive() or time.monotonic() > give_up:
            if done():
                return
            said = last_words()
            raise ConfigurationError(f"the demo source did not start: {said or 'it said nothing'}")
        time.sleep(0.01)


def end_process(process: subprocess.Popen[Any], seconds: float) -> None:
    """Ask a process to end, and kill it if it does not.

    Args:
        process: The process.
        seconds: How long it has.
    """
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end(process: subprocess.Popen[str], reader: threading.Thread) -> None:
    end_process(process, STOP_SECONDS)
    reader.join(STOP_SECONDS)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
