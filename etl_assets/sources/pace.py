"""How fast a source may be asked: a token bucket, and the pauses that the source asks for.

What belongs here: waiting before a request, shared by all clients of a source in this process. What does not: repeats
(`retry`), and how many requests are under way at once (`client`).
"""

from __future__ import annotations

import threading
import time

import structlog
from pyrate_limiter import Limiter, Rate, SingleBucketFactory, StateBucket, TokenBucket

from etl_assets.streams.base import RestSource

log = structlog.get_logger(__name__)

_SPAN_SECONDS = 1_000_000
"""The span that a rate is told for: a long one, as only whole numbers of requests can be told."""


class Pace:
    """Lets requests to one source through at the pace it bears; safe to use from many threads.

    Args:
        source: Name of the source.
        requests_per_second: Requests in the long run; None for no limit.
        burst: Requests that may be begun at once after a pause.
    """

    def __init__(self, source: str, requests_per_second: float | None, burst: int) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._limiter: Limiter | None = None
        if requests_per_second is not None:
            rate = Rate(round(requests_per_second * _SPAN_SECONDS), _SPAN_SECONDS * 1000, burst=burst)
            # Its state is one number, so no thread has to clear anything away.
            factory = SingleBucketFactory(StateBucket([rate], algorithm=TokenBucket()), schedule_leak=False)
            self._limiter = Limiter(factory, buffer_ms=1)

    def wait(self) -> None:
        """Wait until a request may be sent."""
        self._sit_out()
        if self._limiter is not None:
            self._limiter.try_acquire(self._source)
            self._sit_out()

    def pause(self, seconds: float) -> None:
        """Let no request begin for a while; a longer pause that is under way stays."""
        if seconds <= 0:
            return
        with self._lock:
            until = time.monotonic() + seconds
            if until <= self._paused_until:
                return
            self._paused_until = until
        log.warning("source_paused", source=self._source, seconds=round(seconds, 3))

    def _sit_out(self) -> None:
        while (seconds := self._seconds_paused()) > 0:
            time.sleep(seconds)

    def _seconds_paused(self) -> float:
        with self._lock:
            return self._paused_until - time.monotonic()


_lock = threading.Lock()
_paces: dict[tuple[str, str, float | None, int], Pace] = {}


def pace_of(source: RestSource, origin: str) -> Pace:
    """Give the pace of a source, the same one to all clients in this process.

    Args:
        source: The source.
        origin: Scheme, host and port that it is asked at.
    """
    key = (source.name, origin, source.requests_per_second, source.burst)
    with _lock:
        if key not in _paces:
            _paces[key] = Pace(source.name, source.requests_per_second, source.burst)
        return _paces[key]
