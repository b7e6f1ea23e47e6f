"""The single-writer lock: one session on the warehouse file at a time, over all threads and processes of a
machine.

The lock itself is the operating system's, so it is released when its holder dies. In front of it is a second one,
the queue, which only the next holder has: without it, a process that opens one session after the other would pass
all that wait, as these look only now and then. A file beside the lock says who holds it, for the message that a
waiting process gives up with; that file decides nothing.

What belongs here: waiting and telling who is in the way. What does not: opening the database.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from etl_assets.failures import WarehouseBusyError, WarehouseError, is_disk_full
from etl_assets.warehouse.errors import storage_full

_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock."""

    pid: int
    host: str
    purpose: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.purpose}, since {self.since})"


class _Gate:
    """The queue of this process's own threads, in front of the file lock: fair, and without polling."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: int | None = None
        self.waiting = 0
        self._guard = threading.Lock()

    def acquire(self, timeout: float) -> bool:
        with self._guard:
            self.waiting += 1
        try:
            return self.lock.acquire(timeout=timeout)
        finally:
            with self._guard:
                self.waiting -= 1


_gates: dict[str, _Gate] = {}
_gates_guard = threading.Lock()


def _gate_of(path: Path) -> _Gate:
    with _gates_guard:
        return _gates.setdefault(str(path.resolve()), _Gate())


def _forget_gates() -> None:
    """A forked child has none of its parent's threads, so no gate in it is held."""
    global _gates_guard
    _gates_guard = threading.Lock()
    _gates.clear()


os.register_at_fork(after_in_child=_forget_gates)


class WarehouseLock:
    """The lock of one warehouse file.

    Args:
        path: The warehouse file; the lock is `<path>.lock`, the queue before it `<path>.queue`, the holder's record
            `<path>.holder.json`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_path = path.with_name(path.name + ".lock")
        self._queue_path = path.with_name(path.name + ".queue")
        self._holder_path = path.with_name(path.name + ".holder.json")

    @contextmanager
    def held(self, purpose: str, timeout: float) -> Iterator[None]:
        """Hold the lock.

        Args:
            purpose: What for, as the message of a waiting process tells it.
            timeout: Seconds to wait for it.

        Raises:
            WarehouseBusyError: If it could not be had in time.
            StorageFullError: If the disk is full.
            WarehouseError: If this thread holds it already, or the data folder cannot be written to.
        """
        deadline = time.monotonic() + timeout
        gate = _gate_of(self._path)
        if gate.thread == threading.get_ident():
            raise WarehouseError(
                f"this thread has the warehouse {self._path} open already", hint="close it first"
            )
        if not gate.acquire(max(timeout, 0)):
            raise self.busy(timeout)
        gate.thread = threading.get_ident()
        try:
            with self._file_locked(max(deadline - time.monotonic(), 0), timeout):
                self._write_holder(purpose)
                try:
                    yield
                finally:
                    with suppress(OSError):
                        self._holder_path.unlink(missing_ok=True)
        finally:
            gate.thread = None
            gate.lock.release()

    def is_wanted(self) -> bool:
        """Tell, while this process holds the lock, whether another thread or process waits for it."""
        if _gate_of(self._path).waiting:
            return True
        queue = FileLock(str(self._queue_path))
        try:
            queue.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False
        queue.release()
        return False

    def busy(self, timeout: float, pid: int | None = None) -> WarehouseBusyError:
        """Say who is in the way.

        Args:
            timeout: Seconds that were waited.
            pid: A process that has the file open without holding our lock, if that is the cause.
        """
        holder = self.holder()
        if pid is not None and (holder is None or holder.pid != pid):
            who = f"process {pid}, which is not one of ours (a DuckDB shell or a notebook?)"
        else:
            who = str(holder) if holder else "another process"
        return WarehouseBusyError(
            f"the warehouse {self._path} is in use by {who}; waited {timeout:g} s",
            hint="wait until it ends, or end it, and run again",
        )

    def holder(self) -> Holder | None:
        """Read who holds the lock, or held it last if that process died; None if that is not known."""
        try:
            return Holder(**json.loads(self._holder_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @contextmanager
    def _file_locked(self, remaining: float, timeout: float) -> Iterator[None]:
        queue, lock = FileLock(str(self._queue_path)), FileLock(str(self._lock_path))
        deadline = time.monotonic() + remaining
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with queue.acquire(timeout=remaining, poll_interval=_POLL_SECONDS):
                lock.acquire(timeout=max(deadline - time.monotonic(), 0), poll_interval=_POLL_SECONDS)
        except Timeout:
            raise self.busy(timeout) from None
        except OSError as error:
            if is_disk_full(error):
                raise storage_full(self._path) from error
            raise WarehouseError(
                f"the data folder {self._path.parent} cannot be written to: {error.strerror or error}",
                hint="change its permissions or set ETL_DATA_DIR to another folder",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _write_holder(self, purpose: str) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        record = Holder(pid=os.getpid(), host=socket.gethostname(), purpose=purpose, since=since)
        draft = self._holder_path.with_name(self._holder_path.name + ".new")
        # A full disk must not keep anyone from reading; the record only serves a message.
        with suppress(OSError):
            draft.write_text(json.dumps(asdict(record)), encoding="utf-8")
            draft.replace(self._holder_path)
