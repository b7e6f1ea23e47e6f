"""Kept connections to the SQLite files of the event log.

What belongs here: keeping, finding and giving up connections, across threads and forks. What does not: what is
written through them (`event_log`).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.engine import Connection

KEPT_CONNECTIONS = 16
"""Shards whose connection is kept open; each takes three file descriptors."""

FileIdentity = tuple[int, int] | None


class OpenShard(NamedTuple):
    """A kept connection and the file that it was opened on."""

    connection: Connection
    file: FileIdentity


class ShardConnections:
    """The open connections of one storage, one for each shard, used by one thread at a time.

    Dagster's class holds one lock for every access; so does this one, and a thread that holds it may open a
    second shard or the same shard again.

    Args:
        limit: Connections to keep; the longest unused one is closed first.
    """

    def __init__(self, limit: int) -> None:
        self.lock = threading.RLock()
        self._limit = limit
        self._open: OrderedDict[str, OpenShard] = OrderedDict()
        _live_connections.add(self)

    def find(self, shard: str, file: FileIdentity) -> Connection | None:
        """Give the open connection of a shard, unless its file was replaced or removed since."""
        entry = self._open.get(shard)
        if entry is None:
            return None
        if entry.file != file and not entry.connection.in_transaction():
            self.close(shard)
            return None
        self._open.move_to_end(shard)
        return entry.connection

    def keep(self, shard: str, connection: Connection, file: FileIdentity) -> None:
        """Keep a new connection, and close those that are too many and not in use."""
        self._open[shard] = OpenShard(connection, file)
        surplus = len(self._open) - self._limit
        idle = [
            name
            for name, entry in self._open.items()
            if not entry.connection.in_transaction() and name != shard
        ]
        for name in idle[: max(surplus, 0)]:
            self.close(name)

    def close(self, shard: str) -> None:
        """Close the connection of one shard, if it is open."""
        entry = self._open.pop(shard, None)
        if entry is not None:
            with suppress(Exception):  # what cannot be closed is of no use either
                entry.connection.close()

    def close_all(self) -> None:
        """Close every connection; the next use opens new ones."""
        with self.lock:
            for shard in list(self._open):
                self.close(shard)

    def forget_after_fork(self) -> None:
        """Leave the parent process its connections: SQLite forbids a child to use or even to close them."""
        _inherited_connections.extend(self._open.values())
        self._open.clear()
        self.lock = threading.RLock()


_live_connections: weakref.WeakSet[ShardConnections] = weakref.WeakSet()
_inherited_connections: list[OpenShard] = []


def _forget_connections_after_fork() -> None:
    for connections in list(_live_connections):
        connections.forget_after_fork()


os.register_at_fork(after_in_child=_forget_connections_after_fork)


def file_identity(path: str) -> FileIdentity:
    """Tell one file from another that took its place; None where there is none."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
