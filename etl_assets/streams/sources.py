"""Declaring a source: where records come from, how it is opened and how patiently it is asked.

What belongs here: one declaration per kind of source. What does not: addresses and secrets (the environment's), and
acting on a declaration (`etl_assets.sources`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from etl_assets.failures import ConfigurationError
from etl_assets.streams.authentication import Authentication, NoAuthentication


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How patiently a request is repeated after a transient failure: exponential backoff with jitter, bounded.

    Args:
        attempts: Requests at most, the first included.
        first_delay: Seconds before the second request.
        factor: What the delay is multiplied with from one request to the next.
        maximum_delay: Seconds between two requests at most; also caps what a `Retry-After` may ask for.
        total: Seconds for all attempts together.
    """

    attempts: int = 8
    first_delay: float = 0.1
    factor: float = 2.0
    maximum_delay: float = 30.0
    total: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When a source that does not answer is left alone for a while.

    Args:
        failures: Transient failures in a row, of requests and their repeats, that open the circuit. Those of a single
            request never do: one day that the source cannot give must not cost the others.
        open_seconds: Seconds until one request may try again.

    Raises:
        ConfigurationError: If one of them makes no sense.
    """

    failures: int = 8
    open_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1 or self.open_seconds < 0:
            raise ConfigurationError(
                "Breaker needs at least 1 failure, and an open_seconds that is not negative"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RestSource:
    """A REST API. Its address comes from the environment variable `ETL_<NAME>_URL`.

    Args:
        name: Lower-case identifier; also the schema of its tables and the group of its assets.
        authentication: How requests are authenticated.
        retry: How patiently requests are repeated.
        breaker: When the source is left alone for a while.
        timeout: Seconds without a byte before a request counts as failed.
        concurrency: Requests under way at once, over all partitions of a process.
        requests_per_second: Requests begun per second in the long run, over all partitions of a process; None for no
            limit. Where several processes read one source, limit the pool that is
            named after it, by `dagster instance concurrency set`.
        burst: Requests that may be begun at once after a pause.

    Raises:
        ConfigurationError: If a limit cannot be kept.
    """

    name: str
    authentication: Authentication = field(default_factory=NoAuthentication)
    retry: RetryBudget = RetryBudget()
    breaker: Breaker = Breaker()
    timeout: float = 30.0
    concurrency: int = 4
    requests_per_second: float | None = None
    burst: int = 1

    def __post_init__(self) -> None:
        if self.requests_per_second is not None and not 0.001 <= self.requests_per_second <= 100_000:
            raise ConfigurationError(
                f"source {self.name}: requests_per_second must be between 0.001 and 100,000, or None"
            )
        if self.concurrency < 1 or self.burst < 1:
            raise ConfigurationError(f"source {self.name}: concurrency and burst must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """A folder of files. Its address comes from the environment variable `ETL_<NAME>_URL`.

    The address is a path, or any address that fsspec understands, such as `s3://bucket/folder`.

    Args:
        name: Lower-case identifier; also the schema of its tables and the group of its assets.
        concurrency: Partitions read at once.
    """

    name: str
    concurrency: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlSource:
    """A SQL database. Its address comes from the environment variable `ETL_<NAME>_URL`.

    The address is a SQLAlchemy URL, such as `postgresql+psycopg://reader:password@host/database`. It is never shown.

    Args:
        name: Lower-case identifier; also the schema of its tables and the group of its assets.
        concurrency: Partitions read at once, each over a connection of its own.
    """

    name: str
    concurrency: int = 1


Source = RestSource | FileSource | SqlSource
"""Any kind of source."""
