"""A real HTTP server on localhost that answers as it is told, badly if need be.

What belongs here: replies and how they go wrong. What does not: any API (the shop's: `etl_assets.demo`).
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        body: Its body.
        status: HTTP status.
        headers: Further headers.
        delay: Seconds before the first byte.
        cut_after: Bytes of the body after which the connection closes; the header promises all of it.
        stall_after: Bytes of the body after which nothing comes any more.
        trickle: Seconds between any two bytes of the body.
        declare_length: Whether the header tells the body's length; if not, the end of the connection ends it.
        hang_up: Close the connection without a byte.
    """

    body: bytes = b'{"data": []}'
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay: float = 0.0
    cut_after: int | None = None
    stall_after: int | None = None
    trickle: float = 0.0
    declare_length: bool = True
    hang_up: bool = False


@dataclass(frozen=True)
class Asked:
    """A request as the server saw it."""

    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    method: str = "GET"
    form: dict[str, str] = field(default_factory=dict)
    body: str = ""


Script = Callable[[Asked, int], Reply]
"""Gives the reply to a request; the number counts requests from 0."""


class ScriptedServer:
    """What the server was asked, and how it answers."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.url = ""
        self.most_at_once = 0
        self.connections = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.ended = threading.Event()

    def take(self, asked: Asked) -> Reply:
        """Note a request and choose its reply."""
        with self._lock:
            number = len(self.asked)
            self.asked.append(asked)
        return self.script(asked, number)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count the requests that are answered at the same time."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1


def in_turn(*replies: Reply) -> Script:
    """Give the replies one after the other, and the last one for ever."""
    return lambda asked, number: replies[min(number, len(replies) - 1)]


@contextmanager
def scripted_server(script: Script, *, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Run a server for the time of a ``with`` block.

    Args:
        script: What it answers.
        tls: Speak TLS, with this certificate.
    """
    state = ScriptedServer(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are sent apart; without this the body waits 40 ms for the headers' acknowledgement.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            state.connections += 1
            super().setup()

        def do_GET(self) -> None:
            self._reply({}, "")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            self._reply(dict(parse_qsl(body, keep_blank_values=True)), body)

        def _reply(self, form: dict[str, str], body: str) -> None:
            split = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            parameters = dict(parse_qsl(split.query, keep_blank_values=True))
            asked = Asked(split.path, parameters, headers, self.command, form, body)
            with state.under_way():
                _answer(self, state.take(asked), state.ended)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        # The handshake is left to the thread that answers; the one that accepts must not wait for it.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        state.ended.set()
        server.shutdown()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, reply: Reply, ended: threading.Event) -> None:
    time.sleep(reply.delay)
    if reply.hang_up:
        handler.close_connection = True
        return
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    if reply.declare_length:
        handler.send_header("Content-Length", str(len(reply.body)))
    else:
        handler.send_header("Connection", "close")
        handler.close_connection = True
    handler.end_headers()
    part = reply.cut_after if reply.cut_after is not None else reply.stall_after
    sent = reply.body if part is None else reply.body[:part]
    try:
        for piece in [sent[i : i + 1] for i in range(len(sent))] if reply.trickle else [sent]:
            handler.wfile.write(piece)
            ended.wait(reply.trickle)
    except OSError:
        # The client has heard enough; that is its right.
        handler.close_connection = True
        return
    if reply.stall_after is not None:
        ended.wait(5)
    if part is not None:
        handler.close_connection = True
