"""The classes of failure, decided in one place.

Request retries, step retries, the circuit breaker, the load log, alerts and the command line all ask this module
whether a failure may pass by itself. What belongs here: the classes, the exceptions that carry them and the mapping
from foreign exceptions to a class. What does not: retrying, logging or presenting a failure.
"""

from __future__ import annotations

import re
import sqlite3
import traceback
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path


class FailureClass(StrEnum):
    """What may be done about a failure."""

    TRANSIENT = "transient"
    """May pass by itself: time-outs, dropped connections, 5xx, a busy warehouse."""
    RATE_LIMITED = "rate_limited"
    """The source asked us to slow down (429); passes by waiting."""
    PERMANENT = "permanent"
    """The same request will fail again: other 4xx, a broken envelope, a bug."""
    WITHHELD = "withheld"
    """Nothing broke, but the audit keeps the partition from being published."""

    @property
    def retryable(self) -> bool:
        """Whether trying again without changing anything can help."""
        return self in (FailureClass.TRANSIENT, FailureClass.RATE_LIMITED)


class EtlError(Exception):
    """A failure that the project understands: one line that says what happened and what to do.

    Args:
        message: One line, without secrets and without personal data.
        hint: What the reader can do about it; appended to the message when shown.
        failure_class: Overrides the class's own default.
    """

    failure_class: FailureClass = FailureClass.PERMANENT

    def __init__(
        self, message: str, *, hint: str | None = None, failure_class: FailureClass | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if failure_class is not None:
            self.failure_class = failure_class

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigurationError(EtlError):
    """A setting, a stream file or a command-line value cannot be used as it is."""


class SourceError(EtlError):
    """A source did not give a usable answer.

    Args:
        message: One line.
        source: Name of the source, for example ``shop``.
        status: HTTP status, where there was an answer.
        affects_all: Whether every further request to this source would fail the same way (a refused token, say), so
            that asking for other partitions is pointless.
        retry_after: Seconds that the source asked us to wait, if it did.
    """

    failure_class = FailureClass.TRANSIENT

    def __init__(
        self,
        message: str,
        *,
        source: str,
        status: int | None = None,
        affects_all: bool = False,
        retry_after: float | None = None,
        hint: str | None = None,
        failure_class: FailureClass | None = None,
    ) -> None:
        super().__init__(message, hint=hint, failure_class=failure_class)
        self.source = source
        self.status = status
        self.affects_all = affects_all
        self.retry_after = retry_after


class TransformError(EtlError):
    """A stream's transform broke its own promises (raised, lost rows, returned other columns)."""


class PartitionWithheld(EtlError):  # noqa: N818 - a verdict, not an error of the program
    """The audit withheld a partition: nothing visible changed."""

    failure_class = FailureClass.WITHHELD


class SnapshotGuardTripped(PartitionWithheld):
    """A snapshot would have removed more rows than its guard lets pass."""


class LandingError(EtlError):
    """Landed payloads are missing or damaged."""


class WarehouseError(EtlError):
    """The warehouse cannot be used as it is."""


class WarehouseBusyError(WarehouseError):
    """Another process held the warehouse for longer than we were willing to wait."""

    failure_class = FailureClass.TRANSIENT


class StorageFullError(EtlError):
    """The disk has no room left; everything committed so far is safe."""

    failure_class = FailureClass.TRANSIENT


ENOSPC_MARKERS = ("no space left on device", "disk full", "disk is full", "could not write all bytes")

FULL_DISK_SQLITE = frozenset({"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"})
"""What SQLite calls a full disk; the second one where it cannot grow the file that its readers share."""


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an exception, of whichever library, means a full disk."""
    if isinstance(error, OSError) and error.errno == 28:
        return True
    # SQLAlchemy keeps the driver's own error under `orig`.
    if getattr(getattr(error, "orig", error), "sqlite_errorname", None) in FULL_DISK_SQLITE:
        return True
    if isinstance(error, sqlite3.OperationalError | OSError) or type(error).__module__.startswith(
        ("duckdb", "_duckdb", "pyarrow")
    ):
        text = str(error).lower()
        return any(marker in text for marker in ENOSPC_MARKERS)
    return False


def classify(error: BaseException) -> FailureClass:
    """Give the class of any exception; unknown ones are permanent, so that a bug is never retried."""
    if isinstance(error, EtlError):
        return error.failure_class
    if is_disk_full(error) or isinstance(error, ConnectionError | TimeoutError):
        return FailureClass.TRANSIENT
    return FailureClass.PERMANENT


_QUOTED = re.compile(r"""(["'])(?:(?!\1).)*\1""", re.DOTALL)
_MAXIMUM_LENGTH = 200


def describe_unexpected(error: BaseException, *, may_tell_data: bool = False) -> str:
    """Describe an exception that is not ours in one line, without the data it may quote.

    Gives the type, the place in the code where it was raised, and the message with everything in quotes left out, since
    libraries quote the values that they stumbled over. The missing key of a KeyError, a column's name, is kept.

    Args:
        error: The exception.
        may_tell_data: Whether it comes from code that handles personal data. A value may stand in its message without
            quotes as well, so that the message is left out but for a missing key that is written in the code itself.
    """
    name = type(error).__name__
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    if may_tell_data:
        # The line of a library tells little without the message; the line of our own that led there does.
        frames = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    if may_tell_data:
        text = str(error) if _is_key_in_code(error) else ""
    else:
        text = str(error) if isinstance(error, KeyError) else _QUOTED.sub("'...'", str(error))
    text = " ".join(text.split())[:_MAXIMUM_LENGTH]
    return f"{name}{place}: {text}" if text else f"{name}{place}"


def describe_place(error: BaseException) -> str:
    """Describe where in the code an exception and its causes were raised: files, lines and functions, and no data.

    The messages, and the values of variables, are left out: they may tell what was being read.
    """
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        frames = traceback.extract_tb(seen.__traceback__)
        lines = [f"  {_short_path(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
        parts.insert(0, "\n".join([*lines, type(seen).__name__]))
        seen = seen.__cause__
    return "\n".join(parts)


def _short_path(filename: str) -> str:
    """Give a file's path from the package on: where it is installed is nobody's business."""
    parts = Path(filename).parts
    for root in ("site-packages", "etl_assets", "etl_assets_tests"):
        if root in parts:
            place = len(parts) - parts[::-1].index(root) - 1
            return "/".join(parts[place + (root == "site-packages") :])
    return Path(filename).name


def _is_key_in_code(error: BaseException) -> bool:
    """Whether an error is about a missing key that stands in the code which asked for it: a name, not data."""
    if not (isinstance(error, KeyError) and error.args and isinstance(error.args[0], str)):
        return False
    return any(error.args[0] in frame.f_code.co_consts for frame, _ in traceback.walk_tb(error.__traceback__))
