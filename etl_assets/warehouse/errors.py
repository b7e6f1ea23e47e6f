"""DuckDB's errors, told as the project's own: one line that says what to do, without a row's values.

What belongs here: the mapping. What does not: deciding whether to try again (`etl_assets.failures`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from etl_assets.failures import EtlError, StorageFullError, WarehouseError, is_disk_full

# Messages of other kinds (a failed conversion, a broken constraint) quote the value that they are about.
_MESSAGES_WITHOUT_VALUES = (
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.PermissionException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
    duckdb.InvalidInputException,
    duckdb.TransactionException,
)
_SIGNS_OF_DAMAGE = ("not a valid DuckDB", "Could not read enough bytes", "Could not read all bytes")
_HOLDER = re.compile(r"PID (\d+)")


def one_line(error: BaseException) -> str:
    """Give the first line of an error's message, or only its kind where the message could quote a value."""
    if isinstance(error, duckdb.Error) and not isinstance(error, _MESSAGES_WITHOUT_VALUES):
        return type(error).__name__
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def is_locked(error: duckdb.Error) -> bool:
    """Whether another process, or another part of this one, has the file open in a way that excludes us."""
    text = str(error)
    return "Conflicting lock" in text or "Could not set lock" in text or "different configuration" in text


def holder_pid(error: duckdb.Error) -> int | None:
    """Read from DuckDB's message which process has the file open."""
    found = _HOLDER.search(str(error))
    return int(found.group(1)) if found else None


def opening_error(error: Exception, path: Path) -> EtlError:
    """Say why the warehouse file cannot be opened."""
    if is_disk_full(error):
        return storage_full(path)
    if _is_damage(error):
        return _damaged(error, path)
    return WarehouseError(
        f"the warehouse file {path} cannot be opened: {one_line(error)}",
        hint="check that the data folder exists and that you may write to it",
    )


def _is_damage(error: Exception) -> bool:
    """Whether an error on opening means that the file cannot be used any more."""
    if isinstance(error, duckdb.FatalException | duckdb.SerializationException | duckdb.InternalException):
        return True
    signs = (*_SIGNS_OF_DAMAGE, "orrupt", "checksum", "Failed to load metadata", "replaying WAL")
    return any(sign in str(error) for sign in signs)


def _is_damage_of(path: Path, error: BaseException) -> bool:
    """Whether an error at work is about a damaged warehouse, not about another damaged file."""
    text = str(error)
    of_this_file = str(path) in text and any(sign in text for sign in _SIGNS_OF_DAMAGE)
    return not isinstance(error, EtlError) and ("Corrupt database file" in text or of_this_file)


def _damaged(error: BaseException, path: Path) -> WarehouseError:
    return WarehouseError(
        f"the warehouse file {path} is damaged ({one_line(error)})",
        hint="restore a copy, or move it and its .wal away and run `etl-assets backfill --replay`: "
        "everything loaded can be replayed from landing",
    )


def log_without_warehouse(log: Path, path: Path) -> WarehouseError:
    """Say that the last commits of a warehouse are there, and the warehouse is not."""
    return WarehouseError(
        f"{log} holds the last commits of a warehouse, but {path} is not there",
        hint="put the file back beside it, or move it away as well to begin anew",
    )


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Say plainly that the warehouse is damaged, wherever that is noticed; all other errors pass as they are.

    Raises:
        WarehouseError: If the warehouse file is damaged.
    """
    try:
        yield
    except Exception as error:  # Arrow's, too, where rows are read through it
        if _is_damage_of(path, error):
            raise _damaged(error, path) from error
        raise


def storage_full(path: Path) -> StorageFullError:
    """Say that the disk is full."""
    return StorageFullError(
        f"no space left on the disk of {path}",
        hint="free some and run again; everything committed so far is safe",
    )


@contextmanager
def told_plainly(doing: str, path: Path) -> Iterator[None]:
    """Turn DuckDB's and the system's errors into the project's own.

    Args:
        doing: What is being done, as in ``"commit shop/orders 2025-01-01"``.
        path: The warehouse file.

    Raises:
        StorageFullError: If the disk is full.
        WarehouseError: For any other error of DuckDB or of the file system.
    """
    try:
        yield
    except (duckdb.Error, OSError) as error:
        if is_disk_full(error):
            raise storage_full(path) from error
        if _is_damage_of(path, error):
            raise _damaged(error, path) from error
        told = WarehouseError(f"cannot {doing}: {one_line(error)}", hint=_hint(error))
        if isinstance(error, _MESSAGES_WITHOUT_VALUES):
            raise told from error
        raise told from None


def _hint(error: BaseException) -> str:
    if isinstance(error, duckdb.FatalException):
        return "run again; everything committed so far is safe"
    if isinstance(error, duckdb.OutOfMemoryException):
        return "give the warehouse more memory; nothing of this was committed"
    return "nothing of this was committed"
