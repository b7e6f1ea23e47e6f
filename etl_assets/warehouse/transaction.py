"""One transaction, whole or not at all.

What belongs here: beginning, committing, rolling back. What does not: what is done within.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import duckdb


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what is done within, or nothing of it when it ends with an exception of any kind."""
    connection.execute("BEGIN TRANSACTION")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise


def naive_utc(moment: datetime) -> datetime:
    """Give a moment as the tables hold it: UTC, without a zone.

    Raises:
        ValueError: If the moment has no zone, so that nobody can know what it means.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return moment.astimezone(UTC).replace(tzinfo=None)
