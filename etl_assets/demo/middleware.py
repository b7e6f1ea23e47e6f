"""What stands between the network and the API: counting, authorisation, faults on a real connection.

What belongs here: ASGI wrappers that need no knowledge of the API's records. What does not: deciding which
request a fault strikes (see `faults`), answering (see `app`).
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from typing import Any

import orjson
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etl_assets.demo.faults import ERROR_STATUSES, Decider, Decision, Fate, Faults, retry_after_header

HEALTH = "/v1/health"
CONTROL = "/_control/"
OPEN_PATHS = (HEALTH, CONTROL, "/id/")
"""Beginnings of paths that need no token."""
CONNECTION = "etl_assets.connection"
PROXY_PAGE = b"<!DOCTYPE html><html><head><title>Please wait</title></head><body>Please wait</body></html>"


class Stats:
    """How many requests were answered, by path and by how: a status, or ``cut_off`` or ``closed``."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()

    def count(self, path: str, outcome: str) -> None:
        """Count one request."""
        self.requests[path, outcome] += 1

    def reset(self) -> None:
        """Begin at zero."""
        self.requests.clear()

    @property
    def total(self) -> int:
        """All requests."""
        return self.requests.total()

    def to_json(self) -> dict[str, Any]:
        """``{"total": n, "requests": {path: {outcome: n}}}``."""
        by_path: dict[str, dict[str, int]] = {}
        for (path, outcome), count in sorted(self.requests.items()):
            by_path.setdefault(path, {})[outcome] = count
        return {"total": self.total, "requests": by_path}


def error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """An answer with the API's error body."""
    body = orjson.dumps({"error": {"code": code, "message": message}})
    return Response(body, status, headers, media_type="application/json")


class Authorisation:
    """Lets only requests with the bearer token through; health, control and the catalogue of datasets need none."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(OPEN_PATHS):
            given = Headers(scope=scope).get("authorization", "").encode("utf-8", "replace")
            if not hmac.compare_digest(given, self._expected):
                answer = error_response(
                    401, "unauthorized", "send Authorization: Bearer <token>", {"WWW-Authenticate": "Bearer"}
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


class FaultyConnection:
    """Counts requests and carries faults out."""

    def __init__(self, app: ASGIApp, faults: Faults, decider: Decider, stats: Stats) -> None:
        self._app = app
        self._faults = faults
        self._decider = decider
        self._stats = stats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        query_string = scope["query_string"].decode("latin-1")
        decision = self._decider.decide(path, query_string, QueryParams(query_string))
        if self._faults.latency:
            await asyncio.sleep(self._faults.latency)
        if decision.fate is Fate.DOWN:
            self._stats.count(path, "closed")
            await _close(scope, receive, send)
        elif decision.fate is Fate.CUT_OFF:
            await self._cut_off(scope, receive, send)
        else:
            answer = self._app if decision.fate is Fate.ANSWERED else self._instead(decision)
            await answer(scope, receive, self._counting(path, send))

    def _instead(self, decision: Decision) -> Response:
        if decision.fate is Fate.DAY_FAILS:
            return error_response(self._faults.fail_status, "day_unavailable", "this day cannot be served")
        if decision.fate is Fate.HTML:
            return Response(PROXY_PAGE, 200, media_type="text/html")
        if decision.fate is Fate.RATE_LIMITED:
            headers = {"Retry-After": retry_after_header(self._faults, decision.roll)}
            return error_response(429, "rate_limited", "too many requests, slow down", headers)
        status = ERROR_STATUSES[decision.roll // 2 % len(ERROR_STATUSES)]
        return error_response(status, "server_error", "something broke, on purpose")

    def _counting(self, path: str, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._stats.count(path, str(message["status"]))
            await send(message)

        return counting

    async def _cut_off(self, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        start, body = messages[0], b"".join(message.get("body", b"") for message in messages[1:])
        path = scope["path"]
        if len(body) < 2:
            self._stats.count(path, str(start["status"]))
            for message in messages:
                await send(message)
            return
        self._stats.count(path, "cut_off")
        await send(start)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await _close(scope, receive, send)


async def _close(scope: Scope, receive: Receive, send: Send) -> None:
    """Close the connection as it stands; where the server does not hand it out, answer 503 instead."""
    connection = scope.get("extensions", {}).get(CONNECTION)
    if connection is None:
        await error_response(503, "down", "the shop is down")(scope, receive, send)
        return
    connection.close()
    while (await receive())["type"] != "http.disconnect":
        pass
