"""Clients for scripted servers, impatient enough for tests."""

from __future__ import annotations

from dataclasses import dataclass

from etl_assets.sources.circuit import Circuit
from etl_assets.sources.client import SourceClient
from etl_assets.streams.base import BearerToken, RestSource, RetryBudget

TOKEN = "s3cret-token-0123456789"


@dataclass(frozen=True)
class Hidden:
    """A token that does not show itself."""

    value: str

    def __repr__(self) -> str:
        return "Hidden()"

    def get_secret_value(self) -> str:
        """Give the value in clear."""
        return self.value


def budget(
    *, attempts: int = 3, first_delay: float = 0.001, maximum_delay: float = 0.01, total: float = 20.0
) -> RetryBudget:
    """Make a retry budget that hardly waits."""
    return RetryBudget(attempts=attempts, first_delay=first_delay, maximum_delay=maximum_delay, total=total)


def open_client(
    url: str,
    *,
    retry: RetryBudget | None = None,
    timeout: float = 5.0,
    concurrency: int = 4,
    maximum_body_bytes: int = 1_000_000,
    circuit: Circuit | None = None,
) -> SourceClient:
    """Open a client for a source named shop."""
    source = RestSource(
        name="shop",
        authentication=BearerToken(),
        retry=retry or budget(),
        timeout=timeout,
        concurrency=concurrency,
    )
    return SourceClient(source, url, Hidden(TOKEN), maximum_body_bytes=maximum_body_bytes, circuit=circuit)
