"""Files that are either there in full or not there at all.

What belongs here: writing under a temporary name, flushing to disk, renaming, and clearing away what killed
processes left behind. What does not: knowing what the files mean.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from etl_assets.failures import StorageFullError, is_disk_full

ABANDONED_AFTER_SECONDS = 24 * 3600
"""Age at which a temporary directory counts as left behind though its owner cannot be proved dead: it may
have lived on another machine, or its process id may be in use again."""

TEMPORARY_PREFIX = ".tmp-"

_TEMPORARY = re.compile(r"^\.tmp-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<process>[0-9a-f]{8})-[0-9a-f]{8}$")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def atomic_directory(target: Path, *, replace: bool = False, durable: bool = True) -> Iterator[Path]:
    """Make a directory that appears at its place complete and flushed to disk, or not at all.

    Args:
        target: Where the directory shall be; its parents are made.
        replace: Whether an older directory at that place may be replaced. A reader that looks in between the
            two renames finds none.
        durable: Whether it is flushed to disk. What can be made again need not be, if its reader notices what a power
            failure leaves of it.

    Yields:
        The temporary directory to write into. On an exception it is removed and nothing has changed.

    Raises:
        FileExistsError: If the target exists and may not be replaced.
        StorageFullError: If the disk ran full.
    """
    temporary = make_temporary(target.parent, durable=durable)
    try:
        yield temporary
        if durable:
            flush_tree(temporary)
        publish(temporary, target, replace=replace, durable=durable)
    except OSError as error:
        raise_if_full(error, f"{target.parent.name}/{target.name}")
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json_atomic(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that appears at its place complete and flushed to disk, or not at all.

    Args:
        path: Where the file shall be; an older one is replaced. Its directory must exist.
        value: What to write.

    Raises:
        StorageFullError: If the disk ran full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        write_flushed(temporary, orjson.dumps(value, option=orjson.OPT_INDENT_2))
        temporary.rename(path)
        flush_directory(path.parent)
    except OSError as error:
        raise_if_full(error, path.name)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def make_temporary(parent: Path, *, durable: bool = True) -> Path:
    """Make a temporary directory whose name tells who owns it, after clearing away those of dead owners.

    Args:
        parent: Directory to make it in; made where it does not exist.
        durable: Whether a new parent is flushed into its own parents.
    """
    remove_leftovers(parent)
    temporary = parent / f".tmp-{_host()}-{os.getpid()}-{_process()}-{secrets.token_hex(4)}"
    # Another writer that gives up removes the parent when it is empty, perhaps between our two steps.
    for _ in range(10):
        if durable:
            _make_durable_parents(parent)
        else:
            parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            temporary.mkdir()
            return temporary
    temporary.mkdir(parents=True)
    return temporary


def discard(temporary: Path) -> None:
    """Remove a temporary directory, and its parent if nothing else is in it."""
    shutil.rmtree(temporary, ignore_errors=True)
    with suppress(OSError):
        temporary.parent.rmdir()


def publish(temporary: Path, target: Path, *, replace: bool = False, durable: bool = True) -> None:
    """Give a temporary directory, flushed if it is to be durable, its name, and flush that name as well.

    Raises:
        FileExistsError: If the target exists and may not be replaced.
    """
    if target.exists():
        if not replace:
            raise FileExistsError(errno.EEXIST, "exists already and is immutable", str(target))
        # A temporary name, so that a crash between the renames leaves something that is cleared away later.
        old = make_temporary(target.parent)
        old.rmdir()
        target.rename(old)
        temporary.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(target)
    if durable:
        flush_directory(target.parent)


def leftovers(parent: Path) -> list[Path]:
    """Give the temporary directories in `parent` whose owner is gone."""
    try:
        entries = [
            Path(entry.path) for entry in os.scandir(parent) if entry.name.startswith(TEMPORARY_PREFIX)
        ]
    except FileNotFoundError:
        return []
    return [entry for entry in entries if _is_abandoned(entry)]


def make_private(directory: Path) -> None:
    """Make a directory that only its owner can look into; one that exists stays as it is."""
    if not directory.exists():
        _make_durable_parents(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)
        flush_directory(directory.parent)


def remove_leftovers(parent: Path) -> int:
    """Remove temporary directories in `parent` whose owner is gone; give how many there were."""
    found = leftovers(parent)
    for entry in found:
        shutil.rmtree(entry, ignore_errors=True)
    return len(found)


def flush_tree(directory: Path) -> None:
    """Flush all files of a directory, and the directory itself, to disk."""
    for folder, _, names in os.walk(directory):
        for name in names:
            _flush(Path(folder) / name)
        flush_directory(Path(folder))


def flush_directory(directory: Path) -> None:
    """Flush a directory's entries to disk."""
    _flush(directory)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a new file and flush it to disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def raise_if_full(error: OSError, what: str) -> None:
    """Raise `StorageFullError` if an error means that no more can be written.

    Args:
        error: What the operating system said.
        what: What was being written, for the message.
    """
    if is_disk_full(error) or error.errno in _FULL:
        raise StorageFullError(
            f"no room left on the disk while writing {what}; everything committed so far is safe",
            hint="free some space and run the same command again",
        ) from error


def _make_durable_parents(directory: Path) -> None:
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        flush_directory(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_abandoned(temporary: Path) -> bool:
    owner = _TEMPORARY.match(temporary.name)
    if owner is None or owner["host"] != _host():
        return _is_old(temporary)
    pid = int(owner["pid"])
    if pid == os.getpid():
        return owner["process"] != _process()
    return not is_alive(pid) or _is_old(temporary)


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine is there; one of somebody else's counts."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_old(directory: Path) -> bool:
    try:
        newest = max(path.stat().st_mtime for path in (directory, *directory.iterdir()))
    except OSError:
        return False
    return time.time() - newest > ABANDONED_AFTER_SECONDS


@functools.cache
def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


@functools.cache
def _process() -> str:
    # In containers a restarted process has the process id, and often the host name, of the killed one.
    return secrets.token_hex(4)
