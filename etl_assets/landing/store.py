"""The landing store: what a source answered for a partition, kept so that a load can be replayed from it.

Layout: `<root>/<source>/<stream>/<YYYY-MM-DD>/<version>/` with `pages.zst`, one zstd frame per answer
(`zstd -dc` gives the bodies back, one after the other), and `manifest.json`. An extraction that was cut short waits
beside the versions, in `.partial/`. What belongs here: finding versions. What does not: writing them
(`etl_assets.landing.writer`), asking the source, or understanding the answers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from etl_assets.failures import ConfigurationError, LandingError
from etl_assets.landing.landed import LandedPartition
from etl_assets.landing.manifest import MANIFEST_FILE, Manifest
from etl_assets.landing.pages import PAGES_FILE
from etl_assets.landing.versions import is_version

__all__ = ["PAGES_FILE", "LandedPartition", "Landing"]

_STREAM_ID = re.compile(r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")


def utc_now() -> datetime:
    """Give the time, in UTC."""
    return datetime.now(UTC)


class Landing:
    """All landed partitions below one directory.

    Args:
        root: The directory; made on the first write, with access for its owner alone.
        now: The clock.
    """

    def __init__(self, root: Path, *, now: Callable[[], datetime] = utc_now) -> None:
        self.root = root
        self.now = now

    def latest(self, stream_id: str, day: date) -> LandedPartition | None:
        """Give the newest complete version of a partition; None where nothing has been landed yet.

        Raises:
            LandingError: If its manifest is missing or damaged.
        """
        newest = self.latest_version(stream_id, day)
        return None if newest is None else self.find(stream_id, day, newest)

    def find(self, stream_id: str, day: date, version: str) -> LandedPartition:
        """Give a version of a partition.

        Raises:
            LandingError: If it is not there, or its manifest is missing or damaged.
        """
        path = self.partition_path(stream_id, day) / version
        try:
            manifest = Manifest.from_json((path / MANIFEST_FILE).read_bytes())
            if (manifest.stream_id, manifest.day, manifest.version) != (stream_id, day, version):
                raise ValueError("it belongs to another place")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise LandingError(
                f"landed answers of {stream_id} {day} cannot be used, their manifest is damaged: {reason}",
                hint="extract the day again",
            ) from error
        return LandedPartition(path, manifest)

    def latest_version(self, stream_id: str, day: date) -> str | None:
        """Give the name of the newest version of a partition without reading it."""
        try:
            names = os.listdir(self.partition_path(stream_id, day))
        except FileNotFoundError:
            return None
        return max(filter(is_version, names), default=None)

    def partition_path(self, stream_id: str, day: date) -> Path:
        """Give the directory that holds the versions of a partition."""
        if not _STREAM_ID.match(stream_id):
            raise ConfigurationError(f"stream {stream_id!r} must read <source>/<name>, lower-case")
        return self.root / stream_id / day.isoformat()
