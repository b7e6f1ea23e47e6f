"""The control endpoints, and the client that works them from another process.

What belongs here: switching faults, setting the clock and reading counts over HTTP. What does not: their
effect.

`/_control/faults`: GET gives the switches, POST sets them all (what the body leaves out is off), DELETE
switches all off. `/_control/clock`: GET gives the clock, POST sets it, see `Clock.apply`. `/_control/stats`:
GET gives the counts, DELETE zeroes them. Only clients on the same machine get in; they need no token.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl_assets.demo.clock import Clock, ControlError
from etl_assets.demo.faults import Decider, Faults
from etl_assets.demo.middleware import Stats, error_response

log = structlog.get_logger(__name__)
Handler = Callable[[Request], Awaitable[Response]]


def control_routes(clock: Clock, faults: Faults, decider: Decider, stats: Stats) -> list[Route]:
    """The routes under ``/_control``."""

    async def control_faults(request: Request) -> Response:
        if request.method in ("POST", "DELETE"):
            faults.set_to(Faults.from_json(await _object(request) if request.method == "POST" else {}))
            decider.forget()
            log.info("faults_changed", source="shop", faults=faults.to_json())
        return _json(faults.to_json())

    async def control_clock(request: Request) -> Response:
        if request.method == "POST":
            clock.apply(await _object(request))
            log.info("clock_changed", source="shop", clock=clock.describe())
        return _json(clock.describe())

    async def control_stats(request: Request) -> Response:
        if request.method == "DELETE":
            stats.reset()
        return _json(stats.to_json())

    return [
        Route("/_control/faults", _local(control_faults), methods=["GET", "POST", "DELETE"]),
        Route("/_control/clock", _local(control_clock), methods=["GET", "POST"]),
        Route("/_control/stats", _local(control_stats), methods=["GET", "DELETE"]),
    ]


class SourceControl:
    """Works the control endpoints of a source on this machine.

    Args:
        url: Address of the source.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def set_faults(self, **switches: Any) -> dict[str, Any]:
        """Switch the given faults on and all others off; see `Faults` for their names.

        Raises:
            ControlError: If one is unknown or out of range.
        """
        return self._send("POST", "/_control/faults", switches)

    def set_clock(self, **command: Any) -> dict[str, Any]:
        """Set the clock; see `Clock.apply`.

        Raises:
            ControlError: If the command is none.
        """
        return self._send("POST", "/_control/clock", command)

    def stats(self) -> dict[str, Any]:
        """Requests so far: ``{"total": n, "requests": {path: {outcome: n}}}``."""
        return self._send("GET", "/_control/stats")

    def reset_stats(self) -> None:
        """Begin counting at zero."""
        self._send("DELETE", "/_control/stats")

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self._client.request(method, path, content=None if body is None else orjson.dumps(body))
        values: dict[str, Any] = orjson.loads(answer.content)
        if answer.status_code == 400:
            raise ControlError(values["error"]["message"])
        answer.raise_for_status()
        return values


def _local(handler: Handler) -> Handler:
    async def guarded(request: Request) -> Response:
        if request.client is None or not _is_loopback(request.client.host):
            return error_response(403, "forbidden", "control is for clients on the same machine only")
        return await handler(request)

    return guarded


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def _object(request: Request) -> dict[str, Any]:
    try:
        values = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise ControlError("the body is not JSON") from None
    if not isinstance(values, dict):
        raise ControlError("the body must be a JSON object")
    return values


def _json(values: dict[str, Any]) -> Response:
    return Response(orjson.dumps(values), media_type="application/json")
