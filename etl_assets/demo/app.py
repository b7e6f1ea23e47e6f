"""The Shop API as a Starlette application.

What belongs here: paths, parameters, paging, caching headers, compression. What does not: the records
themselves (see `shop`), faults (see `faults` and `middleware`), the control endpoints (see `control`),
running a server (see `server`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from etl_assets.demo.answers import Body, answer, answer_known
from etl_assets.demo.cache import WeightedCache
from etl_assets.demo.clock import Clock, parse_time
from etl_assets.demo.control import control_routes
from etl_assets.demo.dataset_api import dataset_routes
from etl_assets.demo.datasets import DatasetCatalogue, MadeUpDatasets
from etl_assets.demo.faults import Decider, Faults
from etl_assets.demo.middleware import Authorisation, FaultyConnection, Stats, error_response
from etl_assets.demo.shop import DAY, FIRST_SECOND, LAST_SECOND, Record, Shop, ceil_seconds
from etl_assets.failures import EtlError

MOST_LINES, MOST_ORDERS, MOST_CUSTOMERS, MOST_CHANGES = 10_000, 1_000, 1_000, 5_000
TOTAL_HEADER = "X-Total-Count"
"""Records of the whole window; more than the API's contract promises."""
LONGEST_COUNTED_WINDOW = 31 * DAY
GREATEST_OFFSET = 10**15
KNOWN_BYTES = 32_000_000
"""Of answers that were given before."""
DRIFT_FIELD = "api_revision"
P = ParamSpec("P")
T = TypeVar("T")


class ParameterError(ValueError):
    """A parameter that cannot be used; answered 400."""


