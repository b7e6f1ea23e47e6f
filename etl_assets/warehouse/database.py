"""The warehouse file: opened in one way, by one writer at a time.

What belongs here: the lock, opening, settings, closing. What does not: what is done in a session (`session`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from etl_assets.failures import WarehouseError
from etl_assets.warehouse.errors import (
    damage_told,
    holder_pid,
    is_locked,
    log_without_warehouse,
    opening_error,
    told_plainly,
)
from etl_assets.warehouse.lock import WarehouseLock
from etl_assets.warehouse.tuning import tune

if TYPE_CHECKING:
    from etl_assets.warehouse.session import Session

_POLL_SECONDS = 0.05


class Warehouse:
    """A DuckDB file that holds the loaded tables, the marts and the bookkeeping.

    Args:
        path: The file; it and its folder are made on first use. Beside it stand `<file>.lock` and
            `<file>.queue`, `<file>.holder.json` while it is held, `<file>.tmp/` for what does not fit into memory, and
            `<file>.wal` for commits that are not in the file yet.
        lock_timeout: Seconds to wait for another holder.
        memory_limit: Memory that DuckDB may use, as DuckDB writes it; larger work goes to disk.
    """

    def __init__(self, path: Path, *, lock_timeout: float = 60.0, memory_limit: str = "1GB") -> None:
        self._path = path
        self._lock_timeout = lock_timeout
        self._memory_limit = memory_limit
        self._lock = WarehouseLock(path)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def exists(self) -> bool:
        """Whether there is a warehouse yet."""
        return self._path.exists()

    def is_wanted(self) -> bool:
        """Tell, while this process has the warehouse open, whether anyone waits for it."""
        return self._lock.is_wanted()

    @contextmanager
    def session(self, purpose: str) -> Iterator[Session]:
        """Open the warehouse for writing, alone; it is made if it does not exist.

        Args:
            purpose: What for; shown to those who wait.

        Raises:
            WarehouseBusyError: If another process or thread held it for too long.
            StorageFullError: If the disk is full.
            WarehouseError: If the file is damaged or cannot be opened, or this thread has it open already.
        """
        # All that writing needs: who only reads does not wait for it.
        from etl_assets.warehouse.bookkeeping import ensure_bookkeeping
        from etl_assets.warehouse.session import Session

        with self._opened(purpose, read_only=False) as connection:
            with told_plainly("prepare the warehouse", self._path):
                ensure_bookkeeping(connection)
            yield Session(connection, self._path)

    @contextmanager
    def read(self, purpose: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse for reading, alone; keep it short, writers wait meanwhile.

        Args:
            purpose: What for; shown to those who wait.

        Raises:
            WarehouseBusyError: If another process or thread held it for too long.
            WarehouseError: If there is no warehouse yet, or it cannot be opened.
        """
        if not self.exists():
            raise WarehouseError(
                f"there is no warehouse at {self._path} yet", hint="run `etl-assets backfill` first"
            )
        with self._opened(purpose, read_only=True) as connection:
            yield connection

    @contextmanager
    def _opened(self, purpose: str, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        deadline = time.monotonic() + self._lock_timeout
        with self._lock.held(purpose, self._lock_timeout):
            if not (read_only or self.exists()):
                self._create()
            connection = self._connect(deadline, read_only=read_only)
            try:
                self._settle(connection, read_only=read_only)
                if not read_only:
                    self._forget_spilled()
                with damage_told(self._path):
                    yield connection
            finally:
                with told_plainly("close the warehouse", self._path):
                    connection.close()

    def _connect(self, deadline: float, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        """Open the file; one that a process without our lock has open (a DuckDB shell) is waited for."""
        while True:
            try:
                return duckdb.connect(str(self._path), read_only=read_only, config=self._config())
            except (duckdb.Error, OSError) as error:
                if not (isinstance(error, duckdb.Error) and is_locked(error)):
                    raise opening_error(error, self._path) from error
                if time.monotonic() >= deadline:
                    raise self._lock.busy(self._lock_timeout, holder_pid(error)) from error
            time.sleep(_POLL_SECONDS)

    def _create(self) -> None:
        """Make an empty warehouse, which appears whole: DuckDB cannot open one that it was killed over making."""
        draft = self._path.with_name(self._path.name + ".new")
        log, draft_log = (path.with_name(path.name + ".wal") for path in (self._path, draft))
        if log.exists():
            raise log_without_warehouse(log, self._path)
        try:
            for leftover in (draft, draft_log):
                leftover.unlink(missing_ok=True)
            duckdb.connect(str(draft), config=self._config()).close()
            draft.rename(self._path)
            _flush_folder(self._path.parent)
        except (duckdb.Error, OSError) as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise opening_error(error, self._path) from error

    def _forget_spilled(self) -> None:
        """Remove what a killed process had spilled from memory: nobody else has the file open now."""
        for spilled in self._path.with_name(self._path.name + ".tmp").glob("*"):
            with suppress(OSError):
                spilled.unlink()

    def _config(self) -> dict[str, str | bool | int | float | list[str]]:
        return {
            "memory_limit": self._memory_limit,
            "temp_directory": str(self._path.with_name(self._path.name + ".tmp")),
            # Nothing is ever fetched behind the user's back.
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # Rows of a table have no order, and keeping one costs memory on large days.
            "preserve_insertion_order": "false",
            # Many small commits in a row are checkpointed together.
            "wal_autocheckpoint": "64MB",
        }

    def _settle(self, connection: duckdb.DuckDBPyConnection, *, read_only: bool) -> None:
        """Set what only an open connection takes, and then no more: nobody's SQL must change settings.

        A session does the latter by itself, before it runs the first SQL that is not this package's own.
        """
        try:
            connection.execute("SET TimeZone = 'UTC'")
            tune(connection)
            if read_only:
                connection.execute("SET lock_configuration = true")
        except duckdb.Error as error:
            raise opening_error(error, self._path) from error


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
