"""What is remembered of the streams' declarations, so that who needs no more does not import their files.

Importing the files of the streams imports pandas and pandera, which takes most of a second. A command that only tells
how streams are doing needs their names and little more. That is kept in one file of the state folder, with a digest of
everything it was read from: all files below the streams' package, and every file that Python had loaded when they were
imported, each by its path, size and times. Where anything of that differs, the streams are imported again. What a
declaration makes of anything else, such as the environment, is not noticed; nothing of the kind belongs into one.

What belongs here: remembering, and telling whether that still holds. What does not: finding streams
(`etl_assets.streams.discovery`).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import etl_assets.streams
from etl_assets.settings import Settings
from etl_assets.streams.windows import Window

if TYPE_CHECKING:
    from etl_assets.streams.base import Stream

FILE_NAME = "streams/declared.json"
UNSETTLED_NS = 2_000_000_000
"""A file this new may change once more without its times telling; file systems count in steps of up to two seconds."""


@dataclass(frozen=True, slots=True)
class DeclaredStream:
    """What is remembered of a stream.

    Attributes:
        id: `<source>/<name>`.
        owner: Who answers for it.
        present_until: How long after its end a day can be asked for; None where that is at any time.
    """

    id: str
    owner: str
    present_until: timedelta | None

    def askable(self, day: date) -> Window | None:
        """Give the span of time in which a day can be asked for; None where that is at any time."""
        if self.present_until is None:
            return None
        window = Window.of_day(day)
        return Window(window.start, window.end + self.present_until)

    @classmethod
    def of(cls, stream: Stream) -> DeclaredStream:
        """Take down what a stream's declaration says."""
        day = date(2000, 1, 1)
        askable = stream.askable(day)
        until = None if askable is None else askable.end - Window.of_day(day).end
        return cls(stream.id, stream.owner, until)


def declared_streams(settings: Settings) -> dict[str, DeclaredStream]:
    """Give what is declared, by id and in order; the streams are imported only where something has changed.

    Args:
        settings: Where it is remembered.

    Raises:
        ConfigurationError: If a stream's file cannot be used.
    """
    path = settings.state_dir / FILE_NAME
    known = recall(path)
    if known is None:
        # What a process imported earlier may not be what the files say by now.
        fresh, begun = "etl_assets.streams.contract" not in sys.modules, time.time_ns()
        from etl_assets.streams.discovery import discover_streams

        known = [DeclaredStream.of(stream) for stream in discover_streams().values()]
        if fresh:
            remember(path, known, begun)
    return {stream.id: stream for stream in known}


def recall(path: Path) -> list[DeclaredStream] | None:
    """Give what is remembered, if it still holds.

    Args:
        path: Where it is kept.
    """
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        if kept["digest"] != _digest([*_below_streams(), *kept["loaded"]])[0]:
            return None
        return [
            DeclaredStream(name, owner, None if seconds is None else timedelta(seconds=seconds))
            for name, owner, seconds in kept["streams"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(path: Path, known: Iterable[DeclaredStream], begun: int) -> None:
    """Keep what is declared; where that is not possible, the streams are imported again the next time.

    Args:
        path: Where to.
        known: What is declared, in order.
        begun: When importing the streams was begun, in nanoseconds since 1970; files may have changed since.
    """
    from etl_assets.sources.state_files import write_state

    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    loaded = sorted({file for file in files if isinstance(file, str) and os.path.isabs(file)})
    with suppress(OSError):
        digest, newest = _digest([*_below_streams(), *loaded])
        if newest > begun - UNSETTLED_NS:
            return
        streams = [
            (each.id, each.owner, None if each.present_until is None else each.present_until.total_seconds())
            for each in known
        ]
        write_state(path, {"digest": digest, "streams": streams, "loaded": loaded})


def _below_streams() -> list[str]:
    """Give every file of the streams' package, so that one more or one less is noticed."""
    return sorted(
        os.path.join(folder, name)
        for root in etl_assets.streams.__path__
        for folder, _, names in os.walk(root)
        if not folder.endswith("__pycache__")
        for name in names
    )


def _digest(files: Iterable[str]) -> tuple[str, int]:
    """Sum up which version of each file there is, and give the newest time of any.

    Raises:
        OSError: If one is not there.
    """
    digest, newest = hashlib.sha256(sys.version.encode()), 0
    for file in files:
        found = os.stat(file)
        times = (found.st_mtime_ns, found.st_ctime_ns)
        digest.update(f"{file}\0{found.st_size}\0{found.st_ino}\0{times}\n".encode())
        newest = max(newest, *times)
    return digest.hexdigest(), newest