def create_app(
    shop: Shop,
    *,
    token: str,
    clock: Clock,
    faults: Faults,
    stats: Stats | None = None,
    datasets: DatasetCatalogue | None = None,
) -> Starlette:
    """Put a shop, and a catalogue of datasets, behind their APIs.

    Args:
        shop: Where the records come from. It is asked from one thread only.
        token: The bearer token to ask for.
        clock: The shop's clock; may be changed while serving.
        faults: The faults; may be changed while serving.
        stats: Where requests are counted; a new one if not given.
        datasets: The catalogue of datasets; made-up ones if not given.
    """
    api = _Api(shop, clock, faults)
    stats = stats if stats is not None else Stats()
    decider = Decider(faults)
    routes = [
        Route("/v1/health", _health),
        Route("/v1/order-lines", api.order_lines),
        Route("/v1/orders", api.orders),
        Route("/v1/customers", api.customers),
        Route("/v1/products/changes", api.product_changes),
        *dataset_routes(datasets if datasets is not None else MadeUpDatasets()),
        *control_routes(clock, faults, decider, stats),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(FaultyConnection, faults=faults, decider=decider, stats=stats),
            Middleware(Authorisation, token=token),
        ],
        exception_handlers={
            HTTPException: _http_error,
            ValueError: _bad_request,
            EtlError: _broken_shop,
        },
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What is kept of an answer: its tag and compressed form; a year of whole bodies would take 130 MB."""

    body: Body
    headers: dict[str, str]

    @property
    def weight(self) -> int:
        return 1_000 + len(self.body.packed or b"")


class _Api:
    def __init__(self, shop: Shop, clock: Clock, faults: Faults) -> None:
        self._shop = shop
        self._clock = clock
        self._faults = faults
        self._known: WeightedCache[Hashable, _Known] = WeightedCache(KNOWN_BYTES, lambda known: known.weight)
        # One thread: a shop needs no locks, and health still answers while a shop reads its files for the
        # first time.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shop")

    async def order_lines(self, request: Request) -> Response:
        start, end = _window(request, "from", "to")
        limit = _count(request, "limit", 1_000, MOST_LINES)
        cursor = request.query_params.get("cursor") or None
        if self._faults.empties(request.query_params):
            start, end, cursor = end, end, None
        now = self._now()
        asked = (start, end, cursor, limit)
        version = None if self._drifts else await self._ask(self._shop.lines_version, start, end, now)
        if version is None:
            return answer(request, *await self._ask(self._line_page, *asked, now))
        known = self._known.find((version, asked))
        if known is not None:
            response = answer_known(request, known.body, known.headers)
            if response is not None:
                return response
        plain, headers = await self._ask(self._line_page, *asked, now)
        body = Body.of(plain)
        response = answer_known(request, body, headers)
        assert response is not None
        body.plain = None
        self._known.keep((version, asked), _Known(body, headers))
        return response

    def _line_page(
        self, start: int, end: int, cursor: str | None, limit: int, now: int
    ) -> tuple[bytes, dict[str, str]]:
        page = self._shop.lines(start, end, cursor, limit, now)
        headers = {}
        if cursor is None and end - start <= LONGEST_COUNTED_WINDOW:
            headers[TOTAL_HEADER] = str(self._shop.count_lines(start, end, now))
        data = b"".join((b"[", page.body, b"]"))
        if self._drifts:
            data = orjson.dumps(self._drifted(orjson.loads(data)))
        return b"".join(
            (b'{"data":', data, b',"next_cursor":', orjson.dumps(page.next_cursor), b"}")
        ), headers

    async def orders(self, request: Request) -> Response:
        start, end = _window(request, "updated_from", "updated_to")
        number = _count(request, "page", 1, GREATEST_OFFSET)
        size = _count(request, "per_page", 100, MOST_ORDERS)
        if self._faults.empties(request.query_params):
            start = end
        page = await self._ask(self._shop.orders, start, end, (number - 1) * size, size, self._now())
        headers = {TOTAL_HEADER: str(page.total)}
        if page.has_more:
            url = request.url.include_query_params(page=number + 1, per_page=size)
            headers["Link"] = f'<{url}>; rel="next"'
        return answer(request, orjson.dumps(self._drifted(page.orders)), headers)

    async def customers(self, request: Request) -> Response:
        offset = _count(request, "offset", 0, GREATEST_OFFSET, least=0)
        limit = _count(request, "limit", 100, MOST_CUSTOMERS)
        page = await self._ask(self._shop.customers, offset, limit, self._now())
        return answer(request, orjson.dumps({"items": self._drifted(page.customers), "total": page.total}))

    async def product_changes(self, request: Request) -> Response:
        start, end = _window(request, "from", "to", required=False)
        after = _count(request, "after_lsn", 0, GREATEST_OFFSET, least=0)
        limit = _count(request, "limit", 1_000, MOST_CHANGES)
        if self._faults.empties(request.query_params):
            start = end
        page = await self._ask(self._shop.product_changes, start, end, after, limit, self._now())
        changes = self._drifted(page.changes)
        body = {"changes": changes, "last_lsn": page.last_lsn, "has_more": page.has_more}
        return answer(request, orjson.dumps(body))

    async def _ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: question(*args, **kwargs)
        )

    def _now(self) -> int:
        return int(self._clock.now().timestamp() // 1)

    @property
    def _drifts(self) -> bool:
        return self._faults.schema_drift or bool(self._faults.renamed_fields)

    def _drifted(self, records: list[Record]) -> list[Record]:
        return [self._drift(record) for record in records] if self._drifts else records

    def _drift(self, record: Record) -> Record:
        names = self._faults.renamed_fields
        drifted = {names.get(name, name): value for name, value in record.items()}
        if self._faults.schema_drift:
            drifted[DRIFT_FIELD] = 2
        return drifted


async def _health(request: Request) -> Response:
    return answer(request, b'{"status":"ok"}')


def _window(request: Request, name_from: str, name_to: str, *, required: bool = True) -> tuple[int, int]:
    start = _time(request, name_from, required, FIRST_SECOND)
    end = _time(request, name_to, required, LAST_SECOND)
    if end < start:
        raise ParameterError(f"{name_to} is before {name_from}")
    return start, end


def _time(request: Request, name: str, required: bool, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        if required:
            raise ParameterError(f"{name} is missing")
        return default
    return min(ceil_seconds(parse_time(text, name=name)), LAST_SECOND)


def _count(request: Request, name: str, default: int, most: int, *, least: int = 1) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
        raise ParameterError(f"{name} must be a whole number from {least} to {most}, not {text[:40]!r}")
    return int(text)


async def _bad_request(request: Request, error: Exception) -> Response:
    return error_response(400, "bad_request", str(error))


async def _broken_shop(request: Request, error: Exception) -> Response:
    return error_response(500, "shop_broken", str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "http_error")
    message = str(getattr(error, "detail", "")) or code
    return error_response(status, code, message)
